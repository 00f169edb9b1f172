"""The dual path's two texts: the soft prompt names the learned word, the hard one an ordinary word in its place."""

from __future__ import annotations

import torch
from torch import Tensor

from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.text import Conditioning, Prompts, paired
from likeness_runtime.method.contrastive import Vocabulary, nearest_ids


def dual_prompt(
    model: DiffusionModel,
    prompts: list[Prompts],
    embeddings: list[Tensor],
    vocabulary: list[Vocabulary],
    *,
    alpha: float,
    words: Tensor | None = None,
) -> Conditioning:
    """Both paths' text for prompts (s b) with the learned words v* (s, d) of each text encoder.

    The hard prompt names `words`, token ids (s,), or where none are given each subject's nearest word just now.
    """
    soft = model.text.encode(prompts, embeddings)
    if alpha == 1.0:
        return paired(soft, soft, alpha)
    named = nearest_ids(embeddings, vocabulary) if words is None else words
    with torch.no_grad():
        hard = model.text.encode([each.with_words(named) for each in prompts], embeddings)
    return paired(soft, hard, alpha)
