"""The vocabulary word that a learned embedding is closest to: what a subject was taken for."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from likeness_runtime.denoiser.model import DiffusionModel

WHOLE_WORD = re.compile(r"^([a-z]{3,})</w>$")
"""CLIP's BPE marks a word's end; what has fewer letters, digits or signs is a piece rather than a word."""

WORDS_FILE = "words.txt"
"""In a tokenizer's folder, where its maker knows better: the words that a picture can be of, one a line."""


def nearest_word(model: DiffusionModel, embeddings: list[Tensor]) -> tuple[str, float]:
    """The whole word of largest cosine with v*, and that cosine; `embeddings` as for `nearest_words`."""
    return nearest_words(model, embeddings, 1)[0]


def nearest_words(model: DiffusionModel, embeddings: list[Tensor], count: int) -> list[tuple[str, float]]:
    """The `count` whole words of largest cosine with v*, averaged over the text encoders, nearest first.

    `embeddings` holds one v* (d,) for each encoder; SDXL's two encoders share their vocabulary.
    """
    words = whole_words(model)
    ids = torch.tensor(list(words.values()), device=model.device)
    cosines = [
        functional.cosine_similarity(table[ids].float(), v_star.to(table.device).float()[None], dim=1)
        for table, v_star in zip(model.text.token_tables, embeddings, strict=True)
    ]
    best = torch.stack(cosines).mean(0).topk(min(count, len(words)))
    names = list(words)
    return [(names[index], cosine) for index, cosine in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def whole_words(model: DiffusionModel) -> dict[str, int]:
    """Words and their ids, special tokens and pieces left out.

    A word's tail ("tor" of "tractor") ends like a word. A tokenizer's own `WORDS_FILE` decides, where there is one.
    """
    tokenizer = model.text.tokenizers[0]
    special = set(tokenizer.all_special_ids)
    listed = Path(tokenizer.name_or_path) / WORDS_FILE
    words = set(listed.read_text().split()) if listed.is_file() else None
    found = {}
    for piece, id_ in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]):
        match = WHOLE_WORD.match(piece)
        if match and id_ not in special and (words is None or match[1] in words):
            found[match[1]] = id_
    return found
