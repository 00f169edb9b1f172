from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from likeness_runtime.method.contrastive import (
    Strength,
    Vocabulary,
    contrastive_loss,
    nearest_ids,
    norm_loss,
    regularisation,
)

WORDS, WIDTH = 12, 6
NOBODY = torch.zeros(0, WIDTH)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def a_vocabulary(seed: int = 0) -> Vocabulary:
    return Vocabulary(torch.arange(100, 100 + WORDS), drawn(WORDS, WIDTH, seed=seed))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return functional.cosine_similarity(a, b, dim=-1)


@given(seed=st.integers(0, 999), neighbours=st.integers(1, WORDS), temperature=st.floats(0.05, 2.0))
@settings(max_examples=25)
def test_the_loss_is_the_formula_written_out(seed: int, neighbours: int, temperature: float) -> None:
    v_star, words, negatives = drawn(WIDTH, seed=seed), drawn(WORDS, WIDTH, seed=1), drawn(3, WIDTH, seed=2)
    near = sorted((float(cosine(v_star, word)) for word in words), reverse=True)[:neighbours]
    pull = sum(math.exp(c / temperature) for c in near)
    push = sum(math.exp(float(cosine(v_star, other)) / temperature) for other in negatives)
    loss = contrastive_loss(v_star[None], words, negatives, neighbours, temperature)
    assert float(loss) == pytest.approx(-math.log(pull / (pull + push)), rel=1e-3, abs=1e-5)


def test_a_step_down_the_gradient_goes_towards_the_nearest_words_and_away_from_negatives() -> None:
    words, negatives = drawn(WORDS, WIDTH), drawn(4, WIDTH, seed=5)
    v_star = drawn(1, WIDTH, seed=3).requires_grad_()
    near = cosine(v_star.detach(), words).topk(2).indices
    contrastive_loss(v_star, words, negatives, 2, 0.5).sum().backward()
    assert v_star.grad is not None
    moved = v_star.detach() - 0.1 * v_star.grad
    assert cosine(moved, words[near]).mean() > cosine(v_star.detach(), words[near]).mean()
    assert cosine(moved, negatives).mean() < cosine(v_star.detach(), negatives).mean()


def test_without_negatives_the_loss_is_zero() -> None:
    assert torch.equal(contrastive_loss(drawn(2, WIDTH), drawn(WORDS, WIDTH), NOBODY, 3, 0.1), torch.zeros(2))


def test_negatives_can_be_each_subjects_own() -> None:
    v_star, words, negatives = drawn(2, WIDTH), drawn(WORDS, WIDTH, seed=1), drawn(2, 3, WIDTH, seed=2)
    together = contrastive_loss(v_star, words, negatives, 3, 0.1)
    alone = [contrastive_loss(v_star[row, None], words, negatives[row], 3, 0.1) for row in (0, 1)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_subjects_together_cost_what_each_costs_alone() -> None:
    vocabulary, bank = a_vocabulary(), drawn(4, WIDTH, seed=8)
    v_star = drawn(3, WIDTH, seed=9)
    together = regularisation([v_star], [vocabulary], [bank], Strength())
    alone = [regularisation([v_star[row, None]], [vocabulary], [bank], Strength()) for row in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_the_norm_is_zero_at_the_words_mean_and_one_on_average_over_the_words() -> None:
    vocabulary = a_vocabulary()
    assert float(norm_loss(vocabulary.mean[None], vocabulary)) == pytest.approx(0, abs=1e-9)
    assert float(norm_loss(vocabulary.rows, vocabulary).mean()) == pytest.approx(1)


def test_terms_that_are_turned_off_cost_nothing() -> None:
    off = Strength(contrastive=0.0, norm=0.0)
    total = regularisation([drawn(2, WIDTH)], [a_vocabulary()], [drawn(3, WIDTH, seed=4)], off)
    assert torch.equal(total, torch.zeros(2))


def test_the_nearest_word_of_a_word_is_itself() -> None:
    vocabulary = a_vocabulary()
    assert torch.equal(nearest_ids([3.0 * vocabulary.rows], [vocabulary]), vocabulary.ids)


def test_two_text_encoders_choose_one_word_together() -> None:
    first, second = a_vocabulary(0), a_vocabulary(1)
    embeddings = [first.rows[2, None] + 0.1 * first.rows[5, None], second.rows[5, None]]
    summed = cosine(embeddings[0], first.rows) + cosine(embeddings[1], second.rows)
    assert int(nearest_ids(embeddings, [first, second])) == 100 + int(summed.argmax())
