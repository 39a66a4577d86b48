import Kernels
import Runtime

/// How far an attack cascade has come with each sample, and what it has found: all that has to be known to go on with it.
///
/// Runs that were under way are not part of it. They begin anew, which changes nothing: a run's result depends on its
/// sample and its number alone.
public final class CascadeState {
    let count: Int
    let classes: Int
    let pixels: Int
    /// 1 where the clean image is classified correctly (with a target: not as the target yet); others are not attacked.
    let clean: Buffer<UInt8>
    /// (count, classes) of the clean images.
    let logits: FloatBuffer
    /// The stage that a sample is in, and its next run there; the number of stages when all is over.
    let stage: Buffer<Int32>
    let run: Buffer<Int32>
    /// The stage whose attack succeeded; -1 where none has.
    let breaker: Buffer<Int32>
    /// Where an attack succeeded, its image.
    let images: FloatBuffer
    /// How many passes the sample had made when an iterate was first misclassified; -1 where none was.
    let firstSuccess: Buffer<Int64>
    let forwards: Buffer<Int64>
    let backwards: Buffer<Int64>
    /// 1 where a run began at a zero gradient.
    let vanished: Buffer<UInt8>
    /// Spent in each stage.
    let seconds: Buffer<Double>
    /// 1 where the result is misclassified still once it is rounded to bytes; where that has been looked at. Not part of the
    /// file: it follows from the rest.
    var quantised: Buffer<UInt8>?

    /// Throws `outOfMemory`.
    init(count: Int, classes: Int, pixels: Int, stages: Int) throws {
        self.count = count
        self.classes = classes
        self.pixels = pixels
        clean = try Buffer(count)
        logits = try FloatBuffer(count * classes)
        stage = try Buffer(count)
        run = try Buffer(count)
        breaker = try Buffer(count)
        breaker.pointer.update(repeating: -1, count: count)
        images = try FloatBuffer(count * pixels)
        firstSuccess = try Buffer(count)
        firstSuccess.pointer.update(repeating: -1, count: count)
        forwards = try Buffer(count)
        backwards = try Buffer(count)
        vanished = try Buffer(count)
        seconds = try Buffer(stages)
    }

    func image(_ sample: Int) -> UnsafeMutablePointer<Float> { images.pointer + sample * pixels }
    /// Also: has reached its target.
    func isMisclassified(_ sample: Int) -> Bool { clean[sample] == 0 || breaker[sample] >= 0 }

    /// Takes over what is known of the clean images: of a model that answers differently each time.
    func takeClean(from other: CascadeState) {
        clean.pointer.update(from: other.clean.pointer, count: count)
        logits.pointer.update(from: other.logits.pointer, count: count * classes)
    }

    /// Takes over what an attack at a smaller radius has broken, on the same samples: what lies in a ball lies in a larger one.
    func takeBroken(from smaller: CascadeState, stages: Int) {
        for i in 0..<count where smaller.breaker[i] >= 0 {
            breaker[i] = smaller.breaker[i]
            stage[i] = Int32(stages)
            image(i).update(from: smaller.image(i), count: pixels)
            firstSuccess[i] = smaller.firstSuccess[i]
            forwards[i] = smaller.forwards[i]
            backwards[i] = smaller.backwards[i]
        }
    }

    /// Forgets what was found for a sample, after all attacks: it has turned out not to be misclassified.
    func recover(_ sample: Int) {
        breaker[sample] = -1
        firstSuccess[sample] = -1
    }

    /// How many samples are through, under the name of the whole attack.
    func progress(of name: String, stages: Int, _ seconds: Double) -> RunProgress {
        RunProgress(stage: name, done: stage.count { Int($0) == stages }, total: count, seconds: seconds)
    }

    /// How many are classified correctly after the stages before `end` when the results are rounded to bytes; -1 where that has
    /// not been looked at.
    func survivors(before end: Int) -> Int {
        guard let quantised else { return -1 }
        return count - (0..<count).count { quantised[$0] == 1 && (clean[$0] == 0 || Int(breaker[$0]) < end) }
    }

    /// Per sample, 1 where it is still classified correctly after the stages before `end`.
    func flags(before end: Int) throws -> Buffer<UInt8> {
        let flags = try Buffer(copying: clean)
        for i in 0..<count where breaker[i] >= 0 && Int(breaker[i]) < end { flags[i] = 0 }
        return flags
    }
}

/// The file form of a `CascadeState`: a line that names the format, the lines of the settings, an empty line; then, as in
/// memory, the arrays and the images of the samples whose attack succeeded; at the end a check sum of everything before.
extension CascadeState {
    private static let title = "igdm attack state 2\n"
    /// So few that sums over all samples stay far from the largest integer.
    private static let possiblePasses: ClosedRange<Int64> = 0...1 << 40

    /// The columns of the file.
    private var columns: [(start: UnsafeMutableRawPointer, bytes: Int)] {
        func column<T>(_ buffer: Buffer<T>) -> (UnsafeMutableRawPointer, Int) {
            (UnsafeMutableRawPointer(buffer.pointer), buffer.count * MemoryLayout<T>.stride)
        }
        return [
            column(stage), column(run), column(breaker), column(firstSuccess), column(forwards), column(backwards),
            column(clean), column(vanished), column(seconds),
            (UnsafeMutableRawPointer(logits.pointer), logits.count * MemoryLayout<Float>.stride),
        ]
    }

    /// - Parameter settings: what the results depend on, in an order that never changes.
    func serialised(settings: [(name: String, value: String)]) throws -> Buffer<UInt8> {
        let head = Array((Self.title + settings.map { "\($0.name)=\($0.value)\n" }.joined() + "\n").utf8)
        let broken = breaker.count { $0 >= 0 }
        let imageBytes = pixels * MemoryLayout<Float>.stride
        let size = head.count + columns.reduce(0) { $0 + $1.bytes } + broken * imageBytes
        let bytes = try Buffer<UInt8>(size + 8)
        let target = UnsafeMutableRawPointer(bytes.pointer)
        var place = head.count
        head.withUnsafeBytes { if let start = $0.baseAddress { target.copyMemory(from: start, byteCount: $0.count) } }
        for column in columns {
            (target + place).copyMemory(from: column.start, byteCount: column.bytes)
            place += column.bytes
        }
        for i in 0..<count where breaker[i] >= 0 {
            (target + place).copyMemory(from: image(i), byteCount: imageBytes)
            place += imageBytes
        }
        (target + size).storeBytes(of: Checksum.of(UnsafeRawPointer(target), size), as: UInt64.self)
        return bytes
    }

    /// Takes over a file's state. Throws `format` for what is no such file or damaged, `invalidArgument` for one that belongs
    /// to other settings, saying which; then nothing has changed.
    func restore(
        _ bytes: UnsafeRawBufferPointer, settings: [(name: String, value: String)], runs: [Int], path: String
    ) throws {
        func damaged(_ problem: String) -> EngineError {
            EngineError(.format, "state: \"\(path)\": \(problem); remove it to begin anew")
        }
        let title = Array(Self.title.utf8)
        guard bytes.count >= title.count + 8, bytes.prefix(title.count).elementsEqual(title) else {
            throw damaged("is no attack state of this version")
        }
        let size = bytes.count - 8
        guard let start = bytes.baseAddress,
            (start + size).loadUnaligned(as: UInt64.self) == Checksum.of(start, size)
        else { throw damaged("is damaged (its check sum is wrong)") }
        var place = title.count
        var found: [(name: String, value: String)] = []
        while place < size, let end = bytes[place..<size].firstIndex(of: UInt8(ascii: "\n")) {
            let line = String(decoding: UnsafeRawBufferPointer(rebasing: bytes[place..<end]), as: UTF8.self)
            place = end + 1
            if line.isEmpty { break }
            let name = line.prefix { $0 != "=" }
            found.append((String(name), String(line.dropFirst(name.count + 1))))
        }
        try Self.checkSame(found, settings, path: path)

        let fresh = try CascadeState(count: count, classes: classes, pixels: 0, stages: seconds.count)
        for column in fresh.columns {
            guard size - place >= column.bytes else { throw damaged("is too short") }
            column.start.copyMemory(from: start + place, byteCount: column.bytes)
            place += column.bytes
        }
        let imageBytes = pixels * MemoryLayout<Float>.stride
        guard size - place == fresh.breaker.count(where: { $0 >= 0 }) * imageBytes else {
            throw damaged("has the wrong length")
        }
        for i in 0..<count {
            let (stage, run) = (Int(fresh.stage[i]), Int(fresh.run[i]))
            let isPlace = stage == runs.count || (runs.indices.contains(stage) && (0..<runs[stage]).contains(run))
            guard isPlace, (-1..<runs.count).contains(Int(fresh.breaker[i])) else {
                throw damaged("sample \(i) is at stage \(stage), run \(run), which do not exist")
            }
            guard Self.possiblePasses.contains(fresh.forwards[i]), Self.possiblePasses.contains(fresh.backwards[i]),
                (-1...Self.possiblePasses.upperBound).contains(fresh.firstSuccess[i]), fresh.vanished[i] <= 1,
                fresh.clean[i] == 1 || fresh.clean[i] == 0 && stage == runs.count && fresh.breaker[i] < 0
            else { throw damaged("sample \(i) has impossible numbers of passes") }
        }
        guard fresh.seconds.allSatisfy({ $0.isFinite && $0 >= 0 }),
            Validation.isFinite(fresh.logits.pointer, count: fresh.logits.count)
        else { throw damaged("has impossible times or logits") }
        for i in 0..<(size - place) / MemoryLayout<Float>.stride {
            let value = (start + place).loadUnaligned(fromByteOffset: i * MemoryLayout<Float>.stride, as: Float.self)
            guard value >= 0, value <= 1 else { throw damaged("has a pixel \(value), want 0 ... 1") }
        }
        for (target, source) in zip(columns, fresh.columns) {
            target.start.copyMemory(from: source.start, byteCount: target.bytes)
        }
        for i in 0..<count where breaker[i] >= 0 {
            UnsafeMutableRawPointer(image(i)).copyMemory(from: start + place, byteCount: imageBytes)
            place += imageBytes
        }
    }

    private static func checkSame(
        _ found: [(name: String, value: String)], _ wanted: [(name: String, value: String)], path: String
    ) throws {
        var differences: [String] = []
        func differs(_ name: String) -> Bool {
            found.first { $0.name == name }?.value != wanted.first { $0.name == name }?.value
        }
        // The data are known by the images that are looked at, the model by what it says of them: where the former differ the
        // latter tell nothing.
        let unknown = differs("count") ? ["data", "model"] : differs("data") ? ["model"] : []
        for (name, value) in wanted where !unknown.contains(name) {
            let there = found.first { $0.name == name }?.value ?? "nothing"
            if there != value { differences.append("\(name): the file has \(there), this run \(value)") }
        }
        for (name, value) in found where !wanted.contains(where: { $0.name == name }) {
            differences.append("\(name): the file has \(value), this run nothing")
        }
        guard differences.isEmpty else {
            throw EngineError(
                .invalidArgument,
                "state: \"\(path)\" belongs to another run: " + differences.joined(separator: "; "))
        }
    }
}
