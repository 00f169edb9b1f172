"""The views of a subject that tuning draws from: the squared picture, slightly closer crops, and mirror images."""

from __future__ import annotations

import torch
from PIL import Image, ImageOps

from likeness_runtime.image.decode import squared

CROPS = 1
"""Closer crops of each picture, next to the whole one: each view costs a pass of the VAE, and few steps see few."""
SMALLEST_CROP = 0.85
"""Side of the closest crop as a share of the square's: near enough to be the same subject."""


def views_of(pictures: list[Image.Image], side_px: int, generator: torch.Generator) -> list[Image.Image]:
    """The first picture's whole square comes first."""
    views = []
    for picture in pictures:
        square = squared(picture, side_px)
        crops = [_closer(square, generator) for _ in range(CROPS)]
        views += [square, *crops, *(ImageOps.mirror(view) for view in (square, *crops))]
    return views


def _closer(square: Image.Image, generator: torch.Generator) -> Image.Image:
    scale, across, down = torch.rand(3, generator=generator).tolist()
    side = square.width * (SMALLEST_CROP + (1.0 - SMALLEST_CROP) * scale)
    left, top = across * (square.width - side), down * (square.height - side)
    return square.resize(square.size, Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
