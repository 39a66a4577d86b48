import Glibc
import Kernels
import Runtime

/// The blurs among the common corruptions.
extension Corruption {
    /// A disk, its edge softened.
    @Sendable static func blurOutOfFocus(_ canvas: inout Canvas, _ severity: Int) {
        let (radius, softness) = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)][severity]
        let edge = exp(-1 / (2 * softness * softness))
        let soft = [edge / (1 + 2 * edge), 1 / (1 + 2 * edge), edge / (1 + 2 * edge)]
        // Disks of radius 1.5 at most, and a pixel for the softening.
        let reach = 2
        let side = 2 * reach + 1
        func isInside(_ y: Int, _ x: Int) -> Bool { Double(y * y + x * x) <= radius * radius }
        var size = 0.0
        for y in -reach...reach { for x in -reach...reach { size += isInside(y, x) ? 1 : 0 } }
        var kernel = [Float](repeating: 0, count: side * side)
        for y in -reach...reach {
            for x in -reach...reach {
                var weight = 0.0
                for dy in -1...1 {
                    for dx in -1...1 where isInside(y + dy, x + dx) { weight += soft[dy + 1] * soft[dx + 1] }
                }
                kernel[(y + reach) * side + x + reach] = Float(weight / size)
            }
        }
        let (height, width) = (canvas.shape.height, canvas.shape.width)
        for c in 0..<canvas.shape.channels {
            let channel = canvas.channel(c)
            canvas.spare.update(from: channel, count: canvas.area)
            for y in 0..<height {
                for x in 0..<width {
                    var sum: Float = 0
                    for dy in -reach...reach {
                        let row = mirrored(y + dy, height)
                        for dx in -reach...reach {
                            sum +=
                                kernel[(dy + reach) * side + dx + reach]
                                * canvas.spare[row * width + mirrored(x + dx, width)]
                        }
                    }
                    channel[y * width + x] = sum
                }
            }
        }
    }

    /// Normal blur, then pixels take the place of neighbours, then normal blur again. As in the published images a pixel is
    /// copied to its neighbour, not exchanged with it.
    @Sendable static func blurThroughGlass(_ canvas: inout Canvas, _ severity: Int) {
        let (sigma, times) = [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)][severity]
        let (height, width) = (canvas.shape.height, canvas.shape.width)
        blurNormally(canvas, sigma)
        for _ in 0..<times where height > 2 && width > 2 {
            for y in stride(from: height - 1, to: 1, by: -1) {
                for x in stride(from: width - 1, to: 1, by: -1) {
                    let (dx, dy) = (canvas.random.below(2) - 1, canvas.random.below(2) - 1)
                    for c in 0..<canvas.shape.channels {
                        let channel = canvas.channel(c)
                        channel[y * width + x] = channel[(y + dy) * width + x + dx]
                    }
                }
            }
        }
        blurNormally(canvas, sigma)
    }

    /// Along a line within 45° of the horizontal.
    @Sendable static func blurInMotion(_ canvas: inout Canvas, _ severity: Int) {
        let (radius, sigma) = [(6, 1.0), (6, 1.5), (6, 2), (8, 2), (9, 2.5)][severity]
        let angle = (Double(canvas.random.uniform()) - 0.5) * Double.pi / 2
        for c in 0..<canvas.shape.channels { move(canvas.channel(c), canvas, radius, sigma, angle) }
    }

    /// The sum of a plane of the image's size and others, shifted at the angle, the further the lighter; beyond the edge the
    /// pixels at it go on. Uses the first plane of the spare memory.
    static func move(
        _ plane: UnsafeMutablePointer<Float>, _ canvas: Canvas, _ radius: Int, _ sigma: Double, _ angle: Double
    ) {
        let (height, width) = (canvas.shape.height, canvas.shape.width)
        let weights = (0...2 * radius).map { exp(-Double($0 * $0) / (2 * sigma * sigma)) }
        let whole = weights.reduce(0, +)
        canvas.spare.update(from: plane, count: canvas.area)
        plane.update(repeating: 0, count: canvas.area)
        for (i, weight) in weights.enumerated() {
            let dy = -Int((Double(i) * sin(angle) - 0.5).rounded(.up))
            let dx = -Int((Double(i) * cos(angle) - 0.5).rounded(.up))
            let part = Float(weight / whole)
            for y in 0..<height {
                let row = min(max(y - dy, 0), height - 1)
                for x in 0..<width {
                    plane[y * width + x] += part * canvas.spare[row * width + min(max(x - dx, 0), width - 1)]
                }
            }
        }
    }

    /// The mean of the image and enlargements of its middle.
    @Sendable static func blurZooming(_ canvas: inout Canvas, _ severity: Int) {
        // As many as the published ranges of floats have.
        let number = [7, 12, 16, 21, 26][severity]
        for c in 0..<canvas.shape.channels {
            let channel = canvas.channel(c)
            canvas.spare.update(from: channel, count: canvas.area)
            // numpy's arange goes on by the difference of its first two numbers: where a size times the factor lies between
            // two pixels, that decides.
            let step = (1 + 0.01) - 1
            for n in 0..<number { enlarge(canvas, 1 + step * Double(n)) { channel[$0] += $1 } }
            for i in 0..<canvas.area { channel[i] /= Float(number + 1) }
        }
    }

    /// Tells the pixels of the enlarged middle of the first plane of the spare memory.
    static func enlarge(_ canvas: Canvas, _ zoom: Double, _ take: (_ pixel: Int, _ value: Float) -> Void) {
        let (height, width) = (canvas.shape.height, canvas.shape.width)
        let (vertical, horizontal) = (Enlargement(height, zoom), Enlargement(width, zoom))
        for y in 0..<height {
            let (row, down) = vertical.place(y)
            for x in 0..<width {
                let (column, across) = horizontal.place(x)
                let corner = canvas.spare + row * width + column
                let right = column + 1 < width ? 1 : 0
                let below = row + 1 < height ? width : 0
                let upper = corner[0] + across * (corner[right] - corner[0])
                let lower = corner[below] + across * (corner[below + right] - corner[below])
                take(y * width + x, upper + down * (lower - upper))
            }
        }
    }

    /// How the middle of a line of pixels is enlarged to its whole length, corners on corners.
    private struct Enlargement {
        private let first: Int
        private let trimmed: Int
        private let pace: Double
        private let last: Int

        init(_ size: Int, _ zoom: Double) {
            let part = min(Int((Double(size) / zoom).rounded(.up)), size)
            let enlarged = max(Int((Double(part) * zoom).rounded(.toNearestOrEven)), size)
            first = (size - part) / 2
            trimmed = (enlarged - size) / 2
            pace = enlarged > 1 ? Double(part - 1) / Double(enlarged - 1) : 0
            last = first + part - 1
        }

        /// The pixel before the place that pixel `x` shows, and how far behind it.
        func place(_ x: Int) -> (pixel: Int, part: Float) {
            let place = Double(first) + Double(x + trimmed) * pace
            let pixel = min(Int(place), last)
            return (pixel, pixel == last ? 0 : Float(place - Double(pixel)))
        }
    }

    private static func blurNormally(_ canvas: Canvas, _ sigma: Double) {
        for c in 0..<canvas.shape.channels {
            smooth(canvas.channel(c), canvas, sigma, deviations: 4) { min(max($0, 0), $1 - 1) }
        }
    }

    /// A convolution of a plane of the image's size with the bell curve, columns and rows, out to so many σ. The edge says which
    /// place a line shows beyond its ends. Uses the first plane of the spare memory.
    static func smooth(
        _ plane: UnsafeMutablePointer<Float>, _ canvas: Canvas, _ sigma: Double, deviations: Double,
        edge: (_ index: Int, _ size: Int) -> Int
    ) {
        let reach = Int(deviations * sigma + 0.5)
        guard reach > 0 else { return }
        let weights = (-reach...reach).map { exp(-Double($0 * $0) / (2 * sigma * sigma)) }
        let whole = weights.reduce(0, +)
        let (height, width) = (canvas.shape.height, canvas.shape.width)
        for (size, pace, lines, nextLine) in [(height, width, width, 1), (width, 1, height, width)] {
            canvas.spare.update(from: plane, count: canvas.area)
            let places = (-reach..<size + reach).map { edge($0, size) * pace }
            for line in 0..<lines {
                let source = canvas.spare + line * nextLine
                for i in 0..<size {
                    var sum = 0.0
                    for d in 0...2 * reach { sum += weights[d] * Double(source[places[i + d]]) }
                    plane[line * nextLine + i * pace] = Float(sum / whole)
                }
            }
        }
    }

    /// The place of an index in a line that is mirrored at its ends, which are not repeated.
    static func mirrored(_ index: Int, _ size: Int) -> Int {
        guard size > 1 else { return 0 }
        let period = 2 * (size - 1)
        let place = ((index % period) + period) % period
        return place < size ? place : period - place
    }
}
