"""From prompts to what a denoiser takes of them: the learned word's embedding is spliced in where its token stands.

No table is touched and no tokenizer learns anything. The same for every architecture; each one defines how
its text encoders' outputs become one `Conditioning`.

Letters: s subjects, n tokens, d text width, p pooled width. Rows of prompts are subject-major, (s b).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError


@dataclass(frozen=True)
class Prompts:
    """Tokenized prompts of one text encoder."""

    ids: Tensor
    """(s b, n); where the learned word stands, an ordinary word's id that only keeps its place."""
    spots: Tensor
    """(s b, n) bool; where the learned word stands."""

    def with_words(self, words: Tensor) -> Prompts:
        """The hard prompts: an ordinary word, ids (s,), in the learned word's place."""
        ids = words.repeat_interleave(len(self.ids) // len(words))[:, None]
        return Prompts(torch.where(self.spots, ids, self.ids), torch.zeros_like(self.spots))


@dataclass(frozen=True)
class Conditioning:
    """The text of each row as a denoiser takes it. Its fields are read in `denoiser/` alone; others hand it on."""

    states: Tensor
    """(rows, n, d)"""
    pooled: Tensor | None
    """(rows, p); None where the architecture takes none."""

    @property
    def tensors(self) -> list[Tensor]:
        """All that a gradient can pass through, in a fixed order."""
        return [self.states] if self.pooled is None else [self.states, self.pooled]

    def as_leaves(self) -> Conditioning:
        """The same numbers, where a graph begins."""
        return self._each(lambda tensor: tensor.detach().requires_grad_())

    def repeated(self, count: int) -> Conditioning:
        """Each row `count` times, next to itself."""
        return self._each(lambda tensor: tensor.repeat_interleave(count, dim=0))

    def expanded(self, rows: int) -> Conditioning:
        """The only row as `rows` rows, without a copy."""
        return self._each(lambda tensor: tensor.expand(rows, *tensor.shape[1:]))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        return Conditioning(change(self.states), None if self.pooled is None else change(self.pooled))


def paired(soft: Conditioning, hard: Conditioning, alpha: float) -> Conditioning:
    """One conditioning for both paths of a denoiser: the states side by side along the tokens, (rows, 2 n, d).

    SDXL's pooled text reaches the network outside of the attention layers; it is blended like them [ours].
    """
    states = torch.cat([soft.states, hard.states.to(soft.states.dtype)], dim=1)
    if soft.pooled is None or hard.pooled is None:
        return Conditioning(states, None)
    return Conditioning(states, alpha * soft.pooled + (1.0 - alpha) * hard.pooled)


def paired_embeds(soft: Tensor | None, hard: Tensor | None, alpha: float) -> Tensor | None:
    """As `paired`, for one of the tensors that `encode_prompt` of a stock pipeline returns, states or pooled text."""
    if soft is None or hard is None:
        return None
    return torch.cat([soft, hard], dim=1) if soft.ndim == 3 else torch.lerp(hard, soft, alpha)


@dataclass(frozen=True)
class TextConditioner:
    """The text side of a loaded model."""

    tokenizers: list[Any]
    encoders: list[Any]
    """In the tokenizers' order."""
    combined: Callable[[list[Any]], Conditioning]
    """From each encoder's output to one conditioning."""
    device: torch.device
    zeroes_empty_prompts: bool = False
    """Whether the model's own pipeline takes zeros for the text of no words, where guidance leads away from it."""

    @property
    def token_tables(self) -> list[Tensor]:
        """The frozen token table T of each text encoder, (V, d)."""
        return [encoder.get_input_embeddings().weight for encoder in self.encoders]

    def tokenize(self, prompts: list[str], token: str) -> list[Prompts]:
        """The prompts for each text encoder, padded and cut to its length."""
        return [_tokenized(tokenizer, prompts, token, self.device) for tokenizer in self.tokenizers]

    def encode(self, prompts: list[Prompts], embeddings: list[Tensor]) -> Conditioning:
        """Text with the learned words in place; `embeddings` holds v* (s, d) of each encoder, for s b prompts."""
        given = zip(self.encoders, prompts, embeddings, strict=True)
        return self.combined([_encoded(encoder, each, v_star) for encoder, each, v_star in given])

    @torch.no_grad()
    def encode_plain(self, prompts: list[str]) -> Conditioning:
        """Text of prompts of ordinary words, a row each."""
        rows = [table[:1].float() for table in self.token_tables]
        return self.encode(self.tokenize(prompts, "<nothing>"), rows)

    def empty(self) -> Conditioning:
        """The text of no words, one row."""
        return self.encode_plain([""])

    def unconditional(self, alpha: float) -> Conditioning | None:
        """Both paths' text of no words, one row; None where the model's own pipeline takes zeros for it."""
        if self.zeroes_empty_prompts:
            return None
        empty = self.empty()
        return paired(empty, empty, alpha)

    def embedding_of(self, word: str) -> list[Tensor]:
        """The word's row of each token table, (d,). Raises `RunError(ModelNotFound)` where it is not one token."""
        rows = []
        for tokenizer, table in zip(self.tokenizers, self.token_tables, strict=True):
            ids = tokenizer(word, add_special_tokens=False).input_ids
            if len(ids) != 1:
                raise RunError(
                    Reason.MODEL_NOT_FOUND, f"the model's tokenizer makes {len(ids)} tokens of {word!r}; expected one"
                )
            rows.append(table[ids[0]].detach().float())
        return rows


def _tokenized(tokenizer: Any, prompts: list[str], token: str, device: torch.device) -> Prompts:
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


def _encoded(encoder: Any, prompts: Prompts, v_star: Tensor) -> Any:
    def splice(_table: Any, _inputs: Any, output: Tensor) -> Tensor:
        learned = v_star.to(output.dtype).repeat_interleave(len(output) // len(v_star), dim=0)  # (s b, d)
        return torch.where(prompts.spots[:, :, None], learned[:, None, :], output)

    handle = encoder.get_input_embeddings().register_forward_hook(splice)
    try:
        return encoder(prompts.ids, output_hidden_states=True)
    finally:
        handle.remove()
