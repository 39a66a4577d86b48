"""AutoAugment's table and the operations of make_image_operations.py are torchvision's."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from make_image_operations import MAGNITUDES, OPERATIONS, images, to_pillow
from PIL import Image
from test_live_definitions import torchvision_models

SOURCE = Path(__file__).parents[2] / "Sources" / "Distillation" / "AugmentationPolicy.swift"
SPELLED = {"color": "colour", "equalize": "equalise", "posterize": "posterise", "solarize": "solarise"}


@pytest.fixture(scope="module")
def transforms() -> ModuleType:
    torchvision_models()
    import torchvision.transforms

    return torchvision.transforms


def test_the_table_of_autoaugment(transforms: ModuleType) -> None:
    def spelled(name: str) -> str:
        return SPELLED.get(name.lower(), name.lower())

    theirs = [
        tuple((spelled(name), probability, level or 0) for name, probability, level in pair)
        for pair in transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10).policies
    ]
    choice = r"\(\.(\w+), ([\d.]+), (\d+)\)"
    ours = [
        ((a.lower(), float(b), int(c)), (d.lower(), float(e), int(f)))
        for a, b, c, d, e, f in re.findall(rf"\({choice}, {choice}\)", SOURCE.read_text())
    ]
    assert len(ours) == 25
    assert ours == theirs


def test_the_operations(transforms: ModuleType) -> None:
    """As AutoAugment and IDBH call them."""
    from torchvision.transforms import functional

    def shear(image: Image.Image, x: float, y: float, **center: list[int]) -> Image.Image:
        angles = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
        return functional.affine(image, 0.0, [0, 0], 1.0, angles, **center)

    theirs = {
        "shear-x": lambda image, by: shear(image, by, 0.0, center=[0, 0]),
        "shear-y": lambda image, by: shear(image, 0.0, by, center=[0, 0]),
        "shear-x-middle": lambda image, by: shear(image, by, 0.0),
        "shear-y-middle": lambda image, by: shear(image, 0.0, by),
        "translate-x": lambda image, by: functional.affine(image, 0.0, [int(by), 0], 1.0, [0.0, 0.0]),
        "translate-y": lambda image, by: functional.affine(image, 0.0, [0, int(by)], 1.0, [0.0, 0.0]),
        "rotate": functional.rotate,
        "brightness": functional.adjust_brightness,
        "colour": functional.adjust_saturation,
        "contrast": functional.adjust_contrast,
        "sharpness": functional.adjust_sharpness,
        "posterise": lambda image, bits: functional.posterize(image, int(bits)),
        "solarise": functional.solarize,
        "autocontrast": lambda image, _: functional.autocontrast(image),
        "equalise": lambda image, _: functional.equalize(image),
        "invert": lambda image, _: functional.invert(image),
    }
    assert set(theirs) == set(OPERATIONS)
    for name, pixels in images().items():
        for operation, magnitudes in MAGNITUDES.items():
            for magnitude in magnitudes:
                results = [np.asarray(one[operation](to_pillow(pixels), magnitude)) for one in (theirs, OPERATIONS)]
                np.testing.assert_array_equal(*results, err_msg=f"{operation} {magnitude} of {name}")
