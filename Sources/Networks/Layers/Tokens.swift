import JSON
import Kernels
import Runtime

// What vision transformers do to sequences of tokens. A pixel is a token, so that an image of T pixels is a sequence of T
// tokens; the shape (C, T, 1) is one without another order.

/// One more pixel before all others, learnt.
struct ClassToken: Layer {
    let token: Int
    /// Of the input.
    let input: ImageShape

    var typeName: String { "class_token" }
    var parameters: [Int] { [token] }

    func forward(_ run: LayerForward) {
        prependTokenForward(run.output, run.input(), count: run.count, input, token: run.parameter(token))
    }

    func backward(_ run: LayerBackward) {
        run.addTo(token) { target in
            addSampleSums(
                target, run.gradient, count: run.count, length: input.channels, stride: run.shape.count)
        }
        run.write { target, accumulate in
            prependTokenBackward(target, gradient: run.gradient, count: run.count, input, accumulate: accumulate)
        }
    }
}

/// Something learnt is added to each pixel.
struct PositionEmbedding: Layer {
    let table: Int

    var typeName: String { "position_embedding" }
    var parameters: [Int] { [table] }
    var worksInPlace: Bool { true }

    func forward(_ run: LayerForward) {
        positionEmbeddingForward(run.output, run.input(), count: run.count, run.shape, table: run.parameter(table))
    }

    func backward(_ run: LayerBackward) {
        run.addTo(table) { target in
            addSampleSums(
                target, run.gradient, count: run.count, length: run.shape.count, stride: run.shape.count)
        }
        run.write { target, accumulate in
            let floats = run.count * run.shape.count
            if accumulate {
                addForward(target, target, run.gradient, count: floats, rectify: false)
            } else if target != run.gradient {
                target.update(from: run.gradient, count: floats)
            }
        }
    }
}

struct SelectToken: Layer {
    let index: Int
    /// Of the input.
    let input: ImageShape

    var typeName: String { "select_token" }

    func forward(_ run: LayerForward) {
        selectTokenForward(run.output, run.input(), count: run.count, input, index: index)
    }

    func backward(_ run: LayerBackward) {
        run.write { target, accumulate in
            selectTokenBackward(
                target, gradient: run.gradient, count: run.count, input, index: index, accumulate: accumulate)
        }
    }
}

extension Graph {
    mutating func classToken(_ name: String, _ x: Value) -> Value {
        let token = parameter(name, [1, 1, x.shape.channels], .zero)
        let shape = ImageShape(x.shape.channels, x.shape.pixels + 1, 1)
        return append(.layer(ClassToken(token: token, input: x.shape)), [x], shape, name: name)
    }

    mutating func positionEmbedding(_ name: String, _ x: Value) -> Value {
        let table = parameter(name, [1, x.shape.pixels, x.shape.channels], .zero)
        return append(.layer(PositionEmbedding(table: table)), [x], x.shape, name: name)
    }

    /// `index` is below the number of pixels.
    mutating func selectToken(_ x: Value, index: Int, name: String? = nil) -> Value {
        let layer = SelectToken(index: index, input: x.shape)
        return append(.layer(layer), [x], ImageShape(x.shape.channels, 1, 1), name: name)
    }
}

extension LayerType {
    static let classToken = LayerType(
        name: "class_token", inputs: 1...1, attributes: [], parameters: "the name itself, (1, 1, channels)",
        meaning: "One more pixel before all others, learnt: (channels, height·width + 1, 1) comes out.",
        build: { graph, name, x, _ in graph.classToken(name, x[0]) }, describe: { _ in [] })

    static let positionEmbedding = LayerType(
        name: "position_embedding", inputs: 1...1, attributes: [],
        parameters: "the name itself, (1, pixels, channels)",
        meaning: "Something learnt is added to each pixel, the same for all images.",
        build: { graph, name, x, _ in graph.positionEmbedding(name, x[0]) }, describe: { _ in [] })

    static let selectToken = LayerType(
        name: "select_token", inputs: 1...1, attributes: [LayerAttribute(name: "index", kind: .integer(0...1 << 28))],
        meaning: "One pixel, by its number from 0 on, row by row: the class token, for example.",
        build: { graph, name, x, values in
            let index = values.integer("index")
            guard index < x[0].shape.pixels else {
                throw EngineError.invalid("index", got: index, want: "below the \(x[0].shape.pixels) pixels")
            }
            return graph.selectToken(x[0], index: index, name: name)
        },
        describe: { node in
            guard case .layer(let layer as SelectToken) = node.operation else { return [] }
            return [.integer(layer.index)]
        })
}
