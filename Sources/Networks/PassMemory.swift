import Runtime

/// Memory for the activations and gradients of passes of which only one is under way at a time: as much as the largest
/// of them wants.
public final class PassMemory {
    private var buffer: FloatBuffer

    public init() throws { buffer = try FloatBuffer(0) }

    var floats: UnsafeMutablePointer<Float> { buffer.pointer }

    /// What lay here before is gone where the memory has to grow. Throws `outOfMemory`.
    func reserve(_ count: Int) throws {
        if buffer.count < count { buffer = try FloatBuffer(count) }
    }
}
