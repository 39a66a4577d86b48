"""Common corruptions beside the libraries that the published images were made with."""

from __future__ import annotations

import io

import igdm
import numpy as np
import pytest
from PIL import Image

SIZES = [(3, 32, 32), (3, 17, 33), (3, 24, 40), (3, 5, 9), (3, 6, 3), (3, 1, 1), (1, 28, 28), (1, 13, 7)]
"""Whole blocks, parts of blocks, fewer columns than colours are stretched over; grey ones."""


def make_bytes(count: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Waves with some grain; every fifth image is noise in black and white."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[1], : shape[2]]
    images = random.normal(size=(count, *shape)) * 8 + 128
    for image in images:
        for _ in range(5):
            wave = np.sin(random.normal() * 0.25 * y + random.normal() * 0.25 * x + random.uniform(0, 6.3))
            image += 50 * random.normal(size=(shape[0], 1, 1)) * wave
    images[::5] = 255 * random.integers(0, 2, size=images[::5].shape)
    return np.clip(images, 0, 255).astype(np.uint8)


def corrupted(images: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """The corrupted images, whatever they are: the model takes only the clean ones for what they are."""
    clean = {image.tobytes() for image in images}

    def forward(batch: np.ndarray) -> np.ndarray:
        changed = np.array([image.tobytes() not in clean for image in batch], np.float32)
        return np.stack([1 - changed, changed], axis=1)

    host = igdm.HostModel(forward, None, classes=2, input_shape=images.shape[1:])
    return igdm.attack(host, images, np.zeros(len(images), np.int64), name, steps=severity, seed=seed).images


def through_pillow(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
    decoded = np.array(Image.open(file))
    return decoded[np.newaxis] if len(image) == 1 else decoded.transpose(2, 0, 1)


@pytest.mark.parametrize("shape", SIZES)
def test_jpeg_is_pillows(shape: tuple[int, int, int]) -> None:
    """Every byte, with libjpeg-turbo, which Pillow comes with."""
    images = make_bytes(40, shape)
    floats = images / np.float32(255)
    for severity, quality in enumerate([80, 65, 58, 50, 40], 1):
        ours = corrupted(floats, "jpeg_compression", severity)
        wanted = np.stack([through_pillow(image, quality) for image in images])
        np.testing.assert_array_equal(ours, wanted / np.float32(255))
    # Values between bytes are rounded first.
    between = np.clip(floats + np.float32(0.4 / 255), 0, 1)
    np.testing.assert_array_equal(corrupted(between, "jpeg_compression", 5), ours)
