"""Regularisation of the word embedding: near to vocabulary words, away from other concepts, not too long.

Arar et al., arXiv:2307.06925, "embedding regularization". The paper's numbers for K, tau and the weights are not known
to us: all defaults here are ours (docs/method.md).

Letters: s subjects, w whole words, m negatives, K nearest words, d text width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.method.nearest_word import whole_words


@dataclass(frozen=True)
class Strength:
    """How strongly v* is held; all [ours]."""

    neighbours: int = 10
    """K, the nearest words that pull."""
    temperature: float = 0.07
    """tau."""
    contrastive: float = 0.01
    """lambda_c; 0 turns the term off."""
    norm: float = 0.01
    """lambda_2; 0 turns the term off."""


@dataclass(frozen=True)
class Vocabulary:
    """The whole words of one text encoder."""

    ids: Tensor
    """(w,)"""
    rows: Tensor
    """(w, d) float32, their rows T of the token table."""

    @property
    def mean(self) -> Tensor:
        """(d,)"""
        return self.rows.mean(0)

    @property
    def spread(self) -> Tensor:
        """Root mean square length of a row's distance from the mean, a scalar."""
        return (self.rows - self.mean).square().sum(1).mean().sqrt()


def vocabularies(model: DiffusionModel) -> list[Vocabulary]:
    """One for each text encoder; their words are the same, in the same order."""
    ids = torch.tensor(list(whole_words(model).values()), device=model.device)
    return [Vocabulary(ids, table[ids].float()) for table in model.text.token_tables]


def contrastive_loss(v_star: Tensor, words: Tensor, negatives: Tensor, neighbours: int, temperature: float) -> Tensor:
    """Nearest-neighbour contrastive loss of each v*, (s,), from v* (s, d), words (w, d) and negatives (m, d)
    or, where each subject has its own, (s, m, d).

        L_c = -log [ P / (P + sum_{v'} exp(cos(v*, v') / tau)) ],   P = sum_{j in N(v*)} exp(cos(v*, T_j) / tau)

    with N(v*) the K words of largest cosine. Negatives are other concepts' embeddings: pass the bank of the
    pre-training, never copies of v* itself. Without any (m = 0) the loss is zero, as the formula says.
    """
    cosines = functional.normalize(v_star, dim=-1) @ functional.normalize(words, dim=-1).mT  # (s, w)
    pull = cosines.topk(min(neighbours, len(words)), dim=-1).values / temperature  # (s, K)
    others = functional.normalize(negatives, dim=-1).mT  # (d, m) or (s, d, m)
    push = (functional.normalize(v_star, dim=-1)[:, None, :] @ others)[:, 0] / temperature  # (s, m)
    return torch.logsumexp(torch.cat([pull, push], dim=-1), dim=-1) - torch.logsumexp(pull, dim=-1)


def norm_loss(v_star: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Squared distance of each v* from the table's mean, (s,), in units of the words' own mean square distance."""
    return (v_star - vocabulary.mean).square().sum(-1) / vocabulary.spread.square()


def regularisation(
    embeddings: list[Tensor], vocabulary: list[Vocabulary], banks: list[Tensor], strength: Strength
) -> Tensor:
    """lambda_c L_c + lambda_2 L_2 of each subject, (s,), summed over the text encoders.

    `banks` holds negatives for each text encoder, or nothing: then L_c is zero.
    """
    total = torch.zeros(len(embeddings[0]), device=embeddings[0].device)
    for index, (v_star, words) in enumerate(zip(embeddings, vocabulary, strict=True)):
        if strength.contrastive and banks:
            bank = banks[index]
            pulled = contrastive_loss(v_star, words.rows, bank, strength.neighbours, strength.temperature)
            total = total + strength.contrastive * pulled
        if strength.norm:
            total = total + strength.norm * norm_loss(v_star, words)
    return total


def nearest_ids(embeddings: list[Tensor], vocabulary: list[Vocabulary]) -> Tensor:
    """Each subject's nearest whole word, (s,) token ids, without leaving the device; SDXL averages its two cosines."""
    cosines = [
        functional.normalize(v_star.detach().float(), dim=-1) @ functional.normalize(words.rows, dim=-1).mT
        for v_star, words in zip(embeddings, vocabulary, strict=True)
    ]
    best = torch.stack(cosines).mean(0).argmax(-1)  # (s,)
    return vocabulary[0].ids[best]
