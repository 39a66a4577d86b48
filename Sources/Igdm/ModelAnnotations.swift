import Attacks
import CIgdm
import Networks
import Runtime

// Section 2 of the header: what a model carries besides what it computes.

private let metadataValue = ThreadText()
private let entryKey = ThreadText()
private let entryValue = ThreadText()
private let goldenSource = ThreadText()

@_cdecl("igdm_model_set_metadata") @implementation
public func igdm_model_set_metadata(
    _ model: OpaquePointer!, _ key: UnsafePointer<CChar>!, _ value: UnsafePointer<CChar>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let key = try unicode(key, "key", longest: Metadata.longestKey)
        let value = value == nil ? nil : try unicode(value, "value", longest: Metadata.longestValue)
        try locked([handle]) { try handle.network.metadata.set(key, to: value) }
    }
}

@_cdecl("igdm_model_get_metadata") @implementation
public func igdm_model_get_metadata(
    _ model: OpaquePointer!, _ key: UnsafePointer<CChar>!, _ value: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let key = try unicode(key, "key", longest: Metadata.longestKey)
        let value = try pointer(value, "value")
        guard let text = try locked([handle], { handle.network.metadata[key] }) else {
            throw EngineError(.notFound, "key: got \"\(key)\", which the model's metadata do not have")
        }
        value.pointee = try metadataValue.keep(text)
    }
}

@_cdecl("igdm_model_metadata_count") @implementation
public func igdm_model_metadata_count(_ model: OpaquePointer!, _ count: UnsafeMutablePointer<Int>!) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let count = try pointer(count, "count")
        try locked([handle]) { count.pointee = handle.network.metadata.entries.count }
    }
}

@_cdecl("igdm_model_metadata_entry") @implementation
public func igdm_model_metadata_entry(
    _ model: OpaquePointer!, _ index: Int, _ key: UnsafeMutablePointer<UnsafePointer<CChar>?>!,
    _ value: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let key = try optionalPointer(key, "key")
        let value = try optionalPointer(value, "value")
        let entries = try locked([handle]) { handle.network.metadata.entries }
        try checkIndex(index, entries.count, "entries")
        let texts = (try entryKey.keep(entries[index].key), try entryValue.keep(entries[index].value))
        key?.pointee = texts.0
        value?.pointee = texts.1
    }
}

@_cdecl("igdm_model_set_golden") @implementation
public func igdm_model_set_golden(
    _ model: OpaquePointer!, _ inputs: UnsafePointer<Float>!, _ count: Int, _ logits: UnsafePointer<Float>!,
    _ source: UnsafePointer<CChar>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let network = handle.network
        let count = try sampleCount(count, floatsPerSample: floatsPerSample(network))
        guard count > 0 else { return try locked([handle]) { try network.setGolden(nil) } }
        let inputs = try pointer(inputs, "inputs")
        let logits = try optionalPointer(logits, "logits")
        let source = source == nil ? "" : try unicode(source, "source", longest: Metadata.longestValue)
        try Validation.checkImages(inputs, count: count, shape: network.shape, argument: "inputs")
        let images = try Buffer(copying: UnsafeBufferPointer(start: inputs, count: count * network.shape.count))
        let wanted = try Buffer<Float>(count * network.classes)
        if let logits {
            try Validation.checkFinite(logits, count: wanted.count, argument: "logits")
            wanted.pointer.update(from: logits, count: wanted.count)
        }
        try locked([handle]) {
            if logits == nil {
                try handle.inference().forward(images.pointer, count: count, logits: wanted.pointer, retain: false)
                try Validation.checkOutputs(
                    wanted.pointer, count: count, perSample: network.classes, argument: "logits")
            }
            try network.setGolden(GoldenBlock(count: count, inputs: images, logits: wanted, source: source))
        }
    }
}

@_cdecl("igdm_model_golden_info") @implementation
public func igdm_model_golden_info(
    _ model: OpaquePointer!, _ count: UnsafeMutablePointer<Int>!,
    _ source: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let count = try optionalPointer(count, "count")
        let source = try optionalPointer(source, "source")
        let golden = try locked([handle]) { handle.network.golden }
        let text = try goldenSource.keep(golden?.source ?? "")
        count?.pointee = golden?.count ?? 0
        source?.pointee = text
    }
}

@_cdecl("igdm_model_get_golden") @implementation
public func igdm_model_get_golden(
    _ model: OpaquePointer!, _ inputs: UnsafeMutablePointer<Float>!, _ logits: UnsafeMutablePointer<Float>!,
    _ count: Int
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let inputs = try optionalPointer(inputs, "inputs")
        let logits = try optionalPointer(logits, "logits")
        let golden = try locked([handle]) { try handle.golden() }
        guard count == golden.count else {
            throw EngineError(
                .shape, "count: got \(UInt(bitPattern: count)), want the golden block's samples, \(golden.count)")
        }
        inputs?.update(from: golden.inputs.pointer, count: golden.inputs.count)
        logits?.update(from: golden.logits.pointer, count: golden.logits.count)
    }
}

@_cdecl("igdm_model_verify") @implementation
public func igdm_model_verify(
    _ model: OpaquePointer!, _ tolerance: Double, _ worstDifference: UnsafeMutablePointer<Double>!,
    _ worstSample: UnsafeMutablePointer<Int>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let tolerance = try verifyTolerance(tolerance)
        let worstDifference = try optionalPointer(worstDifference, "worst_difference")
        let worstSample = try optionalPointer(worstSample, "worst_sample")
        let worst = try locked([handle]) { try handle.golden().worstDifference(of: handle.inference()) }
        worstDifference?.pointee = worst.relative
        worstSample?.pointee = worst.sample
        try worst.check(tolerance)
    }
}

/// 0 stands for the default.
func verifyTolerance(_ value: Double, _ argument: String = "tolerance") throws -> Double {
    guard value >= 0, value.isFinite else {
        throw EngineError.invalid(argument, got: value, want: "a number >= 0 (0 = \(GoldenBlock.tolerance))")
    }
    return value == 0 ? GoldenBlock.tolerance : value
}

extension ModelHandle {
    func golden() throws -> GoldenBlock {
        guard let golden = network.golden else {
            throw EngineError(
                .notFound,
                "golden block: the model has none: neither its checkpoint nor igdm_model_set_golden gave one, or the "
                    + "weights have changed since")
        }
        return golden
    }
}
