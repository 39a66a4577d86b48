import CHDF5
import Glibc
import Networks
import Runtime
import Storage
import Testing

@Suite struct ReplaceFileTests {
    private let directory = TemporaryDirectory()

    private func replace(_ path: String, _ text: String) throws {
        try Array(text.utf8).withUnsafeBytes { try replaceFile(at: path, with: $0) }
    }

    private func contents(_ path: String) -> String { String(decoding: readBytes(path), as: UTF8.self) }

    @Test func newAndOldFiles() throws {
        try replace(directory / "f", "first")
        #expect(contents(directory / "f") == "first")
        try replace(directory / "f", "2")
        #expect(contents(directory / "f") == "2")
        try replace(directory / "f", "")
        #expect(contents(directory / "f") == "")
        #expect(directory.names == ["f"])
    }

    @Test func permissionsOfAReplacedFileStay() throws {
        try replace(directory / "f", "first")
        chmod(directory / "f", 0o640)
        try replace(directory / "f", "second")
        var status = stat()
        #expect(stat(directory / "f", &status) == 0 && status.st_mode & 0o7777 == 0o640)
    }

    @Test func aSymbolicLinkIsKept() throws {
        try replace(directory / "target", "first")
        #expect(symlink("target", directory / "link") == 0)
        try replace(directory / "link", "second")
        #expect(contents(directory / "target") == "second")
        var status = stat()
        #expect(lstat(directory / "link", &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
    }

    @Test func leftoversOfAKilledProcessAreNotInTheWay() throws {
        let leftover = ".igdm-\(getpid())-0.tmp"
        try replace(directory / leftover, "leftover")
        try replace(directory / "f", "new")
        #expect(contents(directory / "f") == "new")
        #expect(contents(directory / leftover) == "leftover")
    }

    @Test func refusals() throws {
        expectError(.io, ["/no/such/directory/f", "No such file"]) { try replace("/no/such/directory/f", "x") }
        expectError(.io, ["\"\""]) { try replace("", "x") }
        expectError(.io, ["not a regular file"]) { try replace(directory.path, "x") }
        expectError(.io, ["/dev/null", "not a regular file"]) { try replace("/dev/null", "x") }
        let long = String(repeating: "n", count: 300)
        expectError(.io, ["File name too long"]) { try replace(directory / long, "x") }
        #expect(directory.names == [])
    }

    /// A limit on the size of files stands in for a full disk: write(2) fails in the same place. The limit holds for a
    /// whole process, so this happens in one of its own.
    @Test func aFullDiskLeavesTheOldFile() async {
        await #expect(processExitsWith: .success) {
            let directory = TemporaryDirectory()
            let path = directory / "n.h5"
            let network = try makeNetwork(seed: 1)
            try network.save(to: path)
            let before = readBytes(path)

            signal(SIGXFSZ, SIG_IGN)
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
            let unlimited = limit.rlim_cur
            limit.rlim_cur = 4096
            setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
            expectError(.io, ["n.h5", "File too large"]) { try makeNetwork(seed: 2).save(to: path) }
            #expect(readBytes(path) == before)
            #expect(directory.names == ["n.h5"])

            limit.rlim_cur = unlimited
            setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
            try makeNetwork(seed: 2).save(to: path)
            #expect(readBytes(path) != before)
        }
    }
}

/// The host's own use of HDF5 is not disturbed.
@Suite struct HDF5GuestTests {
    /// HDF5 keeps the setting by thread, and calls it on the thread of the error.
    nonisolated(unsafe) private static var calls = 0

    @Test func errorsAreNotReportedToTheHost() {
        let stack = chdf5_error_stack()
        var old: H5E_auto2_t?
        var oldData: UnsafeMutableRawPointer?
        H5Eget_auto2(stack, &old, &oldData)
        defer { H5Eset_auto2(stack, old, oldData) }

        var marker = 0
        withUnsafeMutablePointer(to: &marker) { marker in
            H5Eset_auto2(
                stack,
                { _, _ in
                    HDF5GuestTests.calls += 1
                    return 0
                }, marker)
            let before = HDF5GuestTests.calls
            withHDF5 { #expect(H5Fopen("/no/such/file", chdf5_read_only(), 0) < 0) }
            #expect(HDF5GuestTests.calls == before)

            var now: H5E_auto2_t?
            var data: UnsafeMutableRawPointer?
            H5Eget_auto2(stack, &now, &data)
            #expect(now != nil && data == UnsafeMutableRawPointer(marker))
            #expect(H5Fopen("/no/such/file", chdf5_read_only(), 0) < 0)
            #expect(HDF5GuestTests.calls == before + 1)
        }
    }

    @Test func theOldFormOfTheSettingIsRestored() {
        var old: H5E_auto2_t?
        var oldData: UnsafeMutableRawPointer?
        H5Eget_auto2(chdf5_error_stack(), &old, &oldData)
        defer { H5Eset_auto2(chdf5_error_stack(), old, oldData) }

        var marker = 0
        withUnsafeMutablePointer(to: &marker) { marker in
            H5Eset_auto1({ _ in 0 }, marker)
            withHDF5 { #expect(H5Fopen("/no/such/file", chdf5_read_only(), 0) < 0) }
            var now: H5E_auto1_t?
            var data: UnsafeMutableRawPointer?
            #expect(H5Eget_auto1(&now, &data) >= 0)
            #expect(now != nil && data == UnsafeMutableRawPointer(marker))
        }
    }

    @Test func nothingStaysOpen() throws {
        let directory = TemporaryDirectory()
        let path = directory / "n.h5"
        try makeNetwork().save(to: path)
        // A file that is still open is shared by the next H5Fopen, which would see what was there before.
        for width in [5, 6] {
            var options = NetworkOptions()
            options.shape.height = width * 8
            try Network(architecture: "resnet8", options: options, seed: 0).save(to: path)
            #expect(try Network.load(path).options.shape.height == width * 8)
        }
        withHDF5 { RawFile(changing: path).group("more") }
        #expect(try Network.load(path).options.shape.height == 48)
    }
}
