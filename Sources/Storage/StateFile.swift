import Runtime

/// A file that holds the state of a computation: read as a whole, and replaced as a whole in one step, so that there is a
/// complete one at any moment.
public struct StateFile {
    public let path: String

    public init(path: String) { self.path = path }

    /// nil where there is no file. Throws `io`.
    public func read() throws -> Buffer<UInt8>? {
        do {
            let file = try InputFile(path)
            let bytes = try Buffer<UInt8>(file.size)
            try file.read(file.size, into: bytes.pointer)
            return bytes
        } catch let error as EngineError where error.code == .notFound {
            return nil
        }
    }

    /// Throws `io`; the file is then the one that it was.
    public func write(_ bytes: UnsafeRawBufferPointer) throws { try replaceFile(at: path, with: bytes) }
}
