import Glibc
import Synchronization
import Testing

@testable import Runtime

@Suite(.serialized) struct WorkerPoolTests {
    @Test(arguments: [1, 2, 3, 16])
    func everyChunkRunsOnce(_ threads: Int) {
        let before = WorkerPool.threads
        WorkerPool.setThreads(threads)
        defer { WorkerPool.setThreads(before) }
        for count in [0, 1, 2, 7, 1000] {
            let hits = UnsafeMutablePointer<Int>.allocate(capacity: max(count, 1))
            hits.initialize(repeating: 0, count: max(count, 1))
            defer { hits.deallocate() }
            for _ in 0..<20 { WorkerPool.parallelFor(count) { hits[$0] += 1 } }
            for i in 0..<count { #expect(hits[i] == 20) }
        }
    }

    @Test func nestedWorkRunsInline() {
        let sums = UnsafeMutablePointer<Int>.allocate(capacity: 10)
        defer { sums.deallocate() }
        WorkerPool.parallelFor(10) { i in
            var sum = 0
            WorkerPool.parallelFor(100) { sum += $0 }
            sums[i] = sum
        }
        for i in 0..<10 { #expect(sums[i] == 4950) }
    }

    /// Two host threads at once: the one that does not get the pool computes alone.
    @Test func severalHostThreads() {
        final class Total: Sendable { let value = Atomic<Int>(0) }
        let total = Total()
        var threads: [pthread_t] = []
        for _ in 0..<4 {
            var thread = pthread_t()
            pthread_create(
                &thread, nil,
                { raw in
                    guard let raw else { return nil }
                    let total = Unmanaged<Total>.fromOpaque(raw).takeUnretainedValue()
                    for _ in 0..<200 {
                        WorkerPool.parallelFor(50) { _ in total.value.wrappingAdd(1, ordering: .relaxed) }
                    }
                    return nil
                }, Unmanaged.passUnretained(total).toOpaque())
            threads.append(thread)
        }
        for thread in threads { pthread_join(thread, nil) }
        #expect(total.value.load(ordering: .relaxed) == 4 * 200 * 50)
    }

    @Test func threadCountIsKept() {
        let before = WorkerPool.threads
        defer { WorkerPool.setThreads(before) }
        WorkerPool.setThreads(5)
        #expect(WorkerPool.threads == 5)
        WorkerPool.setThreads(100_000)
        #expect(WorkerPool.threads == WorkerPool.largestThreadCount)
    }
}

@Suite struct CounterRandomTests {
    /// Known answers of Philox 4×32-10 from the authors' Random123 distribution.
    @Test func knownAnswers() {
        let zero = CounterRandom.philox((0, 0, 0, 0), (0, 0))
        #expect(zero == (0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
        let ones = UInt32.max
        let full = CounterRandom.philox((ones, ones, ones, ones), (ones, ones))
        #expect(full == (0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
        let pi = CounterRandom.philox(
            (0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), (0xa409_3822, 0x299f_31d0))
        #expect(pi == (0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
    }

    @Test func streamsDiffer() {
        func first(_ seed: UInt64, _ stream: RandomStream, _ index: UInt64, _ sub: UInt32) -> UInt32 {
            var random = CounterRandom(seed: seed, stream: stream, index: index, sub: sub)
            return random.nextUInt32()
        }
        let base = first(1, .shuffle, 2, 3)
        #expect(base == first(1, .shuffle, 2, 3))
        for other in [
            first(2, .shuffle, 2, 3), first(1, .augmentation, 2, 3), first(1, .shuffle, 3, 3),
            first(1, .shuffle, 2, 4), first(1 << 40, .shuffle, 2, 3), first(1, .shuffle, 2 + 1 << 40, 3),
        ] {
            #expect(other != base)
        }
    }

    @Test func moments() {
        var random = CounterRandom(seed: 5, stream: .attackStart, index: 0)
        let n = 200_000
        let uniforms = (0..<n).map { _ in Double(random.uniform()) }
        #expect(uniforms.allSatisfy { $0 >= 0 && $0 < 1 })
        #expect(abs(uniforms.reduce(0, +) / Double(n) - 0.5) < 0.005)
        let normals = (0..<n).map { _ in Double(random.normal()) }
        #expect(abs(normals.reduce(0, +) / Double(n)) < 0.01)
        #expect(abs(normals.reduce(0) { $0 + $1 * $1 } / Double(n) - 1) < 0.02)
        var counts = [Int](repeating: 0, count: 7)
        for _ in 0..<70_000 { counts[random.below(7)] += 1 }
        #expect(counts.allSatisfy { abs($0 - 10_000) < 500 })
    }
}

@Suite struct MemoryTests {
    @Test func buffersAreAlignedAndZero() throws {
        let buffer = try FloatBuffer(1001)
        #expect(UInt(bitPattern: buffer.pointer) % 64 == 0)
        #expect((0..<1001).allSatisfy { buffer.pointer[$0] == 0 })
    }

    @Test(arguments: [-1, Int.max, Int.max / 8])
    func impossibleSizesAreErrors(_ count: Int) {
        let error = #expect(throws: EngineError.self) { try FloatBuffer(count) }
        #expect(error?.code == .outOfMemory)
    }

    @Test func scratchGrowsAndIsReused() {
        let blocks = ScratchBlocks()
        let small = blocks.take(100)
        #expect(UInt(bitPattern: small) % 64 == 0)
        #expect(blocks.take(50) == small)
        let large = blocks.take(1 << 20)
        memset(large, 1, 1 << 20)
        #expect(blocks.take(100) == large)
    }

    /// What one thread needed another takes with its next request, and not when it comes to need as much.
    @Test func scratchGrowsWithThatOfOtherThreads() {
        let blocks = ScratchBlocks()
        _ = blocks.take(100)
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { raw in
                guard let raw else { return nil }
                _ = Unmanaged<ScratchBlocks>.fromOpaque(raw).takeUnretainedValue().take(1 << 20)
                return nil
            }, Unmanaged.passUnretained(blocks).toOpaque())
        pthread_join(thread, nil)
        let grown = blocks.take(100)
        #expect(blocks.take(1 << 20) == grown)
    }
}

@Suite struct ErrorTests {
    @Test func messagesNameArgumentGotAndWanted() {
        #expect(
            EngineError.invalid("epsilon", got: -0.1, want: "a number >= 0").message
                == "epsilon: got -0.1, want a number >= 0")
        let unknown = EngineError.unknownName("method", got: "foo", known: ["ard", "rslad"])
        #expect(unknown.message == "method: got \"foo\", want one of ard, rslad")
        #expect(unknown.code == .invalidArgument)
    }
}

@Suite struct PlainNumberTests {
    @Test func everyNumberHasOneName() {
        #expect(Int(plain: "0") == 0)
        #expect(Int(plain: "28") == 28)
        #expect(Int(plain: "-3") == -3)
        for other in ["", "+28", "028", "-0", " 28", "28 ", "2_8", "٢٨", "0x1c", "99999999999999999999"] {
            #expect(Int(plain: other) == nil, "\(other)")
        }
    }
}
