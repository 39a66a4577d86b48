import Glibc
import JSON
import Runtime
import Testing

@Suite struct JSONTests {
    private func refusal(_ text: String) -> String {
        refusal(Array(text.utf8))
    }

    /// The message of the `invalidArgument` error; empty where there is none.
    private func refusal(_ bytes: [UInt8]) -> String {
        let error = #expect(throws: EngineError.self) {
            try bytes.withUnsafeBufferPointer { _ = try JSON.parse($0, source: "json") }
        }
        #expect(error?.code == .invalidArgument)
        return error?.message ?? ""
    }

    @Test func everyTypeIsReadAndWritten() throws {
        let text = "{\"z\": [null, true, false, -7, 0.5, \"\u{e4}\\n\"], \"a\": {}}"
        let json = try JSON.parse(text, source: "json")
        #expect(try json.text() == text)
        guard case .object(let members) = json else { return #expect(Bool(false)) }
        #expect(members.map(\.key) == ["z", "a"])
    }

    /// Nine digits bring every float back.
    @Test func floatsComeBack() throws {
        var random = CounterRandom(seed: 1, stream: .shuffle, index: 1)
        for _ in 0..<1000 {
            let value = (random.uniform() - 0.5) * powf(10, 60 * random.uniform() - 30)
            let read = try JSON.parse(JSON(value).text(), source: "json")
            #expect(try Float(read.number("x", in: -1e300...1e300)) == value)
        }
        #expect(try JSON(Float(0.4914)).text() == "0.4914")
    }

    @Test(arguments: [
        "", " ", "{", "[1,]", "{\"a\" 1}", "{'a': 1}", "nul", "[1] 2", "// c\n1", "NaN", "[Infinity]", "[01]", "[+1]",
        "\"\\ud800\"", "\"\\u0000\"", "\"\u{1}\"", "{\"a\": 1, \"a\": 2}", "[9223372036854775808]", "[1e999]",
        "\u{feff}{}", "]",
    ])
    func whatIsNoJSONIsRefused(_ text: String) {
        let message = refusal(text)
        #expect(message.hasPrefix("json: got no JSON at line "), "\(message)")
    }

    @Test func whatIsNoUTF8IsRefused() {
        #expect(refusal([0x22, 0xFF, 0x22]).contains("UTF-8"))
        #expect(refusal(Array("[1\0]".utf8)).contains("byte 2 (a NUL)"))
        #expect(refusal([0x22, 0xC0, 0x80, 0x22]).contains("no JSON"))
        #expect(refusal([0x22, 0xED, 0xA0, 0x80, 0x22]).contains("no JSON"))
    }

    @Test func sizesAreBounded() {
        let deep = String(repeating: "[", count: 1 << 20)
        #expect(refusal(deep).contains("1048576 deep"))
        #expect(refusal("[" + String(repeating: "0,", count: 1 << 19) + "0]").contains("values"))
        #expect(refusal("\"" + String(repeating: "x", count: JSON.longestText) + "\"").contains("bytes"))
        // Brackets in strings do not nest.
        #expect(throws: Never.self) {
            _ = try JSON.parse("\"\\\"" + String(repeating: "[", count: 100) + "\\\\\"", source: "json")
        }
    }

    @Test func everyPrefixOfATextIsRefused() throws {
        let text = Array("{\"a\": [1, 2.5, \"\u{20ac}\"], \"b\": {\"c\": true}}".utf8)
        for count in 0..<text.count { #expect(!refusal(Array(text[..<count])).isEmpty) }
    }
}

@Suite struct JSONObjectTests {
    private func object(_ text: String) throws -> JSONObject {
        try JSONObject(JSON.parse(text, source: "json"), context: "json")
    }

    @Test func messagesNameTheKey() throws {
        func message(_ body: () throws -> Void) -> String? {
            #expect(throws: EngineError.self) { try body() }?.message
        }
        var given = try object("{\"a\": \"x\", \"b\": 1.0, \"c\": 2}")
        #expect(message { _ = try given.require("d", want: "a number") } == "json: d: is missing, want a number")
        let (a, b) = (given.take("a") ?? .null, given.take("b") ?? .null)
        #expect(message { _ = try a.integer("json: a", in: 1...2) } == "json: a: got \"x\", want an integer, 1 ... 2")
        #expect(message { _ = try b.integer("json: b", in: 1...2) }?.contains("got 1.0") == true)
        #expect(message { _ = try b.flag("json: b") } == "json: b: got 1.0, want true or false")
        #expect(try b.number("json: b", in: 0...1) == 1)
        #expect(message { try given.finish(known: ["a", "b"]) } == "json: got the unknown key \"c\", want a, b")
        #expect(given.take("a") == nil)
        #expect(message { _ = try object("[1]") } == "json: got an array of 1, want an object")
    }
}
