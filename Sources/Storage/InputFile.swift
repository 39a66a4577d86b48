import Glibc
import Runtime

/// A regular file that is open for reading.
struct InputFile: ~Copyable {
    let path: String
    let descriptor: Int32
    /// Its length in bytes when it was opened.
    let size: Int
    private let modified: timespec

    /// Throws `notFound` where nothing has that name, `io` with the operating system's reason where it refuses.
    init(_ path: String) throws {
        // O_NONBLOCK: a named pipe without a writer would block for ever.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            let number = errno
            let missing = number == ENOENT || number == ENOTDIR
            throw EngineError(missing ? .notFound : .io, "cannot open \(quoted(path)): \(systemReason(number))")
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw EngineError(.io, "cannot read \(quoted(path)): got something that is not a regular file, want a file")
        }
        self.path = path
        self.descriptor = descriptor
        size = Int(status.st_size)
        modified = status.st_mtim
    }

    deinit { close(descriptor) }

    /// Reads the next `count` bytes; fewer are an error.
    func read(_ count: Int, into bytes: UnsafeMutablePointer<UInt8>) throws {
        var done = 0
        while done < count {
            let result = Glibc.read(descriptor, bytes + done, count - done)
            if result > 0 {
                done += result
            } else if result == 0 {
                throw EngineError(.format, "\(quoted(path)): ended after \(done) bytes, want \(count)")
            } else if errno != EINTR {
                throw EngineError(.io, "cannot read \(quoted(path)): \(systemReason(errno))")
            }
        }
    }

    /// `count` bytes from `offset` on, all of them inside the file.
    func read(_ count: Int, at offset: Int) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: count) { bytes, done in
            while done < count {
                let result = pread(descriptor, bytes.baseAddress.map { $0 + done }, count - done, offset + done)
                if result > 0 {
                    done += result
                } else if result == 0 {
                    throw EngineError(.format, "\(quoted(path)): became shorter while it was read")
                } else if errno != EINTR {
                    throw EngineError(.io, "cannot read \(quoted(path)): \(systemReason(errno))")
                }
            }
        }
    }

    /// Whether nobody has written to the file since it was opened, as far as its length and its time tell.
    var isUnchanged: Bool {
        var status = stat()
        return fstat(descriptor, &status) == 0 && Int(status.st_size) == size
            && status.st_mtim.tv_sec == modified.tv_sec && status.st_mtim.tv_nsec == modified.tv_nsec
    }

    /// Whether a program, this one included, has the file locked for writing, as HDF5 does until it closes the file.
    var isBeingWritten: Bool {
        guard flock(descriptor, LOCK_SH | LOCK_NB) != 0 else {
            flock(descriptor, LOCK_UN)
            return false
        }
        return errno == EWOULDBLOCK
    }
}
