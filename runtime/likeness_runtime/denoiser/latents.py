"""From pictures to the latents that a denoiser works on. Letters: k pictures, c h w channels, height, width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class LatentSpace:
    """A variational autoencoder, AutoencoderKL of diffusers, and the scale that its denoiser expects."""

    network: Any

    @torch.no_grad()
    def encode(self, pictures: list[Image.Image], at_once: int = 1) -> Tensor:
        """The mean latents of equally large pictures, (k, c, h, w) float32, shifted and scaled for the denoiser.

        One at a time by default: the autoencoder's activations are the largest of a whole tuning.
        """
        pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).to(self.network.device)
        images = rearrange(pixels, "k h w c -> k c h w").to(self.network.dtype) / 127.5 - 1.0
        parts = [self.network.encode(part).latent_dist.mode() for part in images.split(at_once)]
        means: Tensor = torch.cat(parts).float()
        config = self.network.config
        return (means - float(config.shift_factor or 0.0)) * float(config.scaling_factor)
