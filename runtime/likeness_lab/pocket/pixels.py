"""Bytes to tensors: the two ranges pictures come in."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from likeness_lab.pocket.glyphs import Pixels


def pixels_of(pictures: Sequence[Pixels], device: torch.device) -> Tensor:
    """Bytes (h, w, 3) to the tensor (k, 3, h, w) in [-1, 1] that the VAE and the image tower take."""
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(device)
    return (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def images_of(pictures: Sequence[Pixels]) -> Tensor:
    """Bytes (h, w, 3) to the tensor (k, 3, h, w) in [0, 1] that judges take."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
