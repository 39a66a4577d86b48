import Glibc
import Runtime

/// Floats in one chunk of a flat elementwise pass.
private let floatsPerChunk = 16384

private func eachChunk(_ count: Int, _ body: (_ start: Int, _ count: Int) -> Void) {
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

/// y = x·σ(x) (SiLU; Elfwing, Uchibe and Doya 2018); y may be x.
public func siluForward(_ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int) {
    eachChunk(count) { start, n in
        for i in start..<(start + n) { y[i] = x[i] / (1 + expf(-x[i])) }
    }
}

/// dx = g·σ(x)·(1 + x·(1 − σ(x))) for the input x, added to dx where `accumulate`. dx may be g.
public func siluBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient g: UnsafePointer<Float>, input x: UnsafePointer<Float>, count: Int,
    accumulate: Bool
) {
    eachChunk(count) { start, n in
        for i in start..<(start + n) {
            let sigmoid = 1 / (1 + expf(-x[i]))
            let value = g[i] * sigmoid * (1 + x[i] * (1 - sigmoid))
            dx[i] = accumulate ? dx[i] + value : value
        }
    }
}

/// y = x·Φ(x), Φ the normal distribution's function (GELU; Hendrycks and Gimpel 2016, arXiv 1606.08415); y may be x.
public func geluForward(_ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int) {
    eachChunk(count) { start, n in
        for i in start..<(start + n) { y[i] = x[i] * normalDistribution(x[i]) }
    }
}

/// dx = g·(Φ(x) + x·φ(x)) for the input x, added to dx where `accumulate`. dx may be g.
public func geluBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient g: UnsafePointer<Float>, input x: UnsafePointer<Float>, count: Int,
    accumulate: Bool
) {
    let peak = Float(0.3989422804014327)  // 1/√(2π)
    eachChunk(count) { start, n in
        for i in start..<(start + n) {
            let value = g[i] * (normalDistribution(x[i]) + x[i] * peak * expf(-0.5 * x[i] * x[i]))
            dx[i] = accumulate ? dx[i] + value : value
        }
    }
}

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
