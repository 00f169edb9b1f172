"""The hypernetwork: from the backbone's features to LoRA factors of every attention projection.

A dense head would need a billion parameters for SD 1.5. So each projection has one learned query; the queries read the
features in a few transformer layers, and one pair of heads for each distinct width, shared by all projections of that
width, turns a query's state into the r vectors of A and of B. B's head starts at zero: the model is untouched at first.

The paper (Arar et al., arXiv:2307.06925) says that a hypernetwork predicts the offsets; this factorisation is ours.

Letters: rows, each a picture at a timestep, f feature tokens, p adapter sites, w width of this network, r rank, i and o
a site's widths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn

from likeness_runtime.denoiser.lora import Factors, Offsets, Sites

Widths = dict[str, tuple[int, int]]
"""Input and output width of each adapter site, by its path in the network."""


def widths_of(sites: Sites) -> Widths:
    """Every adapter site's widths, read off the network."""
    return {path: (layer.in_features, layer.out_features) for path, layer in sites.items()}


class Hypernetwork(nn.Module):
    """Features (rows, f, w) in, LoRA factors with a leading axis of rows out."""

    def __init__(self, widths: Mapping[str, tuple[int, int]], rank: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.widths = dict(widths)
        self.rank = rank
        self.queries = nn.Parameter(torch.randn(len(self.widths), width))
        layer = nn.TransformerDecoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.reader = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(width))
        inputs = sorted({i for i, _ in self.widths.values()})
        outputs = sorted({o for _, o in self.widths.values()})
        self.head_A = nn.ModuleDict({str(i): nn.Linear(width, rank * i) for i in inputs})
        self.head_B = nn.ModuleDict({str(o): nn.Linear(width, rank * o) for o in outputs})
        for head in self.head_B.values():
            assert isinstance(head, nn.Linear)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, features: Tensor) -> Offsets:
        """A is scaled to the size that LoRA draws it with, 1 / sqrt(3 i)."""
        states = self.reader(self.queries.expand(len(features), -1, -1), features)  # (rows, p, w)
        offsets: Offsets = {}
        for index, (path, (i, o)) in enumerate(self.widths.items()):
            A = rearrange(self.head_A[str(i)](states[:, index]), "rows (r i) -> rows r i", i=i) / math.sqrt(i)
            B = rearrange(self.head_B[str(o)](states[:, index]), "rows (o r) -> rows o r", o=o)
            offsets[path] = Factors(A, B)
        return offsets
