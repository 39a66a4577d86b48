// Passes over whole activations. An activation is a flat array in which channels repeat; a per-channel parameter comes
// expanded to one period, the least common multiple of the number of channels and the vector length, so that every
// load is a whole vector for any number of channels. `count` may end inside a period.

/// out = act( x·scale + shift + residual ); in place where out == x. residual may be nil.
public func scaleShift(
    _ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int,
    scale: UnsafePointer<Float>, shift: UnsafePointer<Float>, period: Int,
    residual: UnsafePointer<Float>?, rectify: Bool
) {
    let vectors = count / laneCount * laneCount
    var i = 0
    var p = 0
    while i < vectors {
        var value = multiplyAdd(load(shift + p), load(x + i), load(scale + p))
        if let residual { value += load(residual + i) }
        if rectify { value = rectified(value) }
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
        out[i] = rectify && scalar < 0 ? 0 : scalar
        i += 1
        p += 1
    }
}

/// sums[p] += Σ x over all elements at position p of their period.
public func periodicSums(_ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, period: Int) {
    let whole = count / period * period
    var p = 0
    while p < period {
        var sum = Lanes.zero
        var i = p
        while i < whole {
            sum += load(x + i)
            i += period
        }
        store(load(sums + p) + sum, sums + p)
        p += laneCount
    }
    for i in whole..<count { sums[i - whole] += x[i] }
}

/// deviations[p] += Σ (x - mean),  squares[p] += Σ (x - mean)².
public func periodicDeviations(
    _ deviations: UnsafeMutablePointer<Float>, _ squares: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>,
    mean: UnsafePointer<Float>, count: Int, period: Int
) {
    let whole = count / period * period
    var p = 0
    while p < period {
        let centre = load(mean + p)
        var sum = Lanes.zero
        var square = Lanes.zero
        var i = p
        while i < whole {
            let difference = load(x + i) - centre
            sum += difference
            square = multiplyAdd(square, difference, difference)
            i += period
        }
        store(load(deviations + p) + sum, deviations + p)
        store(load(squares + p) + square, squares + p)
        p += laneCount
    }
    for i in whole..<count {
        let difference = x[i] - mean[i - whole]
        deviations[i - whole] += difference
        squares[i - whole] += difference * difference
    }
}

/// sums[p] += Σ g,  products[p] += Σ g·(x - mean).
public func periodicGradientSums(
    _ sums: UnsafeMutablePointer<Float>, _ products: UnsafeMutablePointer<Float>, gradient g: UnsafePointer<Float>,
    _ x: UnsafePointer<Float>, mean: UnsafePointer<Float>, count: Int, period: Int
) {
    let whole = count / period * period
    var p = 0
    while p < period {
        let centre = load(mean + p)
        var sum = Lanes.zero
        var product = Lanes.zero
        var i = p
        while i < whole {
            let gradient = load(g + i)
            sum += gradient
            product = multiplyAdd(product, gradient, load(x + i) - centre)
            i += period
        }
        store(load(sums + p) + sum, sums + p)
        store(load(products + p) + product, products + p)
        p += laneCount
    }
    for i in whole..<count {
        sums[i - whole] += g[i]
        products[i - whole] += g[i] * (x[i] - mean[i - whole])
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

/// out = y > 0 ? g : 0, added to out where `accumulate`; out may be g. The gradient of ReLU, from its output y.
public func rectifyGradient(
    _ out: UnsafeMutablePointer<Float>, gradient g: UnsafePointer<Float>, output y: UnsafePointer<Float>, count: Int,
    accumulate: Bool
) {
    let vectors = count / laneCount * laneCount
    var i = 0
    while i < vectors {
        var value = Lanes.zero.replacing(with: load(g + i), where: load(y + i) .> Lanes.zero)
        if accumulate { value += load(out + i) }
        store(value, out + i)
        i += laneCount
    }
    while i < count {
        let value = y[i] > 0 ? g[i] : 0
        out[i] = accumulate ? out[i] + value : value
        i += 1
    }
}

/// out = a + b, rectified where asked; out may be either.
public func add(
    _ out: UnsafeMutablePointer<Float>, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int, rectify: Bool
) {
    let vectors = count / laneCount * laneCount
    var i = 0
    while i < vectors {
        var value = load(a + i) + load(b + i)
        if rectify { value = rectified(value) }
        store(value, out + i)
        i += laneCount
    }
    while i < count {
        let value = a[i] + b[i]
        out[i] = rectify && value < 0 ? 0 : value
        i += 1
    }
}
