import Kernels
import Runtime

/// Random crop from the image padded with zeros, then random horizontal flip: the usual augmentation of small images.
struct Augmentation {
    /// Zeros on each side; 0 = no crop.
    let padding: Int
    let flip: Bool
    let seed: UInt64

    /// Writes the augmented form of `image`, both (channels, height, width) and not the same memory.
    ///
    /// - Parameter key: of the random numbers; different for each sample and epoch.
    func apply(
        _ image: UnsafePointer<Float>, into result: UnsafeMutablePointer<Float>, shape: ImageShape, key: UInt64
    ) {
        var random = CounterRandom(seed: seed, stream: .augmentation, index: key)
        let down = random.below(2 * padding + 1) - padding
        let right = random.below(2 * padding + 1) - padding
        let mirrored = random.below(2) == 1 && flip
        let (height, width) = (shape.height, shape.width)
        for channel in 0..<shape.channels {
            for y in 0..<height {
                let row = result + (channel * height + y) * width
                let sourceY = y + down
                guard sourceY >= 0, sourceY < height else {
                    row.update(repeating: 0, count: width)
                    continue
                }
                let source = image + (channel * height + sourceY) * width
                for x in 0..<width {
                    let sourceX = (mirrored ? width - 1 - x : x) + right
                    row[x] = sourceX >= 0 && sourceX < width ? source[sourceX] : 0
                }
            }
        }
    }
}
