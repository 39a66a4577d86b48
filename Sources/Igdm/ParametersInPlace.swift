import CIgdm
import Networks
import Runtime

// Section 2 of the header: parameters in arrays of any layout, and where they lie.

/// Where the elements of a parameter are in an array of the host, whose layout is described by the distance between
/// neighbours along each dimension.
private struct StridedLayout {
    /// Four dimensions, those in front of the parameter's own with one element.
    private let lengths: [Int]
    private let strides: [Int]

    /// Throws where an element would lie outside the array's `capacity`, or two in one place.
    init(_ parameter: Parameter, strides: UnsafePointer<Int64>?, dimensions: Int64, capacity: Int) throws {
        let rank = parameter.shape.count
        let strides = try pointer(strides, "strides")
        let title = "\(parameter.name) \(parameter.shape)"
        guard dimensions == Int64(rank) else {
            throw EngineError(.shape, "dimensions: got \(dimensions), want \(rank), those of \(title)")
        }
        let capacity = try sampleCount(capacity, floatsPerSample: 1)
        // From the smallest stride to the largest, each has to reach beyond all elements so far.
        let axes = (0..<rank).filter { parameter.shape[$0] > 1 }.sorted { strides[$0] < strides[$1] }
        var reach = 0
        for axis in axes {
            let stride = Int(strides[axis])
            guard stride > reach else {
                throw EngineError.invalid(
                    "strides[\(axis)]", got: stride,
                    want: "more than \(reach): no two elements of \(title) may lie in one place")
            }
            let (distance, overflow) = stride.multipliedReportingOverflow(by: parameter.shape[axis] - 1)
            guard !overflow, distance < capacity, reach + distance < capacity else {
                throw EngineError(
                    .shape,
                    "count: got \(capacity), which the strides lead out of: along dimension \(axis) of \(title) it is "
                        + "\(stride)")
            }
            reach += distance
        }
        guard capacity > 0 else { throw EngineError(.shape, "count: got 0, want room for \(title)") }
        let padding = [Int](repeating: 1, count: 4 - rank)
        lengths = padding + parameter.shape
        self.strides = padding + (0..<rank).map { parameter.shape[$0] > 1 ? Int(strides[$0]) : 0 }
    }

    /// Calls `body` with the offset of each element in the host's array, in the order of the parameter's own.
    func forEach(_ body: (_ offset: Int) throws -> Void) rethrows {
        for i in 0..<lengths[0] {
            for j in 0..<lengths[1] {
                for k in 0..<lengths[2] {
                    for l in 0..<lengths[3] {
                        try body(i * strides[0] + j * strides[1] + k * strides[2] + l * strides[3])
                    }
                }
            }
        }
    }
}

@_cdecl("igdm_model_get_parameter_strided") @implementation
public func igdm_model_get_parameter_strided(
    _ model: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ values: UnsafeMutablePointer<Float>!, _ count: Int,
    _ strides: UnsafePointer<Int64>!, _ dimensions: Int64
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let parameter = try handle.parameter(named: name)
        let values = try pointer(values, "values")
        let layout = try StridedLayout(parameter, strides: strides, dimensions: dimensions, capacity: count)
        try locked([handle]) {
            var source = UnsafePointer(handle.network.pointer(to: parameter))
            layout.forEach { offset in
                values[offset] = source.pointee
                source += 1
            }
        }
    }
}

@_cdecl("igdm_model_set_parameter_strided") @implementation
public func igdm_model_set_parameter_strided(
    _ model: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ values: UnsafePointer<Float>!, _ count: Int,
    _ strides: UnsafePointer<Int64>!, _ dimensions: Int64
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let parameter = try handle.parameter(named: name)
        let values = try pointer(values, "values")
        let layout = try StridedLayout(parameter, strides: strides, dimensions: dimensions, capacity: count)
        let packed = try Buffer<Float>(parameter.count)
        var target = packed.pointer
        layout.forEach { offset in
            target.pointee = values[offset]
            target += 1
        }
        try locked([handle]) {
            try handle.checkValues(packed.pointer, of: parameter)
            handle.assign(packed.pointer, to: parameter)
        }
    }
}

@_cdecl("igdm_model_parameter_data") @implementation
public func igdm_model_parameter_data(
    _ model: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ values: UnsafeMutablePointer<UnsafePointer<Float>?>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let parameter = try handle.parameter(named: name)
        try pointer(values, "values").pointee = UnsafePointer(handle.network.pointer(to: parameter))
    }
}
