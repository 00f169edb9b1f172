"""Pictures of which no two are alike."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(number: int) -> bytes:
    """A PNG unlike that of any other number."""
    random = np.random.default_rng(number)
    ground, shape = random.integers(0, 256, (2, 3))
    pixels = np.broadcast_to(ground, (96, 96, 3)).astype(np.int16).copy()
    y, x = np.mgrid[0:96, 0:96]
    centre, radius = random.integers(30, 66, 2), random.integers(14, 30)
    pixels[((y - centre[0]) ** 2 + (x - centre[1]) ** 2) < radius**2] = shape
    pixels += random.integers(-6, 7, pixels.shape, dtype=np.int16)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
