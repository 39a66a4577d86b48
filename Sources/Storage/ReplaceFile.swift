import Glibc
import Runtime

/// Makes `path` hold `bytes`, whole, or leaves it as it was.
///
/// The bytes go to a temporary file in the same directory, are flushed to the device, and the file is renamed over
/// `path` in one step of the file system; then the directory is flushed. Where any of this fails the temporary file is
/// removed and an `io` error carries the operating system's reason. A symbolic link at `path` is kept: the file that it
/// points to is replaced. The permissions of a file that is replaced stay.
package func replaceFile(at path: String, with bytes: UnsafeRawBufferPointer) throws {
    func failure(_ reason: String) -> EngineError {
        EngineError(.io, "cannot write \(quoted(path)): \(reason)")
    }
    let target = resolved(path)
    var old = stat()
    let replaces = stat(target, &old) == 0
    if replaces {
        // rename() would as willingly put a file in the place of a device, or of a file that is protected from writing.
        guard old.st_mode & S_IFMT == S_IFREG else { throw failure("it exists and is not a regular file") }
        guard access(target, W_OK) == 0 else { throw failure(systemReason(errno)) }
    }

    let directory = directoryName(of: target)
    var temporary = try Temporary(in: directory, failure: failure)
    if replaces, fchmod(temporary.descriptor, old.st_mode & 0o7777) != 0 { throw failure(systemReason(errno)) }
    var remaining = bytes[...]
    while !remaining.isEmpty {
        let start = UnsafeRawBufferPointer(rebasing: remaining).baseAddress
        let written = write(temporary.descriptor, start, remaining.count)
        if written > 0 {
            remaining = remaining.dropFirst(written)
        } else if errno != EINTR {
            throw failure(systemReason(errno))
        }
    }
    guard fsync(temporary.descriptor) == 0, temporary.rename(to: target) else { throw failure(systemReason(errno)) }
    flushDirectory(directory)
}

/// A new, empty file in `directory`, closed when it goes out of scope, and removed unless it has been renamed.
private struct Temporary: ~Copyable {
    let path: String
    let descriptor: Int32
    private var isRenamed = false

    init(in directory: String, failure: (String) -> EngineError) throws {
        // A name may be taken by another thread, or by what a killed process with the same number left behind.
        for attempt in 0..<1000 {
            let path = directory + "/.igdm-\(getpid())-\(attempt).tmp"
            let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
            if descriptor >= 0 {
                self.path = path
                self.descriptor = descriptor
                return
            }
            guard errno == EEXIST else { throw failure(systemReason(errno)) }
        }
        throw failure("a thousand temporary files \"\(directory)/.igdm-*.tmp\" are in the way; remove them")
    }

    mutating func rename(to target: String) -> Bool {
        isRenamed = Glibc.rename(path, target) == 0
        return isRenamed
    }

    deinit {
        close(descriptor)
        // The name of a renamed file may be another thread's by now.
        if !isRenamed { unlink(path) }
    }
}

/// `path` with symbolic links followed, or `path` itself where nothing is there yet.
private func resolved(_ path: String) -> String {
    guard let real = realpath(path, nil) else { return path }
    defer { free(real) }
    return String(cString: real)
}

private func directoryName(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// Makes the rename last through a power failure. Nothing is reported: some file systems cannot do it, and the file is
/// whole in any case, the old one or the new.
private func flushDirectory(_ directory: String) {
    let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
}
