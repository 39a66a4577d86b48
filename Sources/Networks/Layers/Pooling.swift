import JSON
import Kernels
import Runtime

struct AveragePool: Layer {
    let geometry: PoolingGeometry
    /// As zeros.
    let countsPadding: Bool

    var typeName: String { "average_pool" }

    func forward(_ run: LayerForward) {
        averagePoolForward(run.output, run.input(), count: run.count, geometry, countsPadding: countsPadding)
    }

    func backward(_ run: LayerBackward) {
        run.write { target, accumulate in
            averagePoolBackward(
                target, gradient: run.gradient, count: run.count, geometry, countsPadding: countsPadding,
                accumulate: accumulate)
        }
    }
}

struct MaxPool: Layer {
    let geometry: PoolingGeometry

    var typeName: String { "max_pool" }
    /// The positions of maxima.
    var bytesPerOutput: Int { 1 }

    func forward(_ run: LayerForward) {
        maxPoolForward(run.output, run.input(), count: run.count, geometry, positions: run.kept)
    }

    func backward(_ run: LayerBackward) {
        guard let positions = run.kept else { return }
        run.write { target, accumulate in
            maxPoolBackward(
                target, gradient: run.gradient, positions: positions, count: run.count, geometry,
                accumulate: accumulate)
        }
    }
}

struct GlobalAveragePool: Layer {
    /// Of the input.
    let input: ImageShape

    var typeName: String { "global_average_pool" }

    func forward(_ run: LayerForward) { globalAveragePoolForward(run.output, run.input(), count: run.count, input) }

    func backward(_ run: LayerBackward) {
        run.write { target, accumulate in
            globalAveragePoolBackward(
                target, gradient: run.gradient, count: run.count, input, accumulate: accumulate)
        }
    }
}

extension Graph {
    /// The mean of each window; padding counts as zeros.
    mutating func averagePool(
        _ x: Value, window: Int, stride: Int, padding: Int = 0, name: String? = nil
    ) -> Value {
        let geometry = PoolingGeometry(input: x.shape, window: window, stride: stride, padding: padding)
        return averagePool(x, geometry, countsPadding: true, name: name)
    }

    mutating func averagePool(
        _ x: Value, _ geometry: PoolingGeometry, countsPadding: Bool, name: String? = nil
    ) -> Value {
        let geometry = fitting("average pooling", geometry)
        let layer = AveragePool(geometry: geometry, countsPadding: countsPadding)
        return append(.layer(layer), [x], geometry.output, name: name)
    }

    /// The largest value of each window; padding is no candidate.
    mutating func maxPool(_ x: Value, window: Int, stride: Int, padding: Int = 0, name: String? = nil) -> Value {
        maxPool(x, PoolingGeometry(input: x.shape, window: window, stride: stride, padding: padding), name: name)
    }

    mutating func maxPool(_ x: Value, _ geometry: PoolingGeometry, name: String? = nil) -> Value {
        let geometry = fitting("max pooling", geometry)
        if max(geometry.windowHeight, geometry.windowWidth) > maxPoolLargestWindow {
            note("max pooling: a \(geometry.windowHeight)x\(geometry.windowWidth) window is too large")
        }
        return append(.layer(MaxPool(geometry: geometry)), [x], geometry.output, name: name)
    }

    mutating func globalAveragePool(_ x: Value, name: String? = nil) -> Value {
        append(.layer(GlobalAveragePool(input: x.shape)), [x], ImageShape(x.shape.channels, 1, 1), name: name)
    }

    /// The geometry, or one that fits and a note of the problem.
    private mutating func fitting(_ kind: String, _ g: PoolingGeometry) -> PoolingGeometry {
        let window = "\(g.windowHeight)x\(g.windowWidth) window"
        if max(g.padTop, g.padBottom) >= g.windowHeight || max(g.padLeft, g.padRight) >= g.windowWidth {
            let padding = [g.padTop, g.padLeft, g.padBottom, g.padRight]
            note("\(kind): got padding \(padding), want less than the \(window) on each side")
        } else if g.input.height + g.padTop + g.padBottom < g.windowHeight
            || g.input.width + g.padLeft + g.padRight < g.windowWidth
        {
            note("\(kind): the image has shrunk to \(g.input), too small for a \(window)")
        } else {
            return g
        }
        return PoolingGeometry(input: g.input, window: 1, stride: 1)
    }
}

extension LayerType {
    static let averagePool = pooling(
        "average_pool", largest: 1024,
        [LayerAttribute(name: "count_padding", kind: .flag, fallback: .bool(true), isAddition: true)],
        "The mean of each window; padding is counted as zeros or, without `count_padding`, left out."
    ) { graph, name, x, g, values in
        graph.averagePool(x, g, countsPadding: values.flag("count_padding"), name: name)
    }

    static let maxPool = pooling(
        "max_pool", largest: maxPoolLargestWindow, [], "The largest value of each window, padding left out."
    ) { graph, name, x, g, _ in graph.maxPool(x, g, name: name) }

    static let globalAveragePool = plain(
        "global_average_pool", "The mean over all pixels of each channel: one pixel is left."
    ) { graph, name, x in graph.globalAveragePool(x[0], name: name) }

    private static func pooling(
        _ name: String, largest: Int, _ more: [LayerAttribute], _ meaning: String,
        _ build: @escaping @Sendable (inout Graph, String, Graph.Value, PoolingGeometry, LayerValues) -> Graph.Value
    ) -> LayerType {
        LayerType(
            name: name, inputs: 1...1,
            attributes: [
                LayerAttribute(name: "window", kind: .pair(1...largest)),
                LayerAttribute(name: "stride", kind: .pair(1...1024), fallback: .integer(1)),
                LayerAttribute(name: "padding", kind: .sides(0...largest - 1), fallback: .integer(0)),
            ] + more, meaning: meaning + " `padding` is less than the window.",
            build: { graph, name, x, values in
                var geometry = PoolingGeometry(input: x[0].shape, window: 1, stride: 1)
                (geometry.windowHeight, geometry.windowWidth) = values.pair("window")
                (geometry.strideHeight, geometry.strideWidth) = values.pair("stride")
                let padding = values.integers("padding")
                (geometry.padTop, geometry.padLeft) = (padding[0], padding[1])
                (geometry.padBottom, geometry.padRight) = (padding[2], padding[3])
                return build(&graph, name, x[0], geometry, values)
            },
            describe: { node in
                switch node.operation {
                case .layer(let layer as AveragePool): layer.geometry.described + [.bool(layer.countsPadding)]
                case .layer(let layer as MaxPool): layer.geometry.described
                default: []
                }
            })
    }
}

extension PoolingGeometry {
    fileprivate var described: [JSON] {
        [
            JSON(oneFor: [windowHeight, windowWidth]), JSON(oneFor: [strideHeight, strideWidth]),
            JSON(oneFor: [padTop, padLeft, padBottom, padRight]),
        ]
    }
}
