"""Prompts with a learned word: the word's embedding is spliced in where its token stands, no table is touched.

Letters: b prompts, s subjects, n tokens, d text width, p pooled width. Rows are subject-major.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from likeness_api.reason import Reason
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.failure import RunError


@dataclass(frozen=True)
class Prompts:
    """Prompts as one text encoder reads them."""

    ids: Tensor
    """(b, n); where the learned word stands, an ordinary word's id that only keeps its place."""
    spots: Tensor
    """(b, n) bool; where the learned word stands."""

    def with_words(self, words: Tensor) -> Prompts:
        """The hard prompts: an ordinary word, ids (s,), in the learned word's place; b = s k prompts."""
        ids = words.repeat_interleave(len(self.ids) // len(words))[:, None]
        return Prompts(torch.where(self.spots, ids, self.ids), torch.zeros_like(self.spots))


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told about the text."""

    states: Tensor
    """(b, n, d)"""
    pooled: Tensor | None
    """(b, p); SDXL only."""

    def repeated(self, count: int) -> Conditioning:
        """Each row `count` times, (b count, ...)."""
        pooled = None if self.pooled is None else self.pooled.repeat_interleave(count, dim=0)
        return Conditioning(self.states.repeat_interleave(count, dim=0), pooled)


def read(model: DiffusionModel, prompts: list[str], token: str) -> list[Prompts]:
    """The prompts for each text encoder, padded and cut to its length."""
    return [_read(tokenizer, prompts, token, model.device) for tokenizer in model.tokenizers]


def encode(model: DiffusionModel, prompts: list[Prompts], embeddings: list[Tensor]) -> Conditioning:
    """Text states with the learned words in place; `embeddings` holds v* (s, d) of each encoder, b = s k prompts."""
    read_by = zip(model.text_encoders, prompts, embeddings, strict=True)
    outputs = [_encode(encoder, each, v_star) for encoder, each, v_star in read_by]
    if not model.is_xl:
        return Conditioning(outputs[0][0], None)
    # SDXL reads the last layer but one of both towers, and the second tower's projected summary.
    states = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    return Conditioning(states, outputs[1][0])


@torch.no_grad()
def encode_plain(model: DiffusionModel, prompts: list[str]) -> Conditioning:
    """Text states of prompts of ordinary words, (b, n, d)."""
    rows = [table[:1].float() for table in model.token_tables]
    return encode(model, read(model, prompts, "<nothing>"), rows)


def embedding_of(model: DiffusionModel, word: str) -> list[Tensor]:
    """The word's row of each token table, (d,). Raises `RunError(ModelNotFound)` where it is not one token."""
    rows = []
    for tokenizer, table in zip(model.tokenizers, model.token_tables, strict=True):
        ids = tokenizer(word, add_special_tokens=False).input_ids
        if len(ids) != 1:
            raise RunError(
                Reason.MODEL_NOT_FOUND, f"the model's tokenizer makes {len(ids)} tokens of {word!r}; expected one"
            )
        rows.append(table[ids[0]].detach().float())
    return rows


def _read(tokenizer: Any, prompts: list[str], token: str, device: torch.device) -> Prompts:
    extended = copy.deepcopy(tokenizer)
    extended.add_tokens([token])
    ids = extended(
        prompts,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    spots = ids == extended.convert_tokens_to_ids(token)
    # The stand-in must be below the end token: CLIP's summary is read where the largest id stands.
    stand_in = min(id_ for id_ in range(len(tokenizer)) if id_ not in tokenizer.all_special_ids)
    return Prompts(ids.masked_fill(spots, stand_in).to(device), spots.to(device))


def _encode(encoder: Any, prompts: Prompts, v_star: Tensor) -> Any:
    def splice(_table: Any, _inputs: Any, output: Tensor) -> Tensor:
        learned = v_star.to(output.dtype).repeat_interleave(len(output) // len(v_star), dim=0)  # (b, d)
        return torch.where(prompts.spots[:, :, None], learned[:, None, :], output)

    handle = encoder.get_input_embeddings().register_forward_hook(splice)
    try:
        return encoder(prompts.ids, output_hidden_states=True)
    finally:
        handle.remove()
