import Kernels
import Runtime

extension Corruption {
    /// A paler image under flakes, blurred as they fall: the peaks of enlarged noise, and the same turned upside down.
    @Sendable static func letItSnow(_ canvas: inout Canvas, _ severity: Int) {
        let (mean, deviation, zoom, threshold, radius, sigma, kept): (Float, Float, Double, Float, Int, Double, Float) =
            [
                (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
            ][severity]
        let (area, channels) = (canvas.area, canvas.shape.channels)
        for i in 0..<area { canvas.spare[i] = mean + deviation * canvas.random.normal() }
        let flakes = canvas.spare + area
        enlarge(canvas, zoom) { flakes[$0] = $1 < threshold ? 0 : min($1, 1) }
        // Within 45° of the vertical.
        let angle = (Double(canvas.random.uniform()) - 1.5) * Double.pi / 2
        move(flakes, canvas, radius, sigma, angle)
        // The light of red, green and blue; of other channels the mean.
        let light: [Float] =
            channels == 3 ? [0.299, 0.587, 0.114] : [Float](repeating: 1 / Float(channels), count: channels)
        for i in 0..<area {
            var grey: Float = 0
            for c in 0..<channels { grey += light[c] * canvas.image[c * area + i] }
            let snow = flakes[i] + flakes[area - 1 - i]
            for c in 0..<channels {
                let old = canvas.image[c * area + i]
                canvas.image[c * area + i] = kept * old + (1 - kept) * max(old, 1.5 * grey + 0.5) + snow
            }
        }
    }
}
