import CClosure

/// A closure that other threads may call until the function that it was lent by returns. Nothing is allocated or counted.
struct BorrowedClosure: @unchecked Sendable {
    private let words: cclosure

    init(_ words: cclosure) { self.words = words }

    func callAsFunction(_ argument: Int) { cclosure_call(words, argument) }
}

/// Calls `run` with `body` as two words, for a `BorrowedClosure`; the other arguments are handed on.
@_silgen_name("cclosure_lend")
func lendClosure(
    _ body: (Int) -> Void, _ count: Int, _ borrower: UnsafeMutableRawPointer,
    _ run: @convention(c) (cclosure, Int, UnsafeMutableRawPointer?) -> Void)
