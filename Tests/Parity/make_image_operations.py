"""Writes Tests/DistillationTests/Fixtures/image_operations.txt: what Pillow makes of small images by the
operations of augmentation policies.

    python Tests/Parity/make_image_operations.py

Needs Pillow, which the environment of `make test` has. Tests/Python/test_image_operations.py checks that the file is
current, test_live_policies.py that torchvision's policies mean these operations.

Lines are "image NAME CHANNELS HEIGHT WIDTH BYTES" and "NAME OPERATION MAGNITUDE BYTES"; bytes are hexadecimal, in the
order (channels, height, width).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

FIXTURE = Path(__file__).parents[1] / "DistillationTests" / "Fixtures" / "image_operations.txt"

Bytes = NDArray[np.uint8]


def images() -> dict[str, Bytes]:
    """(channels, height, width): noise, ramps in a part of the range, and a channel that is constant."""
    random = np.random.default_rng(5)
    ramp = np.add.outer(np.arange(24) * 3, np.arange(24) * 2)
    large = np.stack([ramp + 40, 200 - ramp, random.integers(60, 200, (24, 24))])
    flat = random.integers(30, 220, (3, 6, 5))
    flat[1] = 77
    return {
        "color": random.integers(0, 256, (3, 9, 8)).astype(np.uint8),
        "grey": random.integers(0, 256, (1, 7, 10)).astype(np.uint8),
        "large": large.astype(np.uint8),
        "flat": flat.astype(np.uint8),
        "thin": random.integers(0, 256, (1, 2, 5)).astype(np.uint8),
    }


def affine(image: Image.Image, *matrix: float) -> Image.Image:
    fill = 0 if image.mode == "L" else (0, 0, 0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=fill)


OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "shear-x": lambda image, by: affine(image, 1, by, 0, 0, 1, 0),
    "shear-y": lambda image, by: affine(image, 1, 0, 0, by, 1, 0),
    "shear-x-middle": lambda image, by: affine(image, 1, by, -by * image.height / 2, 0, 1, 0),
    "shear-y-middle": lambda image, by: affine(image, 1, 0, 0, by, 1, -by * image.width / 2),
    "translate-x": lambda image, by: affine(image, 1, 0, -int(by), 0, 1, 0),
    "translate-y": lambda image, by: affine(image, 1, 0, 0, 0, 1, -int(by)),
    "rotate": lambda image, degrees: image.rotate(degrees, Image.Resampling.NEAREST),
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "colour": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "posterise": lambda image, bits: ImageOps.posterize(image, int(bits)),
    "solarise": lambda image, threshold: ImageOps.solarize(image, threshold),
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalise": lambda image, _: ImageOps.equalize(image),
    "invert": lambda image, _: ImageOps.invert(image),
}

FACTORS = (0.0, 0.01, 0.37, 1.0, 1.5, 1.99)
MAGNITUDES: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(["shear-x", "shear-y"], (0.3, -0.3, 0.99, -0.0333)),
    **dict.fromkeys(["shear-x-middle", "shear-y-middle"], (math.tan(0.35), -math.tan(0.05), 0.1234)),
    **dict.fromkeys(["translate-x", "translate-y"], (0.0, 3.99, -2.5, 32.0, -4.0)),
    "rotate": (0.0, 3.0, -10.0, 30.0, -90.0, 117.0, -135.0),
    **dict.fromkeys(["brightness", "colour", "contrast", "sharpness"], FACTORS),
    "posterise": (8.0, 4.0, 2.0),
    "solarise": (255.0, 127.5, 28.333, 0.0),
    **dict.fromkeys(["autocontrast", "equalise", "invert"], (0.0,)),
}
OF_VALUES = ("autocontrast", "equalise", "invert", "posterise", "solarise")


def to_pillow(image: Bytes) -> Image.Image:
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def from_pillow(image: Image.Image) -> Bytes:
    values = np.asarray(image)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def lines() -> Iterator[str]:
    for name, image in images().items():
        yield f"image {name} {' '.join(map(str, image.shape))} {image.tobytes().hex()}"
        for operation, magnitudes in MAGNITUDES.items():
            if name == "large" and operation not in OF_VALUES:
                continue
            for magnitude in magnitudes:
                result = from_pillow(OPERATIONS[operation](to_pillow(image), magnitude))
                yield f"{name} {operation} {magnitude!r} {result.tobytes().hex()}"


def main() -> None:
    FIXTURE.parent.mkdir(exist_ok=True)
    FIXTURE.write_text("\n".join(lines()) + "\n")
    print(f"{FIXTURE}: {FIXTURE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
