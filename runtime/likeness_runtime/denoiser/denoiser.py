"""What the method needs of the network that denoises; each architecture implements it, and nobody else looks inside.

Letters: s subjects, n places, d a feature's width, c h w latent channels, height, width.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from likeness_runtime.denoiser.lora import Offsets, Sites
from likeness_runtime.denoiser.text import Conditioning


@dataclass(frozen=True)
class Features:
    """What one network sees in each row's picture."""

    summaries: list[Tensor]
    """(rows, d) each."""
    patches: Tensor
    """(rows, n, d)"""

    def repeated(self, times: int) -> Features:
        """Every row `times` times, next to itself."""
        summaries = [each.repeat_interleave(times, dim=0) for each in self.summaries]
        return Features(summaries, self.patches.repeat_interleave(times, dim=0))


@dataclass(frozen=True)
class FeatureWidths:
    """The d of each tensor of a denoiser's `Features`."""

    summaries: list[int]
    patches: int


def unguided() -> bool:
    """No row of the batch is there for guidance alone."""
    return False


class Denoiser(Protocol):
    """A frozen network that predicts from noisy latents and text."""

    @property
    def network(self) -> nn.Module:
        """The module itself: for what counts, freezes or measures its weights."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the network computes in."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """The (c, h, w) that the network was trained at."""

    def predict(self, z_t: Tensor, t: Tensor, text: Conditioning) -> Tensor:
        """The network's prediction (rows, c, h, w) for noisy latents of that shape at times (rows,), in its `dtype`."""

    def adapter_sites(self) -> Sites:
        """The linear layers that offsets are learned for, by path, in the network's own order.

        Raises `RunError(ModelNotFound)` where there are none: tuning would silently change nothing.
        """

    def feature_widths(self) -> FeatureWidths:
        """The widths of what `features` gives."""

    def features(self, z_t: Tensor, t: Tensor, text: Conditioning) -> Features:
        """What the untouched network sees in noisy latents (rows, c, h, w) under one row of text, without gradients."""

    def enable_gradient_checkpointing(self) -> None:
        """From now on the backward pass computes activations again instead of keeping them all."""

    def paths(
        self, offsets: Offsets, alpha: float, guided: Callable[[], bool] = unguided
    ) -> AbstractContextManager[None]:
        """Within, the network takes text made by `paired` and blends the personalized with the untouched path.

        `alpha` is the personalized path's share. With 0 the answer is the untouched network's for the hard prompt.
        While `guided()` is true, a batch's first half is there for guidance alone, and takes the untouched path.
        Afterwards the network is what it was. Raises ValueError where alpha is not from 0 to 1.
        """
