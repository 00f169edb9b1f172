"""The tuning encoder: one picture and one noisy latent of it, to a word embedding and LoRA factors.

The backbone follows E4T (Gal et al., arXiv:2302.12228) as Arar et al. (arXiv:2307.06925) do: features of a CLIP image
tower, from the class token after every second layer, mixed with the frozen denoiser's features of the noisy latent.
Every one of them passes through its own linear layer and becomes a token. Such summaries say what a subject is made of
and not what shape it has, so the image tower's patches and the places of the denoiser's mid block are tokens as well
[ours]. The embedding head reads the summaries' mean and what that looks for among all tokens, the hypernetwork reads
them all. All widths come from the models' configurations.

Letters: rows, each a picture at a timestep, f summaries, n patches, d a feature's width, w width of this network.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from likeness_runtime.denoiser.denoiser import Features
from likeness_runtime.denoiser.lora import Offsets
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.method.contrastive import Vocabulary
from likeness_runtime.method.hypernetwork import Hypernetwork, Widths, widths_of

IMAGE_LAYER_STRIDE = 2
PATCH_LAYER = -2
"""Which of the taken layers' patches are read: in the last one they serve the class token alone."""


@dataclass(frozen=True)
class Shape:
    """What an encoder's weights fit: the models it was built for, and its own size."""

    image_widths: list[int]
    """Width of each class token taken from the image tower."""
    denoiser_widths: list[int]
    """Channels of each pooled feature map taken from the denoiser."""
    patch_widths: list[int]
    """Width of the image tower's patches and of the mid block's places."""
    text_widths: list[int]
    """Width of each text encoder's token table."""
    projections: dict[str, tuple[int, int]]
    """Input and output width of each adapter site, by its path."""
    rank: int = 4
    width: int = 256
    layers: int = 3
    heads: int = 4

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> Shape:
        """From JSON. Raises KeyError or TypeError where it is none."""
        projections = {path: (int(i), int(o)) for path, (i, o) in description["projections"].items()}
        return cls(**(description | {"projections": projections}))


def shape_for(model: DiffusionModel, image_tower: Any, *, rank: int, width: int, layers: int, heads: int) -> Shape:
    """The shape of an encoder for `model`, fed by a CLIPVisionModel(WithProjection)."""
    vision = image_tower.config
    taken = image_layers(vision.num_hidden_layers)
    denoiser = model.denoiser.feature_widths()
    widths: Widths = widths_of(model.denoiser.adapter_sites())
    return Shape(
        image_widths=[vision.hidden_size] * len(taken),
        denoiser_widths=denoiser.summaries,
        patch_widths=[vision.hidden_size, denoiser.patches],
        text_widths=[table.shape[1] for table in model.text.token_tables],
        projections=widths,
        rank=rank,
        width=width,
        layers=layers,
        heads=heads,
    )


def image_layers(layers: int) -> list[int]:
    """Indices into CLIP's hidden states (0 is the embedding): every second layer, counted back from the last."""
    return list(range(layers, 0, -IMAGE_LAYER_STRIDE))[::-1]


class Encoder(nn.Module):
    """Backbone features in; v* for each text encoder and the LoRA factors out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        feature_widths = [*shape.image_widths, *shape.denoiser_widths]
        self.norms = nn.ModuleList(nn.LayerNorm(d) for d in feature_widths)
        self.linears = nn.ModuleList(nn.Linear(d, shape.width) for d in feature_widths)
        self.places = nn.Parameter(0.02 * torch.randn(len(feature_widths), shape.width))
        self.patch_linears = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(d), nn.Linear(d, shape.width)) for d in shape.patch_widths
        )
        self.look = nn.MultiheadAttention(shape.width, shape.heads, batch_first=True)
        self.embedding_trunk = nn.Sequential(
            nn.LayerNorm(shape.width), nn.Linear(shape.width, 2 * shape.width), nn.GELU()
        )
        self.embedding_heads = nn.ModuleList(nn.Linear(2 * shape.width, d) for d in shape.text_widths)
        self.hypernetwork = Hypernetwork(shape.projections, shape.rank, shape.width, shape.layers, shape.heads)
        for head in (self.look.out_proj, *self.embedding_heads):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def mixed(self, image: Features, denoiser: Features) -> Tensor:
        """The feature tokens (rows, f + n, w), the f summaries first."""
        given = [*image.summaries, *denoiser.summaries]
        summaries = [
            linear(norm(each.float())) for linear, norm, each in zip(self.linears, self.norms, given, strict=True)
        ]
        pairs = zip(self.patch_linears, (image.patches, denoiser.patches), strict=True)
        return torch.cat([torch.stack(summaries, dim=1) + self.places, *(each(x.float()) for each, x in pairs)], dim=1)

    def embeddings(self, features: Tensor, vocabulary: list[Vocabulary]) -> list[Tensor]:
        """v* (rows, d) for each text encoder: the words' mean, plus an offset in units of their spread [ours]."""
        mean = features[:, : len(self.places)].mean(1, keepdim=True)
        looked, _ = self.look(mean, features, features, need_weights=False)
        trunk = self.embedding_trunk((mean + looked)[:, 0])
        heads = zip(self.embedding_heads, vocabulary, strict=True)
        return [words.mean + words.spread * head(trunk) for head, words in heads]

    def offsets(self, features: Tensor) -> Offsets:
        """LoRA factors, with an axis of rows where tuned ones have subjects."""
        offsets: Offsets = self.hypernetwork(features)
        return offsets

    def description(self) -> dict[str, Any]:
        """The shape as JSON."""
        return asdict(self.shape)


def image_features(image_tower: Any, pixels: Tensor) -> Features:
    """Of a CLIP image tower, from pixels (rows, 3, h, w): the class token after every second layer, one's patches."""
    states = image_tower(pixel_values=pixels, output_hidden_states=True).hidden_states
    layers = image_layers(image_tower.config.num_hidden_layers)
    patch_layer = layers[max(PATCH_LAYER, -len(layers))]
    return Features([states[index][:, 0] for index in layers], states[patch_layer][:, 1:])
