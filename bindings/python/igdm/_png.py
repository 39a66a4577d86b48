"""Small images as PNG, and PNGs as data URLs, so that a report needs no file beside it."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def data_url(image: NDArray[Any]) -> str:
    """An image (C, H, W) with values in [0,1] as a data URL; with neither 1 nor 3 channels the first one is shown."""
    colours = image if len(image) == 3 else image[:1]
    pixels = np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    return "data:image/png;base64," + base64.b64encode(encode(pixels)).decode()


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """uint8 (H, W, 1) grey or (H, W, 3) RGB as a PNG file."""
    height, width, channels = pixels.shape
    colour_type = {1: 0, 3: 2}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter, 0 = none
    rows[:, 1:] = pixels.reshape(height, -1)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    compressed = zlib.compress(rows.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")
