"""Where tuning starts from: a first embedding and first LoRA factors for each subject."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from likeness_runtime.denoiser.lora import Offsets, zero_offsets
from likeness_runtime.denoiser.model import DiffusionModel

START_WORD = "object"
"""What a subject is taken for where nobody knows better."""


@dataclass(frozen=True)
class Prediction:
    """v* and the offsets of s subjects; tuning moves copies of these, never the model."""

    embeddings: list[Tensor]
    """One (s, d) float32 for each text encoder."""
    offsets: Offsets
    negatives: list[Tensor] = field(default_factory=list)
    """Other concepts' embeddings, (m, d) for each text encoder, to keep v* away from; empty where none are known."""


class Predictor(Protocol):
    def predict(
        self,
        model: DiffusionModel,
        pictures: list[list[Image.Image]],
        rank: int,
        generators: list[torch.Generator],
    ) -> Prediction:
        """One prediction for each subject's pictures; every random draw comes from that subject's CPU generator."""


class FromWord:
    """Starts from a plain word and offsets of zero: the untouched model's own `word`."""

    def __init__(self, word: str = START_WORD) -> None:
        self.word = word

    def predict(
        self,
        model: DiffusionModel,
        pictures: list[list[Image.Image]],
        rank: int,
        generators: list[torch.Generator],
    ) -> Prediction:
        rows = model.text.embedding_of(self.word)
        embeddings = [row.repeat(len(pictures), 1) for row in rows]
        return Prediction(embeddings, zero_offsets(model.denoiser.adapter_sites(), rank, generators))
