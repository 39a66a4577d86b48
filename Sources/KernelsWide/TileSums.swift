// What a register tile holds: for each row a vector of sums, half of one, or nothing, as many columns as are left.

/// The sums of a row.
protocol TileVector {
    static var zero: Self { get }
    static func read(_ pointer: UnsafePointer<Float>) -> Self
    /// Adds x times the vector.
    mutating func add(_ x: Float, times vector: Self)
    /// Stores act(sums + shift + …) at `offset`, the place of channel `channel`; `channels` are left from there on.
    func finish(_ epilogue: Epilogue, _ channel: Int, at offset: Int, channels: Int)
    /// target += sums, the first `columns`.
    func addTo(_ target: UnsafeMutablePointer<Float>, _ columns: Int)
}

extension Lanes: TileVector {
    @inline(always)
    static func read(_ pointer: UnsafePointer<Float>) -> Lanes { load(pointer) }

    @inline(always)
    mutating func add(_ x: Float, times vector: Lanes) { self = multiplyAdd(self, Lanes(repeating: x), vector) }

    @inline(always)
    func finish(_ epilogue: Epilogue, _ channel: Int, at offset: Int, channels: Int) {
        let parameters = epilogue.parameters(channel)
        if channels >= laneCount {
            epilogue.finish(self, parameters, at: offset)
        } else {
            epilogue.finishPart(self, parameters, at: offset, channels: channels)
        }
    }

    @inline(always)
    func addTo(_ target: UnsafeMutablePointer<Float>, _ columns: Int) { accumulate(self, target, columns) }
}

extension HalfLanes: TileVector {
    @inline(always)
    static func read(_ pointer: UnsafePointer<Float>) -> HalfLanes { loadHalf(pointer) }

    @inline(always)
    mutating func add(_ x: Float, times vector: HalfLanes) {
        self = multiplyAdd(self, HalfLanes(repeating: x), vector)
    }

    @inline(always)
    func finish(_ epilogue: Epilogue, _ channel: Int, at offset: Int, channels: Int) {
        let parameters = epilogue.parameters(channel)
        epilogue.finishHalf(
            multiplyAdd(parameters.shift.lowHalf, self, parameters.factor.lowHalf), at: offset)
    }

    @inline(always)
    func addTo(_ target: UnsafeMutablePointer<Float>, _ columns: Int) {
        storeHalf(loadHalf(target) + self, target)
    }
}

/// No columns.
struct NoLanes: TileVector {
    @inline(always)
    static var zero: NoLanes { NoLanes() }
    @inline(always)
    static func read(_ pointer: UnsafePointer<Float>) -> NoLanes { NoLanes() }
    @inline(always)
    mutating func add(_ x: Float, times vector: NoLanes) {}
    @inline(always)
    func finish(_ epilogue: Epilogue, _ channel: Int, at offset: Int, channels: Int) {}
    @inline(always)
    func addTo(_ target: UnsafeMutablePointer<Float>, _ columns: Int) {}
}

/// The sums of each row. Members instead of an array: the compiler keeps them in registers.
struct TileSums<Vector: TileVector> {
    var r0 = Vector.zero
    var r1 = Vector.zero
    var r2 = Vector.zero
    var r3 = Vector.zero
    var r4 = Vector.zero
    var r5 = Vector.zero
    #if AVX512
        var r6 = Vector.zero
        var r7 = Vector.zero
    #endif

    @inline(always)
    init() {}

    @inline(always)
    init(_ sum: (_ row: Int) -> Vector) {
        r0 = sum(0)
        r1 = sum(1)
        r2 = sum(2)
        r3 = sum(3)
        r4 = sum(4)
        r5 = sum(5)
        #if AVX512
            r6 = sum(6)
            r7 = sum(7)
        #endif
    }

    /// Adds `value(row)` times the vector to each row's sums.
    @inline(always)
    mutating func add(_ vector: Vector, _ value: (_ row: Int) -> Float) {
        r0.add(value(0), times: vector)
        r1.add(value(1), times: vector)
        r2.add(value(2), times: vector)
        r3.add(value(3), times: vector)
        r4.add(value(4), times: vector)
        r5.add(value(5), times: vector)
        #if AVX512
            r6.add(value(6), times: vector)
            r7.add(value(7), times: vector)
        #endif
    }

    /// Calls `body` for each row and its sums.
    @inline(always)
    func eachRow(_ body: (_ row: Int, _ sum: Vector) -> Void) {
        body(0, r0)
        body(1, r1)
        body(2, r2)
        body(3, r3)
        body(4, r4)
        body(5, r5)
        #if AVX512
            body(6, r6)
            body(7, r7)
        #endif
    }
}
