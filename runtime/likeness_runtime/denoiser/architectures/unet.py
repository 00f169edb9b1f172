"""A Stable Diffusion UNet as a `Denoiser`. Letters: c h w latent channels, height, width."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from likeness_runtime.denoiser.architectures.attention import attention_projections, dual_path
from likeness_runtime.denoiser.denoiser import Features, FeatureWidths, unguided
from likeness_runtime.denoiser.lora import Offsets, Sites
from likeness_runtime.denoiser.text import Conditioning


@dataclass(frozen=True)
class UNetDenoiser:
    """diffusers' UNet2DConditionModel, behind the `Denoiser` protocol, where its methods are described."""

    network: Any
    side_px_per_latent: int
    """How many pixels of a picture's side a latent has."""

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.network.dtype
        return dtype

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        side = latent_side(self.network.config)
        return int(self.network.config.in_channels), side, side

    def predict(self, z_t: Tensor, t: Tensor, text: Conditioning) -> Tensor:
        added = None
        if text.pooled is not None:
            # SDXL's sizes of the original picture, its crop and the target: a whole picture of this size.
            side = z_t.shape[-1] * self.side_px_per_latent
            time_ids = torch.tensor([side, side, 0, 0, side, side], device=z_t.device, dtype=self.dtype)
            added = {"text_embeds": text.pooled.to(self.dtype), "time_ids": time_ids.expand(len(z_t), 6)}
        states = text.states.to(self.dtype)
        answer = self.network(z_t.to(self.dtype), t, states, added_cond_kwargs=added, return_dict=False)
        prediction: Tensor = answer[0]
        return prediction

    def adapter_sites(self) -> Sites:
        return attention_projections(self.network)

    def feature_widths(self) -> FeatureWidths:
        channels = list(self.network.config.block_out_channels)
        return FeatureWidths([*channels, channels[-1]], channels[-1])  # each down block, then the mid block

    @torch.no_grad()
    def features(self, z_t: Tensor, t: Tensor, text: Conditioning) -> Features:
        """The mean over the places of every down block's and the mid block's output, and the mid block's places.

        The UNet is stopped half-way: its up blocks would be computed for nothing.
        """
        found: list[Tensor] = []

        def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
            found.append(output[0] if isinstance(output, tuple) else output)
            if module is self.network.mid_block:
                raise _MidBlockReachedError

        blocks = [*self.network.down_blocks, self.network.mid_block]
        handles = [block.register_forward_hook(keep) for block in blocks]
        try:
            self.predict(z_t, t, text.expanded(len(z_t)))
        except _MidBlockReachedError:
            pass
        finally:
            for handle in handles:
                handle.remove()
        summaries = [each.float().mean(dim=(2, 3)) for each in found]
        return Features(summaries, rearrange(found[-1], "rows c h w -> rows (h w) c"))

    def enable_gradient_checkpointing(self) -> None:
        self.network.enable_gradient_checkpointing()

    def paths(
        self, offsets: Offsets, alpha: float, guided: Callable[[], bool] = unguided
    ) -> AbstractContextManager[None]:
        return dual_path(self.network, offsets, alpha, guided)


def latent_side(config: Any) -> int:
    """The side of the square latents that a UNet was trained at; its configuration may hold height and width."""
    size = config.sample_size
    return int(size if isinstance(size, int) else size[0])


class _MidBlockReachedError(Exception):
    """No fault: leaves the UNet after its mid block."""
