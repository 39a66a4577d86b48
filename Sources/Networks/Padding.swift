import Kernels

/// Zeros around an image before a convolution. An integer literal is as many on every side.
struct Padding: Equatable, Sendable, ExpressibleByIntegerLiteral {
    var top: Int
    var left: Int
    var bottom: Int
    var right: Int

    init(top: Int, left: Int, bottom: Int, right: Int) {
        self.top = top
        self.left = left
        self.bottom = bottom
        self.right = right
    }

    init(_ size: Int) {
        self.init(top: size, left: size, bottom: size, right: size)
    }

    init(integerLiteral size: Int) {
        self.init(size)
    }

    /// TensorFlow's "SAME": as much as makes the output ⌈size / stride⌉ pixels wide, and where that is an odd number, the
    /// larger half at the bottom and on the right.
    ///
    /// A 3×3 filter of stride 2 thus has one line at the bottom and right of an image of even size, where PyTorch's usual
    /// padding of 1 has it at the top and left; an image of odd size has one on every side.
    static func same(_ shape: ImageShape, kernel: Int, stride: Int) -> Padding {
        func total(_ size: Int) -> Int { max(((size + stride - 1) / stride - 1) * stride + kernel - size, 0) }
        let (height, width) = (total(shape.height), total(shape.width))
        return Padding(top: height / 2, left: width / 2, bottom: height - height / 2, right: width - width / 2)
    }
}
