// Passes over whole activations. An activation is a flat array in which channels repeat; a per-channel parameter comes
// expanded to one period, the least common multiple of the number of channels and the vector length, so that every
// load is a whole vector for any number of channels. `count` may end inside a period.

/// out = act( x·scale + shift + residual ); in place where out == x. residual may be nil; signs as in Epilogue.swift.
public func scaleShift(
    _ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int,
    scale: UnsafePointer<Float>, shift: UnsafePointer<Float>, period: Int,
    residual: UnsafePointer<Float>?, rectify: Bool, signs: UnsafeMutablePointer<UInt8>?
) {
    let vectors = count / laneCount * laneCount
    var i = 0
    var p = 0
    while i < vectors {
        var value = multiplyAdd(load(shift + p), load(x + i), load(scale + p))
        if let residual { value += load(residual + i) }
        if rectify { value = rectified(value) }
        if let signs { storeSigns(value, signs + i) }
        store(value, out + i)
        i += laneCount
        p += laneCount
        if p == period { p = 0 }
    }
    while i < count {
        var value = Lanes.zero
        value[0] = x[i]
        var factor = Lanes.zero
        factor[0] = scale[p]
        var offset = Lanes.zero
        offset[0] = shift[p]
        var scalar = multiplyAdd(offset, value, factor)[0]
        if let residual { scalar += residual[i] }
        if rectify && scalar < 0 { scalar = 0 }
        signs?[i] = scalar > 0 ? 1 : 0
        out[i] = scalar
        i += 1
        p += 1
    }
}

/// Calls `wide(p)` for every four vectors of a period and `narrow(p)` for each that is left: four sums at a time read
/// memory in runs, and do not wait for each other.
@inline(always)
private func eachPart(_ period: Int, wide: (Int) -> Void, narrow: (Int) -> Void) {
    var p = 0
    while p + 4 * laneCount <= period {
        wide(p)
        p += 4 * laneCount
    }
    while p < period {
        narrow(p)
        p += laneCount
    }
}

/// sums[p] += Σ x over all elements at position p of their period.
public func periodicSums(_ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, period: Int) {
    let whole = count / period * period
    eachPart(period) { p in
        var (s0, s1, s2, s3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
        var i = p
        while i < whole {
            s0 += load(x + i)
            s1 += load(x + i + laneCount)
            s2 += load(x + i + 2 * laneCount)
            s3 += load(x + i + 3 * laneCount)
            i += period
        }
        accumulate(s0, sums + p, laneCount)
        accumulate(s1, sums + p + laneCount, laneCount)
        accumulate(s2, sums + p + 2 * laneCount, laneCount)
        accumulate(s3, sums + p + 3 * laneCount, laneCount)
    } narrow: { p in
        var sum = Lanes.zero
        var i = p
        while i < whole {
            sum += load(x + i)
            i += period
        }
        accumulate(sum, sums + p, laneCount)
    }
    for i in whole..<count { sums[i - whole] += x[i] }
}

/// deviations[p] += Σ (x - mean),  squares[p] += Σ (x - mean)².
public func periodicDeviations(
    _ deviations: UnsafeMutablePointer<Float>, _ squares: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>,
    mean: UnsafePointer<Float>, count: Int, period: Int
) {
    periodicProducts(deviations, squares, x, nil, mean, count, period)
}

/// sums[p] += Σ g,  products[p] += Σ g·(x - mean).
public func periodicGradientSums(
    _ sums: UnsafeMutablePointer<Float>, _ products: UnsafeMutablePointer<Float>, gradient g: UnsafePointer<Float>,
    _ x: UnsafePointer<Float>, mean: UnsafePointer<Float>, count: Int, period: Int
) {
    periodicProducts(sums, products, x, g, mean, count, period)
}

/// sums[p] += Σ f,  products[p] += Σ f·(x - mean), with f = g, or without g f = x - mean.
@inline(always)
private func periodicProducts(
    _ sums: UnsafeMutablePointer<Float>, _ products: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>,
    _ g: UnsafePointer<Float>?, _ mean: UnsafePointer<Float>, _ count: Int, _ period: Int
) {
    let whole = count / period * period
    eachPart(period) { p in
        let (c0, c1) = (load(mean + p), load(mean + p + laneCount))
        let (c2, c3) = (load(mean + p + 2 * laneCount), load(mean + p + 3 * laneCount))
        var (s0, s1, s2, s3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
        var (q0, q1, q2, q3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
        var i = p
        while i < whole {
            @inline(always)
            func add(_ vector: Int, _ centre: Lanes, _ sum: inout Lanes, _ product: inout Lanes) {
                let difference = load(x + i + vector * laneCount) - centre
                let factor = g.map { load($0 + i + vector * laneCount) } ?? difference
                sum += factor
                product = multiplyAdd(product, factor, difference)
            }
            add(0, c0, &s0, &q0)
            add(1, c1, &s1, &q1)
            add(2, c2, &s2, &q2)
            add(3, c3, &s3, &q3)
            i += period
        }
        accumulate(s0, sums + p, laneCount)
        accumulate(s1, sums + p + laneCount, laneCount)
        accumulate(s2, sums + p + 2 * laneCount, laneCount)
        accumulate(s3, sums + p + 3 * laneCount, laneCount)
        accumulate(q0, products + p, laneCount)
        accumulate(q1, products + p + laneCount, laneCount)
        accumulate(q2, products + p + 2 * laneCount, laneCount)
        accumulate(q3, products + p + 3 * laneCount, laneCount)
    } narrow: { p in
        let centre = load(mean + p)
        var sum = Lanes.zero
        var product = Lanes.zero
        var i = p
        while i < whole {
            let difference = load(x + i) - centre
            let factor = g.map { load($0 + i) } ?? difference
            sum += factor
            product = multiplyAdd(product, factor, difference)
            i += period
        }
        accumulate(sum, sums + p, laneCount)
        accumulate(product, products + p, laneCount)
    }
    for i in whole..<count {
        let difference = x[i] - mean[i - whole]
        let factor = g.map { $0[i] } ?? difference
        sums[i - whole] += factor
        products[i - whole] += factor * difference
    }
}

/// out = g·a + (x - mean)·b + c, added to out where `accumulate`; out may be g. The input gradient of BatchNorm.
public func normGradient(
    _ out: UnsafeMutablePointer<Float>, gradient g: UnsafePointer<Float>, _ x: UnsafePointer<Float>, count: Int,
    mean: UnsafePointer<Float>, a: UnsafePointer<Float>, b: UnsafePointer<Float>, c: UnsafePointer<Float>, period: Int,
    accumulate: Bool
) {
    let vectors = count / laneCount * laneCount
    var i = 0
    var p = 0
    while i < vectors {
        var value = multiplyAdd(load(c + p), load(x + i) - load(mean + p), load(b + p))
        value = multiplyAdd(value, load(g + i), load(a + p))
        if accumulate { value += load(out + i) }
        store(value, out + i)
        i += laneCount
        p += laneCount
        if p == period { p = 0 }
    }
    while i < count {
        let value = g[i] * a[p] + (x[i] - mean[p]) * b[p] + c[p]
        out[i] = accumulate ? out[i] + value : value
        i += 1
        p += 1
    }
}

/// out = g where `signs` is not 0, else 0, added to out where `accumulate`; out may be g. The gradient of ReLU.
public func rectifyGradient(
    _ out: UnsafeMutablePointer<Float>, gradient g: UnsafePointer<Float>, signs: UnsafePointer<UInt8>, count: Int,
    accumulate: Bool
) {
    let vectors = count / laneCount * laneCount
    var i = 0
    while i < vectors {
        var value = masked(load(g + i), signs + i)
        if accumulate { value += load(out + i) }
        store(value, out + i)
        i += laneCount
    }
    while i < count {
        let value = signs[i] == 0 ? 0 : g[i]
        out[i] = accumulate ? out[i] + value : value
        i += 1
    }
}

/// out = a + b, rectified where asked; out may be either. signs as in Epilogue.swift.
public func add(
    _ out: UnsafeMutablePointer<Float>, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int, rectify: Bool,
    signs: UnsafeMutablePointer<UInt8>?
) {
    let vectors = count / laneCount * laneCount
    var i = 0
    while i < vectors {
        var value = load(a + i) + load(b + i)
        if rectify { value = rectified(value) }
        if let signs { storeSigns(value, signs + i) }
        store(value, out + i)
        i += laneCount
    }
    while i < count {
        var value = a[i] + b[i]
        if rectify && value < 0 { value = 0 }
        signs?[i] = value > 0 ? 1 : 0
        out[i] = value
        i += 1
    }
}
