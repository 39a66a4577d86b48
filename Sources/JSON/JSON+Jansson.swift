import CJansson
import Glibc
import Runtime

// JSON texts are read and written by Jansson (RFC 8259). It is silent, keeps no state between calls, and does not
// depend on the host's locale.

extension JSON {
    /// Reads a text, which may come from anywhere. `source` is what messages call it.
    ///
    /// Throws `invalidArgument` with the line and column of what is no JSON or not in UTF-8, of a key that is there twice,
    /// of a number out of range, and for texts that are too long, too deep or have too many values; `outOfMemory`.
    public static func parse(_ bytes: UnsafeBufferPointer<UInt8>, source: String) throws -> JSON {
        guard bytes.count <= longestText else {
            throw EngineError.invalid(source, got: "\(bytes.count) bytes", want: "at most \(longestText)")
        }
        try checkSize(bytes, source)
        var error = json_error_t()
        let text = UnsafeRawPointer(bytes.baseAddress)?.assumingMemoryBound(to: CChar.self)
        guard let root = cjansson_read(text, bytes.count, &error) else {
            let reason = String(cString: cjansson_error_text(&error))
            guard cjansson_is_out_of_memory(&error) == 0 else {
                throw EngineError(.outOfMemory, "\(source): cannot allocate memory for \(bytes.count) bytes of JSON")
            }
            throw EngineError.invalid(
                source, got: "no JSON at line \(error.line), column \(error.column) (\(reason))",
                want: "one JSON value in UTF-8, no key twice")
        }
        defer { cjansson_release(root) }
        return JSON(root)
    }

    /// The same for a text that is at hand as a string.
    public static func parse(_ text: String, source: String) throws -> JSON {
        var text = text
        return try text.withUTF8 { try parse($0, source: source) }
    }

    /// One line of JSON, read back as the same value where every number is a float.
    public func text() throws -> String {
        guard let value = jansson() else { throw JSON.noMemory }
        defer { cjansson_release(value) }
        guard let text = cjansson_write(value) else { throw JSON.noMemory }
        defer { free(text) }
        return String(cString: text)
    }

    private static var noMemory: EngineError { EngineError(.outOfMemory, "cannot allocate memory for JSON") }

    /// Before the parser recurses and allocates: brackets and commas outside of strings say how deep it would go and how
    /// many values there would be. Jansson does not mind every NUL.
    private static func checkSize(_ bytes: UnsafeBufferPointer<UInt8>, _ source: String) throws {
        var (depth, deepest, values) = (0, 0, 0)
        var isInString = false
        var isEscaped = false
        for (index, byte) in bytes.enumerated() {
            guard byte != 0 else {
                throw EngineError.invalid(source, got: "no JSON at byte \(index) (a NUL)", want: "text")
            }
            if isInString {
                if !isEscaped, byte == UInt8(ascii: "\"") { isInString = false }
                isEscaped = !isEscaped && byte == UInt8(ascii: "\\")
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): isInString = true
            case UInt8(ascii: "["), UInt8(ascii: "{"):
                depth += 1
                values += 1
                deepest = max(deepest, depth)
            case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
            case UInt8(ascii: ","): values += 1
            default: break
            }
        }
        guard deepest <= deepestNesting else {
            throw EngineError.invalid(
                source, got: "arrays and objects \(deepest) deep in each other", want: "at most \(deepestNesting)")
        }
        guard values <= mostValues else {
            throw EngineError.invalid(source, got: "\(values) values", want: "at most \(mostValues)")
        }
    }

    private init(_ value: UnsafeMutablePointer<json_t>) {
        switch cjansson_type(value) {
        case JSON_OBJECT:
            var members: [(key: String, value: JSON)] = []
            members.reserveCapacity(json_object_size(value))
            var iterator = json_object_iter(value)
            while let current = iterator {
                if let key = json_object_iter_key(current), let member = json_object_iter_value(current) {
                    members.append((String(cString: key), JSON(member)))
                }
                iterator = json_object_iter_next(value, current)
            }
            self = .object(members)
        case JSON_ARRAY:
            self = .array((0..<json_array_size(value)).compactMap { json_array_get(value, $0).map { JSON($0) } })
        case JSON_STRING: self = .string(json_string_value(value).map { String(cString: $0) } ?? "")
        case JSON_INTEGER: self = .integer(Int(json_integer_value(value)))
        case JSON_REAL: self = .number(json_real_value(value))
        case JSON_TRUE: self = .bool(true)
        case JSON_FALSE: self = .bool(false)
        default: self = .null
        }
    }

    /// nil where memory is short or a number is not finite.
    private func jansson() -> UnsafeMutablePointer<json_t>? {
        switch self {
        case .null: return json_null()
        case .bool(let value): return value ? json_true() : json_false()
        case .integer(let value): return json_integer(json_int_t(value))
        case .number(let value): return json_real(value)
        case .string(let value): return json_string(value)
        case .array(let values):
            guard let array = json_array() else { return nil }
            for value in values {
                // Takes over the value; of nil it makes a failure.
                guard json_array_append_new(array, value.jansson()) == 0 else {
                    cjansson_release(array)
                    return nil
                }
            }
            return array
        case .object(let members):
            guard let object = json_object() else { return nil }
            for (key, value) in members {
                guard json_object_set_new(object, key, value.jansson()) == 0 else {
                    cjansson_release(object)
                    return nil
                }
            }
            return object
        }
    }
}
