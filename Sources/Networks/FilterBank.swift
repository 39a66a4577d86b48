import Kernels
import Runtime

/// A network's filters for Winograd's algorithm: made once per weight update and shared by its programs for inference and
/// training, because those that are kept take four times the room of the weights.
final class FilterBank {
    private var filters: [Int: WinogradFilters] = [:]
    /// In order of first use.
    private var parameters: [Int] = []
    private var version = -1

    /// The filters of a convolution by the index of its weight; nil where Winograd's algorithm does not fit.
    func filters(for weight: Int, _ geometry: ConvolutionGeometry) throws -> WinogradFilters? {
        if let existing = filters[weight] { return existing }
        guard let made = try PreparedWeights.makeFilters(geometry) else { return nil }
        filters[weight] = made
        parameters.append(weight)
        version = -1
        return made
    }

    /// From now on keeps the rotated filters too, which input gradients want.
    func needBackward() throws {
        for weight in parameters {
            if try filters[weight]?.needBackward() == true { version = -1 }
        }
    }

    func update(from network: Network) {
        guard version != network.version else { return }
        version = network.version
        for weight in parameters {
            filters[weight]?.set(weights: network.weights, from: network.parameters[weight].offset)
        }
    }
}
