import Kernels
import Runtime

extension Corruption {
    /// JPEG, there and back: baseline ITU T.81 with the integers of libjpeg-turbo (the accurate cosine transform; colours at half
    /// the size, and back along straight lines), so that images come out as from Pillow, bit for bit. Values are rounded to
    /// bytes. Three channels are red, green and blue; any other number are grey images, each for itself.
    @Sendable static func compressAsJPEG(_ canvas: inout Canvas, _ severity: Int) {
        let quality = [80, 65, 58, 50, 40][severity]
        let (luminance, chrominance) = (
            JPEGQuantisation(JPEGQuantisation.luminance, quality),
            JPEGQuantisation(JPEGQuantisation.chrominance, quality)
        )
        let (height, width, channels) = (canvas.shape.height, canvas.shape.width, canvas.shape.channels)
        let planes = (0..<channels).map { c in
            let channel = canvas.channel(c)
            return JPEGPlane(height, width) { y, x in Int((channel[y * width + x] * 255).rounded()) }
        }
        var decoded: [JPEGPlane]
        if channels == 3 {
            let (y, cb, cr) = JPEGPlane.lightAndColours(planes[0], planes[1], planes[2])
            decoded = JPEGPlane.redGreenBlue(
                y.quantised(luminance), cb.halved().quantised(chrominance).doubled(height, width),
                cr.halved().quantised(chrominance).doubled(height, width))
        } else {
            decoded = planes.map { $0.quantised(luminance) }
        }
        for c in 0..<channels {
            for i in 0..<canvas.area { canvas.channel(c)[i] = Float(decoded[c].values[i]) / 255 }
        }
    }
}

/// The steps of the 64 coefficients of a block.
private struct JPEGQuantisation {
    let steps: [Int]

    /// The table at a quality of 1 ... 99, 50 leaving it as it is (libjpeg's rule).
    init(_ table: [Int], _ quality: Int) {
        let percent = quality < 50 ? 5000 / quality : 200 - 2 * quality
        steps = table.map { min(max(($0 * percent + 50) / 100, 1), 255) }
    }

    /// Of the recommendation's annex K, row by row: table K.1.
    static let luminance = [
        16, 11, 10, 16, 24, 40, 51, 61,
        12, 12, 14, 19, 26, 58, 60, 55,
        14, 13, 16, 24, 40, 57, 69, 56,
        14, 17, 22, 29, 51, 87, 80, 62,
        18, 22, 37, 56, 68, 109, 103, 77,
        24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101,
        72, 92, 95, 98, 112, 100, 103, 99,
    ]

    /// Table K.2.
    static let chrominance = [
        17, 18, 24, 47, 99, 99, 99, 99,
        18, 21, 26, 66, 99, 99, 99, 99,
        24, 26, 56, 99, 99, 99, 99, 99,
        47, 66, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
    ]
}

/// A component of an image, of values 0 ... 255.
private struct JPEGPlane {
    let height: Int
    let width: Int
    private(set) var values: [Int]

    init(_ height: Int, _ width: Int, _ value: (_ y: Int, _ x: Int) -> Int) {
        (self.height, self.width) = (height, width)
        values = []
        values.reserveCapacity(height * width)
        for y in 0..<height { for x in 0..<width { values.append(min(max(value(y, x), 0), 255)) } }
    }

    /// Beyond the lower and the right edge the pixels at it go on.
    private subscript(_ y: Int, _ x: Int) -> Int { values[min(y, height - 1) * width + min(x, width - 1)] }
}

/// Colours, by the factors of JFIF in 16-bit integers.
extension JPEGPlane {
    static func lightAndColours(
        _ red: JPEGPlane, _ green: JPEGPlane, _ blue: JPEGPlane
    ) -> (y: JPEGPlane, cb: JPEGPlane, cr: JPEGPlane) {
        // Halves are rounded up in Y, down in the others, whose 255.5 would not be a byte.
        func mixed(_ r: Int, _ g: Int, _ b: Int, _ offset: Int) -> JPEGPlane {
            JPEGPlane(red.height, red.width) { y, x in
                (r * red[y, x] + g * green[y, x] + b * blue[y, x] + offset) >> 16
            }
        }
        let colour = 128 << 16 + 1 << 15 - 1
        return (
            mixed(19595, 38470, 7471, 1 << 15), mixed(-11059, -21709, 32768, colour),
            mixed(32768, -27439, -5329, colour)
        )
    }

    static func redGreenBlue(_ light: JPEGPlane, _ cb: JPEGPlane, _ cr: JPEGPlane) -> [JPEGPlane] {
        [(0, 91881), (-22554, -46802), (116130, 0)].map { (blueness, redness) in
            JPEGPlane(light.height, light.width) { y, x in
                light[y, x] + (blueness * (cb[y, x] - 128) + redness * (cr[y, x] - 128) + 1 << 15) >> 16
            }
        }
    }
}

/// Half the size and back.
extension JPEGPlane {
    /// Means of four pixels, rounded down and up in turns; to whole blocks of columns, as the encoder fills them.
    func halved() -> JPEGPlane {
        JPEGPlane((height + 1) / 2, (width + 15) / 16 * 8) { y, x in
            let (top, left) = (2 * y, 2 * x)
            return (self[top, left] + self[top, left + 1] + self[top + 1, left] + self[top + 1, left + 1] + 1 + x % 2)
                / 4
        }
    }

    /// Three parts of the nearer and one of the further, in both directions; one or two columns are repeated, as libjpeg does.
    func doubled(_ height: Int, _ width: Int) -> JPEGPlane {
        let (lastRow, lastColumn) = ((height + 1) / 2 - 1, (width + 1) / 2 - 1)
        guard lastColumn > 1 else { return JPEGPlane(height, width) { self[$0 / 2, $1 / 2] } }
        func further(_ place: Int, _ last: Int) -> Int { min(max(place / 2 + place % 2 * 2 - 1, 0), last) }
        return JPEGPlane(height, width) { y, x in
            let (row, column) = (further(y, lastRow), further(x, lastColumn))
            let near = 3 * self[y / 2, x / 2] + self[row, x / 2]
            let far = 3 * self[y / 2, column] + self[row, column]
            return (3 * near + far + 8 - x % 2) / 16
        }
    }
}

/// The cosine transform, and what the steps leave of it.
extension JPEGPlane {
    /// √2 cos((2n + 1) k π / 16), and 1 for k = 0, in units of 2⁻¹³, at [8 k + n]. Some are a unit away from the nearest: they are
    /// sums of the rounded constants of the fast algorithm that libjpeg takes (Loeffler, Ligtenberg, Moschytz 1989), so that all
    /// integers are the same.
    private static let basis = [
        [8192, 8192, 8192, 8192], [11363, 9633, 6437, 2260], [10703, 4433, -4433, -10703],
        [9633, -2259, -11362, -6436], [8192, -8192, -8192, 8192], [6437, -11362, 2261, 9633],
        [4433, -10704, 10704, -4433], [2260, -6436, 9633, -11363],
    ].enumerated().flatMap { k, half in half + half.reversed().map { k % 2 == 0 ? $0 : -$0 } }
    private static let basisBits = 13
    /// Kept between the two directions.
    private static let spareBits = 2

    func quantised(_ table: JPEGQuantisation) -> JPEGPlane {
        var result = self
        for top in stride(from: 0, to: height, by: 8) {
            for left in stride(from: 0, to: width, by: 8) {
                let block = (0..<64).map { self[top + $0 / 8, left + $0 % 8] - 128 }
                let decoded = Self.inverse(zip(Self.forward(block), table.steps).map(Self.nearestMultiple))
                for y in 0..<min(8, height - top) {
                    for x in 0..<min(8, width - left) {
                        result.values[(top + y) * width + left + x] = min(max(decoded[8 * y + x] + 128, 0), 255)
                    }
                }
            }
        }
        return result
    }

    /// Of an eighth of the value; halves go away from 0.
    private static func nearestMultiple(_ value: Int, _ step: Int) -> Int {
        let multiple = (abs(value) + 4 * step) / (8 * step) * step
        return value < 0 ? -multiple : multiple
    }

    /// Eight times the coefficients of a block.
    private static func forward(_ block: [Int]) -> [Int] {
        let rows = product(dropping: basisBits - spareBits) { y, k, n in block[8 * y + n] * basis[8 * k + n] }
        return product(dropping: basisBits + spareBits) { k, x, n in rows[8 * n + x] * basis[8 * k + n] }
    }

    /// The block of coefficients.
    private static func inverse(_ coefficients: [Int]) -> [Int] {
        let columns = product(dropping: basisBits - spareBits) { y, x, k in
            coefficients[8 * k + x] * basis[8 * k + y]
        }
        return product(dropping: basisBits + spareBits + 3) { y, x, k in columns[8 * y + k] * basis[8 * k + x] }
    }

    /// Sums over the last index, rounded to drop `bits` of them.
    private static func product(dropping bits: Int, _ term: (Int, Int, Int) -> Int) -> [Int] {
        (0..<64).map { i in (0..<8).reduce(1 << (bits - 1)) { $0 + term(i / 8, i % 8, $1) } >> bits }
    }
}
