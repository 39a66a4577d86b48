import Glibc
import Runtime

/// Per-channel parameters repeated to a period that is a whole number of vectors (see KernelsWide/Elementwise.swift).
struct Periodic {
    let channels: Int
    let period: Int

    init(channels: Int, laneCount: Int) {
        self.channels = channels
        var a = channels
        var b = laneCount
        while b != 0 { (a, b) = (b, a % b) }
        period = channels / a * laneCount
    }

    func expand(_ values: UnsafePointer<Float>, into target: UnsafeMutablePointer<Float>) {
        for p in 0..<period { target[p] = values[p % channels] }
    }

    /// Adds the sums of one period up to sums per channel, in double.
    func fold(_ sums: UnsafePointer<Float>, into target: UnsafeMutablePointer<Double>) {
        for p in 0..<period { target[p % channels] += Double(sums[p]) }
    }
}

/// Pixels in one chunk of an elementwise pass: a multiple of every vector length, so that chunks hold whole periods.
private let pixelsPerChunk = 512

private func chunkCount(_ pixels: Int) -> Int { (pixels + pixelsPerChunk - 1) / pixelsPerChunk }

/// BatchNorm over `channels` channels (Ioffe and Szegedy 2015) with its working memory; one object per layer and pass,
/// because the backward pass needs the batch statistics of the forward pass.
///
/// Either pass has three parts, so that they can be run where their numbers are in a cache: `takeStatistics` of some
/// samples at a time, in any order; `finish` once all have been seen; `apply`. Backward `takeGradientSums`,
/// `finishGradient`, `applyGradient`; between them `apply` may be done again.
public final class BatchNormKernel {
    let channels: Int
    let epsilon: Float
    let momentum: Float
    /// Pixels of a sample.
    private let pixels: Int
    private let layout: Periodic
    private let table: KernelTable
    /// Chunk results, [chunk][3][period].
    private let partial: FloatBuffer
    /// Expanded parameters: scale and shift of the forward pass; the mean; a, b and c of the backward pass.
    private let expanded: FloatBuffer
    private let mean: FloatBuffer
    private let inverseDeviation: FloatBuffer
    private let sums: UnsafeMutablePointer<Double>

    /// `pixels`: height × width of a sample; `capacity`: samples of the largest batch.
    public init(
        channels: Int, epsilon: Float, momentum: Float, pixels: Int, capacity: Int, table: KernelTable = .active
    ) throws {
        self.channels = channels
        self.epsilon = epsilon
        self.momentum = momentum
        self.pixels = pixels
        self.table = table
        layout = Periodic(channels: channels, laneCount: table.laneCount)
        let group = Self.samplesPerGroup(pixels: pixels)
        let groups = (capacity + group - 1) / group
        partial = try FloatBuffer(groups * chunkCount(group * pixels) * 3 * layout.period)
        expanded = try FloatBuffer(6 * layout.period)
        mean = try FloatBuffer(channels)
        inverseDeviation = try FloatBuffer(channels)
        sums = .allocate(capacity: 4 * channels)
    }

    deinit { sums.deallocate() }

    /// Statistics are taken of groups of so many samples at least, each in chunks of its own.
    public static func samplesPerGroup(pixels: Int) -> Int { max(1, pixelsPerChunk / max(pixels, 1)) }

    /// The chunks of a batch: which pixels, and where their results are.
    private func chunks(_ samples: Int) -> (perGroup: Int, count: Int) {
        let group = Self.samplesPerGroup(pixels: pixels)
        let perGroup = chunkCount(group * pixels)
        let whole = samples / group
        return (perGroup, whole * perGroup + chunkCount(samples % group * pixels))
    }

    /// Means and squared deviations of `count` samples, x being the first of them, number `first` of its batch: a multiple
    /// of `samplesPerGroup`. A chunk's float mean is a first guess only: deviations from it correct the mean.
    public func takeStatistics(_ x: UnsafePointer<Float>, first: Int, count: Int) {
        let period = layout.period
        let channels = channels
        let group = Self.samplesPerGroup(pixels: pixels)
        let (perGroup, chunkCount) = chunks(count)
        let results = partial.pointer + first / group * perGroup * 3 * period
        WorkerPool.parallelFor(chunkCount) { chunk in
            let (start, n) = self.extent(chunk, of: count, perGroup)
            let source = x + start * channels
            let guess = results + chunk * 3 * period
            guess.update(repeating: 0, count: 3 * period)
            self.table.periodicSums(guess, source, n * channels, period)
            for c in 0..<channels {
                var total: Float = 0
                for p in stride(from: c, to: period, by: channels) { total += guess[p] }
                for p in stride(from: c, to: period, by: channels) { guess[p] = total / Float(n) }
            }
            self.table.periodicDeviations(guess + period, guess + 2 * period, source, guess, n * channels, period)
        }
    }

    /// First pixel and pixels of a chunk.
    private func extent(_ chunk: Int, of samples: Int, _ perGroup: Int) -> (start: Int, count: Int) {
        let group = Self.samplesPerGroup(pixels: pixels) * pixels
        let first = chunk / perGroup * group
        let within = chunk % perGroup * pixelsPerChunk
        return (first + within, min(pixelsPerChunk, group - within, samples * pixels - first - within))
    }

    /// Mean and biased variance of each channel of a batch of `count` samples. Chunks are combined in a fixed order (Chan,
    /// Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979). Where
    /// `runningMean` and `runningVariance` are given they move towards the batch's mean and unbiased variance by
    /// `momentum`, as in PyTorch.
    public func finish(
        count: Int, gamma: UnsafePointer<Float>, beta: UnsafePointer<Float>, runningMean: UnsafeMutablePointer<Float>?,
        runningVariance: UnsafeMutablePointer<Float>?
    ) {
        combine(count)
        let pixels = count * self.pixels
        if let runningMean, let runningVariance {
            let unbiased = pixels > 1 ? Double(pixels) / Double(pixels - 1) : 1
            for c in 0..<channels {
                let variance = sums[channels + c] * unbiased
                runningMean[c] += momentum * (mean.pointer[c] - runningMean[c])
                runningVariance[c] += momentum * (Float(variance) - runningVariance[c])
            }
        }
        // (x − μ)·a + β needs no fourth parameter: scale = γ/σ, shift = β − μ·scale.
        let scale = expanded.pointer
        let shift = expanded.pointer + layout.period
        for p in 0..<layout.period {
            let c = p % channels
            scale[p] = gamma[c] * inverseDeviation.pointer[c]
            shift[p] = beta[c] - mean.pointer[c] * scale[p]
        }
        layout.expand(mean.pointer, into: centre)
    }

    private var centre: UnsafeMutablePointer<Float> { expanded.pointer + 2 * layout.period }

    private func combine(_ samples: Int) {
        let period = layout.period
        let channels = channels
        let (perGroup, chunkCount) = chunks(samples)
        let deviations = sums + 2 * channels
        let squares = sums + 3 * channels
        sums.update(repeating: 0, count: 2 * channels)
        var seen = 0.0
        for chunk in 0..<chunkCount {
            let n = Double(extent(chunk, of: samples, perGroup).count)
            let guess = partial.pointer + chunk * 3 * period
            deviations.update(repeating: 0, count: 2 * channels)
            layout.fold(guess + period, into: deviations)
            layout.fold(guess + 2 * period, into: squares)
            for c in 0..<channels {
                let delta = Double(guess[c]) + deviations[c] / n - sums[c]
                sums[c] += delta * n / (seen + n)
                sums[channels + c] +=
                    squares[c] - deviations[c] * deviations[c] / n + delta * delta * seen * n / (seen + n)
            }
            seen += n
        }
        for c in 0..<channels {
            sums[channels + c] = max(sums[channels + c] / Double(samples * pixels), 0)
            mean.pointer[c] = Float(sums[c])
            inverseDeviation.pointer[c] = Float(1 / (sums[channels + c] + Double(epsilon)).squareRoot())
        }
    }

    /// y = act( (x − μ_B)/√(σ²_B + ε)·γ + β + residual ) with the statistics that `finish` has found; until the backward pass
    /// it can be done again.
    public func apply(
        _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, pixels: Int,
        residual: UnsafePointer<Float>? = nil, rectify: Bool = false, signs: UnsafeMutablePointer<UInt8>? = nil
    ) {
        let scale = expanded.pointer
        let shift = expanded.pointer + layout.period
        eachChunk(pixels) { start, count in
            self.table.scaleShift(
                y + start, x + start, count, scale, shift, self.layout.period, residual.map { $0 + start }, rectify,
                signs.map { $0 + start })
        }
    }

    /// Sums over the output gradient g and over g·(x − μ_B) of `count` samples, g and x (the forward pass's input) being at
    /// the first of them, which is as in `takeStatistics`.
    public func takeGradientSums(
        gradient g: UnsafePointer<Float>, _ x: UnsafePointer<Float>, first: Int, count: Int
    ) {
        let period = layout.period
        let channels = channels
        let (perGroup, chunkCount) = chunks(count)
        let results = partial.pointer + first / Self.samplesPerGroup(pixels: pixels) * perGroup * 3 * period
        WorkerPool.parallelFor(chunkCount) { chunk in
            let (start, n) = self.extent(chunk, of: count, perGroup)
            let sums = results + chunk * 3 * period
            sums.update(repeating: 0, count: 2 * period)
            self.table.periodicGradientSums(
                sums, sums + period, g + start * channels, x + start * channels, self.centre, n * channels, period)
        }
    }

    /// Once all samples have been seen: dgamma += Σ g·x̂, dbeta += Σ g.
    public func finishGradient(
        count: Int, gamma: UnsafePointer<Float>, dgamma: UnsafeMutablePointer<Float>, dbeta: UnsafeMutablePointer<Float>
    ) {
        let period = layout.period
        let total = sums
        let product = sums + channels
        sums.update(repeating: 0, count: 2 * channels)
        for chunk in 0..<chunks(count).count {
            let chunkSums = partial.pointer + chunk * 3 * period
            layout.fold(chunkSums, into: total)
            layout.fold(chunkSums + period, into: product)
        }
        let a = centre + period
        let b = a + period
        let c = b + period
        let pixels = Double(count * pixels)
        for p in 0..<period {
            let channel = p % channels
            let inverse = Double(inverseDeviation.pointer[channel])
            let scale = Double(gamma[channel]) * inverse
            a[p] = Float(scale)
            b[p] = Float(-scale * inverse * inverse * product[channel] / pixels)
            c[p] = Float(-scale * total[channel] / pixels)
        }
        for channel in 0..<channels {
            dgamma[channel] += Float(product[channel] * Double(inverseDeviation.pointer[channel]))
            dbeta[channel] += Float(total[channel])
        }
    }

    /// dx = γ/σ·(g − mean(g) − x̂·mean(g·x̂)) with the sums that `finishGradient` has found, added where `accumulate`. x is
    /// the forward pass's input; dx may be g.
    public func applyGradient(
        _ dx: UnsafeMutablePointer<Float>, accumulate: Bool, gradient g: UnsafePointer<Float>,
        _ x: UnsafePointer<Float>, pixels: Int
    ) {
        let period = layout.period
        let a = centre + period
        eachChunk(pixels) { start, count in
            self.table.normGradient(
                dx + start, g + start, x + start, count, self.centre, a, a + period, a + 2 * period, period, accumulate)
        }
    }

    private func eachChunk(_ pixels: Int, _ body: (_ start: Int, _ count: Int) -> Void) {
        let channels = channels
        WorkerPool.parallelFor(chunkCount(pixels)) { chunk in
            let start = chunk * pixelsPerChunk
            body(start * channels, min(pixelsPerChunk, pixels - start) * channels)
        }
    }
}

/// A fixed per-channel scale and shift: BatchNorm in inference mode where it cannot be folded into a convolution, and
/// the input normalisation.
public final class ChannelAffineKernel {
    private let layout: Periodic
    private let table: KernelTable
    private let scale: FloatBuffer
    private let shift: FloatBuffer
    private let zeros: FloatBuffer

    public init(channels: Int, table: KernelTable = .active) throws {
        self.table = table
        layout = Periodic(channels: channels, laneCount: table.laneCount)
        scale = try FloatBuffer(layout.period)
        shift = try FloatBuffer(layout.period)
        zeros = try FloatBuffer(layout.period)
    }

    public func set(scale newScale: UnsafePointer<Float>, shift newShift: UnsafePointer<Float>) {
        layout.expand(newScale, into: scale.pointer)
        layout.expand(newShift, into: shift.pointer)
    }

    /// y = x·scale + shift, rectified where asked; y may be x.
    public func forward(
        _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, pixels: Int, rectify: Bool,
        signs: UnsafeMutablePointer<UInt8>? = nil
    ) {
        run(y, x, pixels, shift.pointer, nil, rectify, signs)
    }

    /// dx = g·scale, added to dx where `accumulate`; dx may be g.
    public func backward(
        _ dx: UnsafeMutablePointer<Float>, gradient g: UnsafePointer<Float>, pixels: Int, accumulate: Bool
    ) {
        run(dx, g, pixels, zeros.pointer, accumulate ? UnsafePointer(dx) : nil, false, nil)
    }

    private func run(
        _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ pixels: Int, _ shift: UnsafePointer<Float>,
        _ residual: UnsafePointer<Float>?, _ rectify: Bool, _ signs: UnsafeMutablePointer<UInt8>?
    ) {
        let channels = layout.channels
        WorkerPool.parallelFor(chunkCount(pixels)) { chunk in
            let start = chunk * pixelsPerChunk * channels
            let count = min(pixelsPerChunk, pixels - chunk * pixelsPerChunk) * channels
            self.table.scaleShift(
                y + start, x + start, count, self.scale.pointer, shift, self.layout.period,
                residual.map { $0 + start }, rectify, signs.map { $0 + start })
        }
    }
}
