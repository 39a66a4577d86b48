import Runtime

/// Memory for the activations and gradients of passes of which only one is under way at a time: as much as the largest
/// of them wants.
public final class PassMemory {
    private var floats: FloatBuffer
    /// A byte each.
    private var flags: FloatBuffer

    public init() throws {
        floats = try FloatBuffer(0)
        flags = try FloatBuffer(0)
    }

    var arena: UnsafeMutablePointer<Float> { floats.pointer }
    var signs: UnsafeMutablePointer<UInt8> {
        UnsafeMutableRawPointer(flags.pointer).assumingMemoryBound(to: UInt8.self)
    }

    /// What lay here before is gone where the memory has to grow. Throws `outOfMemory`.
    func reserve(floats count: Int, signs bytes: Int) throws {
        if floats.count < count { floats = try FloatBuffer(count) }
        let words = (bytes + MemoryLayout<Float>.stride - 1) / MemoryLayout<Float>.stride
        if flags.count < words { flags = try FloatBuffer(words) }
    }
}
