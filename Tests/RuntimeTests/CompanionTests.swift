import Glibc
import Synchronization
import Testing

@testable import Runtime

@Suite(.serialized) struct CompanionTests {
    /// What the work sees, and how often it ran.
    private final class Seen: Sendable {
        let runs = Atomic<Int>(0)
        let thread = Atomic<UInt>(0)
    }

    @Test func itWorksOnceForEachRequestOnAThreadOfItsOwn() {
        let seen = Seen()
        let companion = Companion {
            usleep(1000)
            seen.thread.store(UInt(pthread_self()), ordering: .relaxed)
            seen.runs.wrappingAdd(1, ordering: .relaxed)
        }
        companion.wait()
        for request in 1...20 {
            companion.start()
            companion.wait()
            companion.wait()
            #expect(seen.runs.load(ordering: .relaxed) == request)
        }
        #expect(seen.thread.load(ordering: .relaxed) != UInt(pthread_self()))
    }

    @Test func whoLetsItGoWaitsForItsWork() {
        let seen = Seen()
        do {
            let companion = Companion {
                usleep(20_000)
                seen.runs.wrappingAdd(1, ordering: .relaxed)
            }
            companion.start()
        }
        #expect(seen.runs.load(ordering: .relaxed) == 1)
    }

    /// Its work is done on one thread however many there are, and the pool stays free for its owner.
    @Test func itLeavesThePoolToOthers() {
        let before = WorkerPool.threads
        WorkerPool.setThreads(4)
        defer { WorkerPool.setThreads(before) }
        let others = Seen()
        let companion = Companion {
            let own = pthread_self()
            WorkerPool.parallelFor(64) { _ in
                if pthread_self() != own { others.runs.wrappingAdd(1, ordering: .relaxed) }
                usleep(100)
            }
        }
        companion.start()
        companion.wait()
        #expect(others.runs.load(ordering: .relaxed) == 0)
    }
}
