import Runtime

/// The samples of an attack that was given only what it had left at a smaller radius: of the others, what it found there, which
/// lies in the larger ball too.
struct NestedSamples: AttackResults {
    let inner: any AttackResults
    let outer: any AttackResults
    /// 1 where the smaller radius left the sample.
    let left: Buffer<UInt8>

    var count: Int { outer.count }
    var pixels: Int { outer.pixels }
    var isQuantised: Bool { inner.isQuantised && outer.isQuantised }
    func outcome(_ sample: Int) -> AttackOutcome { (left[sample] == 1 ? outer : inner).outcome(sample) }

    func write(to outputs: AttackOutputs) throws {
        try outer.write(to: outputs)
        let images = try FloatBuffer(count * pixels)
        let (success, quantised) = (try Buffer<UInt8>(count), try Buffer<UInt8>(count))
        let (linf, l2, l1) = (try Buffer<Double>(count), try Buffer<Double>(count), try Buffer<Double>(count))
        let (first, forwards, backwards) = (
            try Buffer<Int64>(count), try Buffer<Int64>(count), try Buffer<Int64>(count)
        )
        var there = AttackOutputs(adversarial: images.pointer)
        (there.success, there.quantised, there.firstSuccess) = (success.pointer, quantised.pointer, first.pointer)
        (there.linf, there.l2, there.l1) = (linf.pointer, l2.pointer, l1.pointer)
        (there.forwards, there.backwards) = (forwards.pointer, backwards.pointer)
        try inner.write(to: there)
        for i in 0..<count where left[i] == 0 {
            (outputs.adversarial + i * pixels).update(from: images.pointer + i * pixels, count: pixels)
            outputs.success?[i] = success[i]
            if isQuantised { outputs.quantised?[i] = quantised[i] }
            outputs.firstSuccess?[i] = first[i]
            outputs.linf?[i] = linf[i]
            outputs.l2?[i] = l2[i]
            outputs.l1?[i] = l1[i]
            outputs.forwards?[i] = forwards[i]
            outputs.backwards?[i] = backwards[i]
        }
    }
}
