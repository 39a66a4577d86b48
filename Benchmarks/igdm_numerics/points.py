"""Winograd's F(4x4, 3x3) with several choices of interpolation points, computed by numpy in single precision.

With finite points p_j: A[i,j] = p_j^i, G[j,k] = p_j^k / prod(p_j - p_l), and B[j] has the coefficients of
prod(x - p_l), the products over l != j. At infinity A and G pick the highest power, and B has the coefficients of
prod(x - p_l) over all l.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from measured import markdown
from numpy.typing import NDArray

from .errors import cell, errors

CHOICES = {
    "0, ±1, ±2, ∞ (the textbook's)": (1, 2),
    "0, ±1, ±1/2, ∞": (1, Fraction(1, 2)),
    "0, ±1/2, ±3/2, ∞": (Fraction(1, 2), Fraction(3, 2)),
    "0, ±5/8, ±3/2, ∞ (igdm's)": (Fraction(5, 8), Fraction(3, 2)),
    "0, ±3/4, ±3/2, ∞": (Fraction(3, 4), Fraction(3, 2)),
}
CHANNELS = [1, 16, 64, 512]
TILES, FILTERS = 400, 16
Matrix = NDArray[np.float64]


def transforms(a: Fraction | int, b: Fraction | int) -> tuple[Matrix, Matrix, Matrix]:
    """A (4 x 6), G (6 x 3) and B (6 x 6) for the points 0, a, -a, b, -b and infinity."""
    points = [float(p) for p in (0, a, -a, b, -b)]
    others = [[q for q in points if q != p] for p in points]
    outputs = np.array([[p**i for p in points] + [float(i == 3)] for i in range(4)])
    filters = [
        [p**k / np.prod([p - q for q in rest]) for k in range(3)] for p, rest in zip(points, others, strict=True)
    ]
    inputs = [[*np.poly(rest)[::-1], 0.0] for rest in others]
    return outputs, np.array([*filters, [0, 0, 1]]), np.array([*inputs, np.poly(points)[::-1]])


def convolve(d: NDArray, g: NDArray, matrices: tuple[Matrix, ...]) -> NDArray:
    """Outputs (tile, filter, 4, 4) for inputs (tile, channel, 6, 6) and filters (filter, channel, 3, 3)."""
    a, gg, b = (matrix.astype(d.dtype) for matrix in matrices)
    v, u = b @ d @ b.T, gg @ g @ gg.T
    products = np.zeros((len(d), len(g), 6, 6), d.dtype)
    for channel in range(d.shape[1]):  # in order, as the kernel sums
        products += v[:, None, channel] * u[None, :, channel]
    return a @ products @ a.T


def table() -> list[str]:
    random = np.random.default_rng(0)
    rows: dict[str, list[str]] = {name: [name] for name in CHOICES}
    for channels in CHANNELS:
        d = random.standard_normal((TILES, channels, 6, 6)).astype(np.float32)
        g = random.standard_normal((FILTERS, channels, 3, 3)).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(d.astype(np.float64), (3, 3), axis=(2, 3))
        wanted = np.einsum("tcyxrs,fcrs->tfyx", windows, g.astype(np.float64), optimize=True)
        for name, points in CHOICES.items():
            matrices = transforms(*points)
            exact = convolve(d.astype(np.float64), g.astype(np.float64), matrices)
            assert errors(exact, wanted)[0] < 1e-12  # the algorithm itself
            rows[name].append(cell(*errors(convolve(d, g, matrices), wanted)))
    return markdown(["points", *(f"{n} channel{'s' * (n > 1)}" for n in CHANNELS)], list(rows.values()))
