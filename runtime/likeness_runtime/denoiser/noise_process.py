"""How latents become noise, and what a network that predicts from noisy latents is compared with.

Method and pre-training know only `NoiseProcess`. `DDPM` is the one that Stable Diffusion was trained with; another
one, such as rectified flow, is a further class in this file and a line where a model is loaded.

Letters: c h w latent channels, height, width; a row is one noisy latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from einops import reduce
from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction"]

Rounding = Literal["down", "nearest", "up"]
"""How a place between two timesteps becomes one of them. Callers differ in it, and their published figures were made
so; a process in continuous time has nothing to round."""
ROUNDED: dict[Rounding, Callable[[float], int]] = {"down": math.floor, "nearest": round, "up": math.ceil}


class NoiseProcess(Protocol):
    """Times, noisy latents and the network's target."""

    @property
    def prediction_type(self) -> str:
        """What the network predicts, as the configuration of a diffusers scheduler names it."""

    def draw_times(self, draws: int, generator: torch.Generator) -> Tensor:
        """One time from each of `draws` equal parts of the schedule, (draws,), on the generator's device."""

    def draw_independent_times(self, rows: int, generator: torch.Generator) -> Tensor:
        """Times drawn uniformly and independently, (rows,), on the generator's device."""

    def times_at(self, shares: Sequence[float], rounding: Rounding) -> Tensor:
        """The times at `shares` of the schedule, 0 for its first and 1 for its last one, (shares,), on the device."""

    def noised(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The noisy latents z_t of rows z (rows, c, h, w) at times t (rows,)."""

    def target(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What a perfect network predicts from `noised(z, noise, t)`, (rows, c, h, w)."""

    def signal(self, prediction: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        """The latents z_0 without noise that a prediction (rows, c, h, w) from z_t amounts to."""


def prediction_losses(process: NoiseProcess, prediction: Tensor, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Each row's mean squared distance of a prediction (rows, c, h, w) from the target, (rows,), in float32."""
    target = process.target(z, noise, t)
    return reduce((prediction.float() - target.float()).square(), "rows c h w -> rows", "mean")


@dataclass(frozen=True)
class DDPM:
    """The variance-preserving process in discrete steps (Ho et al., arXiv:2006.11239)."""

    alphas_cumprod: Tensor
    """(T,) float32, on the device: the signal's share of the variance at each training timestep."""
    prediction_type: PredictionType
    """The network predicts the noise, or v = sqrt(a) noise - sqrt(1 - a) z (Salimans and Ho, arXiv:2202.00512)."""

    def draw_times(self, draws: int, generator: torch.Generator) -> Tensor:
        """One timestep from each of `draws` equal parts of the schedule, (draws,): few draws see high and low noise."""
        steps = len(self.alphas_cumprod)
        parts = torch.arange(draws) + torch.rand(draws, generator=generator)
        return (parts / draws * steps).long().clamp(max=steps - 1)

    def draw_independent_times(self, rows: int, generator: torch.Generator) -> Tensor:
        """Timesteps drawn uniformly and independently, (rows,)."""
        return torch.randint(len(self.alphas_cumprod), (rows,), generator=generator)

    def times_at(self, shares: Sequence[float], rounding: Rounding) -> Tensor:
        """The timesteps at `shares` of the way from the first to the last one, (shares,), on the device."""
        last = len(self.alphas_cumprod) - 1
        timesteps = [ROUNDED[rounding](share * last) for share in shares]
        return torch.tensor(timesteps, device=self.alphas_cumprod.device)

    def noised(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """z_t = sqrt(a) z + sqrt(1 - a) noise, with a the cumulative alpha at each row's timestep (DDPM, eq. 4)."""
        a = self._alpha_bar(t)
        return a.sqrt() * z + (1.0 - a).sqrt() * noise

    def target(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The noise (DDPM, eq. 14), or v = sqrt(a) noise - sqrt(1 - a) z (Salimans and Ho, appendix D)."""
        if self.prediction_type == "epsilon":
            return noise
        a = self._alpha_bar(t)
        return a.sqrt() * noise - (1.0 - a).sqrt() * z

    def signal(self, prediction: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        """z_0 = (z_t - sqrt(1 - a) noise) / sqrt(a), or sqrt(a) z_t - sqrt(1 - a) v."""
        a = self._alpha_bar(t)
        if self.prediction_type == "epsilon":
            return (z_t - (1.0 - a).sqrt() * prediction) / a.sqrt()
        return a.sqrt() * z_t - (1.0 - a).sqrt() * prediction

    def _alpha_bar(self, t: Tensor) -> Tensor:
        return self.alphas_cumprod[t][:, None, None, None]
