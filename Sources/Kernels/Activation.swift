import Glibc
import Runtime

/// A nonlinearity, elementwise, whose gradient is found from its input. (A ReLU's is found from its signs.)
public enum Activation: Equatable, Sendable {
    /// x·σ(x) (Elfwing, Uchibe and Doya 2018).
    case silu
    /// x·Φ(x), Φ the normal distribution's function (Hendrycks and Gimpel 2016, arXiv 1606.08415).
    case gelu
    /// σ(x) = 1/(1 + e⁻ˣ).
    case sigmoid
    case tanh
    /// x where it is positive, else slope·x (Maas, Hannun and Ng 2013).
    case leakyReLU(slope: Float)
    /// min(max(x, 0), 6) (Krizhevsky 2010).
    case relu6
    /// min(max(x + 3, 0), 6)/6 (Howard et al., "Searching for MobileNetV3", arXiv 1905.02244).
    case hardSigmoid
    /// x·hardSigmoid(x) (ibidem).
    case hardSwish
}

/// Floats in one chunk of a flat elementwise pass.
private let floatsPerChunk = 16384

func eachChunk(_ count: Int, _ body: (_ start: Int, _ count: Int) -> Void) {
    WorkerPool.parallelFor((count + floatsPerChunk - 1) / floatsPerChunk) { chunk in
        let start = chunk * floatsPerChunk
        body(start, min(floatsPerChunk, count - start))
    }
}

/// y = max(x, 0); y may be x. `signs` (count): set to 1 where y is positive, else to 0.
public func reluForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, signs: UnsafeMutablePointer<UInt8>? = nil
) {
    eachChunk(count) { start, n in
        for i in start..<(start + n) {
            y[i] = x[i] < 0 ? 0 : x[i]
            signs?[i] = y[i] > 0 ? 1 : 0
        }
    }
}

/// signs = 1 where a ReLU's output y is positive, else 0.
public func reluSigns(_ signs: UnsafeMutablePointer<UInt8>, _ y: UnsafePointer<Float>, count: Int) {
    eachChunk(count) { start, n in
        for i in start..<(start + n) { signs[i] = y[i] > 0 ? 1 : 0 }
    }
}

/// dx = g where the ReLU's output was positive, else 0; added to dx where `accumulate`. dx may be g.
public func reluBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient g: UnsafePointer<Float>, signs: UnsafePointer<UInt8>, count: Int,
    accumulate: Bool
) {
    let kernel = KernelTable.active.rectifyGradient
    eachChunk(count) { start, n in kernel(dx + start, g + start, signs + start, n, accumulate) }
}

/// y = f(x); y may be x. What is no number stays none.
public func activationForward(
    _ f: Activation, _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int
) {
    eachChunk(count) { start, n in
        let (y, x) = (y + start, x + start)
        @inline(__always) func map(_ f: (Float) -> Float) { for i in 0..<n { y[i] = f(x[i]) } }
        switch f {
        case .silu: map { $0 / (1 + expf(-$0)) }
        case .gelu: map { $0 * normalDistribution($0) }
        case .sigmoid: map(sigmoid)
        case .tanh: map { tanhf($0) }
        case .leakyReLU(let slope): map { $0 < 0 ? slope * $0 : $0 }
        case .relu6: map { $0 < 0 ? 0 : $0 > 6 ? 6 : $0 }
        case .hardSigmoid: map(hardSigmoid)
        case .hardSwish: map { $0 * hardSigmoid($0) }
        }
    }
}

/// dx = g·f'(x) for the input x, added to dx where `accumulate`. dx may be g. Where f has a corner, its derivative is
/// PyTorch's.
public func activationBackward(
    _ f: Activation, _ dx: UnsafeMutablePointer<Float>, gradient g: UnsafePointer<Float>, input x: UnsafePointer<Float>,
    count: Int, accumulate: Bool
) {
    let peak = Float(0.3989422804014327)  // 1/√(2π)
    eachChunk(count) { start, n in
        let (dx, g, x) = (dx + start, g + start, x + start)
        @inline(__always) func map(_ slope: (Float) -> Float) {
            for i in 0..<n {
                let value = g[i] * slope(x[i])
                dx[i] = accumulate ? dx[i] + value : value
            }
        }
        switch f {
        case .silu:
            map {
                let s = sigmoid($0)
                return s * (1 + $0 * (1 - s))
            }
        case .gelu: map { normalDistribution($0) + $0 * peak * expf(-0.5 * $0 * $0) }
        case .sigmoid:
            map {
                let s = sigmoid($0)
                return s * (1 - s)
            }
        case .tanh:
            map {
                let t = tanhf($0)
                return 1 - t * t
            }
        case .leakyReLU(let slope): map { $0 > 0 ? 1 : slope }
        case .relu6: map { $0 > 0 && $0 < 6 ? 1 : 0 }
        case .hardSigmoid: map { $0 > -3 && $0 < 3 ? 1 / 6 : 0 }
        case .hardSwish: map { $0 <= -3 ? 0 : $0 < 3 ? $0 / 3 + 0.5 : 1 }
        }
    }
}

@inline(__always)
private func sigmoid(_ x: Float) -> Float { 1 / (1 + expf(-x)) }

@inline(__always)
private func hardSigmoid(_ x: Float) -> Float { x <= -3 ? 0 : x >= 3 ? 1 : (x + 3) / 6 }

/// Exact on both sides: 1 + erf would cancel on the left.
@inline(__always)
private func normalDistribution(_ x: Float) -> Float { 0.5 * erfcf(-0.7071067811865476 * x) }

/// out = a + b, rectified where asked; out may be either.
public func addForward(
    _ out: UnsafeMutablePointer<Float>, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int, rectify: Bool,
    signs: UnsafeMutablePointer<UInt8>? = nil
) {
    let kernel = KernelTable.active.add
    eachChunk(count) { start, n in
        kernel(out + start, a + start, b + start, n, rectify, signs.map { $0 + start })
    }
}
