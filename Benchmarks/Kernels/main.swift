// Times the convolutions of the field's networks one by one: `make bench-kernels`. Rates are effective ones, in
// multiply-adds of the direct convolution; they may exceed the processor's peak.

import Glibc
import Kernels
import Runtime

struct Case {
    let name: String
    let geometry: ConvolutionGeometry

    init(
        _ name: String, _ channels: Int, _ size: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1, groups: Int = 1
    ) {
        self.name = name
        geometry = ConvolutionGeometry(
            input: ImageShape(channels, size, size), outputChannels: outputs, kernelHeight: kernel, kernelWidth: kernel,
            stride: stride, padding: kernel / 2, groups: groups)
    }
}

let cases = [
    Case("resnet18 stem", 3, 32, 64),
    Case("resnet18 layer1", 64, 32, 64),
    Case("resnet18 layer2 down", 64, 32, 128, stride: 2),
    Case("resnet18 layer2 shortcut", 64, 32, 128, kernel: 1, stride: 2),
    Case("resnet18 layer2", 128, 16, 128),
    Case("resnet18 layer3 down", 128, 16, 256, stride: 2),
    Case("resnet18 layer3", 256, 8, 256),
    Case("resnet18 layer4 down", 256, 8, 512, stride: 2),
    Case("resnet18 layer4", 512, 4, 512),
    Case("wrn_28_10 block1", 160, 32, 160),
    Case("wrn_28_10 block2", 320, 16, 320),
    Case("wrn_28_10 block3", 640, 8, 640),
    Case("mobilenet expand", 24, 32, 144, kernel: 1),
    Case("mobilenet depthwise", 144, 32, 144, groups: 144),
    Case("mobilenet project", 144, 32, 24, kernel: 1),
    Case("mobilenet late expand", 160, 4, 960, kernel: 1),
    Case("mobilenet late depthwise", 960, 4, 960, groups: 960),
]

/// The fastest of `runs` runs after one that is not counted: what the kernel can do, whatever else the machine does.
func seconds(_ runs: Int, _ body: () -> Void) -> Double {
    body()
    let times = (0..<runs).map { _ in
        let start = monotonicSeconds()
        body()
        return monotonicSeconds() - start
    }
    return times.min() ?? 0
}

func filled(_ count: Int) throws -> FloatBuffer {
    let buffer = try FloatBuffer(count)
    var random = CounterRandom(seed: 1, stream: .initialisation, index: 0)
    for i in 0..<count { buffer.pointer[i] = random.uniform() - 0.5 }
    return buffer
}

func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
}

// New threads may share a processor for a moment, until the system spreads them.
let warm = monotonicSeconds()
while monotonicSeconds() - warm < 0.5 { WorkerPool.parallelFor(64) { _ in _ = (0..<20_000).reduce(0, &+) } }

let arguments = CommandLine.arguments
let batch = arguments.count > 1 ? Int(arguments[1]) ?? 32 : 32
let filter = arguments.count > 2 ? arguments[2] : ""
print("batch \(batch), \(WorkerPool.threads) threads, \(CPUPath.active.rawValue); GFLOP/s (ms)")
print(pad("", 28) + pad("forward", 18) + pad("input gradient", 18) + "weight gradient")
for test in cases where test.name.contains(filter) {
    let g = test.geometry
    let x = try filled(batch * g.input.count)
    let y = try filled(batch * g.output.count)
    let dx = try filled(batch * g.input.count)
    let w = try filled(g.weightCount)
    let dw = try FloatBuffer(g.weightCount)
    let filters = try PreparedWeights.makeFilters(g)
    _ = try filters?.needBackward()
    filters?.set(weights: w, from: 0)
    let weights = try PreparedWeights(g, filters: filters)
    weights.set(weights: w.pointer, scale: nil, bias: nil)
    func show(_ body: () -> Void) -> String {
        let time = seconds(25, body)
        let rate = 2 * Double(g.multiplyAdds * batch) / time / 1e9
        return pad("\(Int(rate.rounded())) (\((time * 1e5).rounded() / 100))", 18)
    }
    print(
        pad(test.name, 28) + show { convolutionForward(y.pointer, x.pointer, count: batch, weights) }
            + show { convolutionInputGradient(dx.pointer, y.pointer, count: batch, weights) }
            + show {
                convolutionWeightGradient(
                    dw.pointer, x.pointer, y.pointer, count: batch, weights)
            })
}
