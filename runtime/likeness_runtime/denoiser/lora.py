"""LoRA on a denoiser's adapter sites, linear layers: W' = W + B A, for s subjects in one forward pass.

Letters: s subjects, b draws a subject, n tokens, r rank, i and o a layer's input and output width. Rows are
subject-major, (s b): the first b rows belong to subject 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

Sites = dict[str, nn.Linear]
"""The layers that offsets are learned for, by their path in the network."""


@dataclass(frozen=True)
class Factors:
    """One layer's offset, B A. The scale is folded into B, so that alpha = rank everywhere."""

    A: Tensor
    """(s, r, i)"""
    B: Tensor
    """(s, o, r)"""

    def delta(self) -> Tensor:
        """B A, (s, o, i)."""
        return self.B @ self.A


Offsets = dict[str, Factors]
"""By the layer's path in the network, such as `down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q`."""


def zero_offsets(sites: Sites, rank: int, generators: list[torch.Generator]) -> Offsets:
    """Offsets that change nothing: A drawn as by Hu et al. (arXiv:2106.09685), B zero. One CPU generator a subject."""
    offsets: Offsets = {}
    for path, layer in sites.items():
        bound = 1.0 / math.sqrt(layer.in_features)
        draws = [torch.rand(rank, layer.in_features, generator=generator) for generator in generators]
        A = (torch.stack(draws) * 2.0 - 1.0) * bound
        B = torch.zeros(len(generators), layer.out_features, rank)
        offsets[path] = Factors(A.to(layer.weight.device), B.to(layer.weight.device))
    return offsets


@contextmanager
def injected(sites: Sites, offsets: Offsets) -> Iterator[None]:
    """Within, every site in `offsets` adds its offset; afterwards the network is what it was."""
    handles = [sites[path].register_forward_hook(_adding(factors)) for path, factors in offsets.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def low_rank(x: Tensor, factors: Factors) -> Tensor:
    """B A x for the rows (s b, n, i), (s b, n, o), in x's precision."""
    grouped = rearrange(x, "(s b) n i -> s (b n) i", s=factors.A.shape[0])
    low = grouped @ factors.A.to(x.dtype).mT  # (s, b n, r)
    high = low @ factors.B.to(x.dtype).mT  # (s, b n, o)
    return rearrange(high, "s (b n) o -> (s b) n o", n=x.shape[1])


def _adding(factors: Factors) -> Any:
    def hook(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + low_rank(inputs[0], factors)

    return hook
