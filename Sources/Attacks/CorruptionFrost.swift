import Kernels
import Runtime

extension Corruption {
    /// A darker image under a part of a frozen pane. The published images have parts of five photographs there, at a fifth of
    /// their size; here a texture is drawn that has each photograph's colour, contrast, and correlations between pixels.
    @Sendable static func letItFreeze(_ canvas: inout Canvas, _ severity: Int) {
        let (kept, thickness) = [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)][severity] as (Float, Float)
        let pane = FrozenPane.all[canvas.random.below(FrozenPane.all.count)]
        let (area, channels) = (canvas.area, canvas.shape.channels)
        let texture = canvas.spare
        texture.update(repeating: 0, count: area)
        for (scale, share) in zip(FrozenPane.scales, pane.shares) {
            addNoise(texture, &canvas, scale: scale, deviation: pane.deviation * share.squareRoot())
        }
        for c in 0..<channels {
            let colour = channels == 3 ? pane.colour[c] : (pane.colour[0] + pane.colour[1] + pane.colour[2]) / 3
            let channel = canvas.channel(c)
            for i in 0..<area { channel[i] = kept * channel[i] + thickness * min(max(colour + texture[i], 0), 1) }
        }
    }

    /// Normal numbers so many pixels apart, with straight lines between them.
    private static func addNoise(
        _ texture: UnsafeMutablePointer<Float>, _ canvas: inout Canvas, scale: Int, deviation: Float
    ) {
        let (height, width) = (canvas.shape.height, canvas.shape.width)
        // Where the first knot lies is chance too, or the knots' pixels would vary more than others.
        let (top, left) = (canvas.random.below(scale), canvas.random.below(scale))
        let (rows, columns) = ((height - 1 + top) / scale + 2, (width - 1 + left) / scale + 2)
        var knots = [Float](repeating: 0, count: rows * columns)
        for i in knots.indices { knots[i] = canvas.random.normal() }
        // Between knots the variance is less: (s² + 1/2) / (3/2 s²) on average along a line.
        let line = (Float(scale * scale) + 0.5) / (1.5 * Float(scale * scale))
        let factor = deviation / line
        for y in 0..<height {
            let (row, down) = ((y + top) / scale, Float((y + top) % scale) / Float(scale))
            for x in 0..<width {
                let (column, across) = ((x + left) / scale, Float((x + left) % scale) / Float(scale))
                let (upper, lower) = (row * columns + column, (row + 1) * columns + column)
                let above = knots[upper] + across * (knots[upper + 1] - knots[upper])
                let below = knots[lower] + across * (knots[lower + 1] - knots[lower])
                texture[y * width + x] += factor * (above + down * (below - above))
            }
        }
    }
}

/// What a photograph of frost looks like at the size at which CIFAR-10-C takes parts of it.
private struct FrozenPane {
    /// Mean red, green and blue.
    let colour: [Float]
    /// Standard deviation of the grey values.
    let deviation: Float
    /// Of the variance, by scale: fitted to the correlations of pixels 0 to 24 apart.
    let shares: [Float]

    /// Pixels between two knots of the noise.
    static let scales = [1, 2, 8, 32]

    /// Measured on the photographs that come with the package imagecorruptions 1.1.2; two of the five are the same there.
    static let all = [
        FrozenPane(colour: [0.30, 0.58, 0.65], deviation: 0.070, shares: [0.30, 0.06, 0.14, 0.50]),
        FrozenPane(colour: [0.79, 0.81, 0.84], deviation: 0.086, shares: [0.37, 0.15, 0.01, 0.47]),
        FrozenPane(colour: [0.79, 0.81, 0.84], deviation: 0.086, shares: [0.37, 0.15, 0.01, 0.47]),
        FrozenPane(colour: [0.54, 0.60, 0.65], deviation: 0.115, shares: [0.50, 0.10, 0.03, 0.37]),
        FrozenPane(colour: [0.44, 0.48, 0.53], deviation: 0.169, shares: [0.37, 0.22, 0.01, 0.40]),
    ]
}
