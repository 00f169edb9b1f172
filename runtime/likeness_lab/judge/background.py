"""Reads the background off a picture: which of all backgrounds there are explains most of its pixels.

No learning is involved: every background is painted, and a pixel that is far from it counts as hidden by the subject,
equally for all. Images are float tensors (k, 3, 64, 64) in [0, 1].
"""

from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from likeness_lab.pocket.scene import COLOURS, PATTERNS, Background, paint

HIDDEN_DISTANCE: float = 0.35
"""Colour distance (root of summed squares, channels in [0, 1]) from which a pixel counts as hidden."""


@lru_cache(maxsize=1)
def backgrounds() -> tuple[tuple[Background, ...], Tensor]:
    """All 370 backgrounds and their pictures (k, 3, 64, 64) in [0, 1]."""
    plain = [Background("plain", colour, colour) for colour in COLOURS]
    mixed = [Background(pattern, *pair) for pattern in PATTERNS[1:] for pair in permutations(COLOURS, 2)]
    every = (*plain, *mixed)
    pixels = np.stack([paint(background) for background in every])
    return every, torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def read_backgrounds(images: Tensor) -> list[Background]:
    """The background that fits each image best."""
    every, painted = backgrounds()
    painted = painted.to(images.device)
    best = []
    for image in images:
        distance = (painted - image).square().sum(dim=1).sqrt()  # (k, h, w)
        unexplained = distance.clamp(max=HIDDEN_DISTANCE).mean(dim=(1, 2))  # (k,)
        best.append(every[int(unexplained.argmin())])
    return best


def same_colours(expected: Background, found: Background) -> bool:
    """Whether both have the same colours, in whatever order."""
    return {expected.first, expected.second} == {found.first, found.second}


def same_pattern(expected: Background, found: Background) -> bool:
    """Whether both have the same pattern."""
    return expected.pattern == found.pattern
