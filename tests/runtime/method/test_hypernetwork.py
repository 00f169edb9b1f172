from __future__ import annotations

import torch
from torch import nn

from likeness_runtime.method.hypernetwork import Hypernetwork, Widths

WIDTHS: Widths = {"a.to_q": (8, 8), "a.to_k": (6, 8), "b.to_q": (16, 16), "b.to_k": (6, 16)}


def a_network(rank: int = 2) -> Hypernetwork:
    torch.manual_seed(0)
    return Hypernetwork(WIDTHS, rank=rank, width=32, layers=2, heads=2)


def some_features(subjects: int) -> torch.Tensor:
    return torch.randn(subjects, 5, 32, generator=torch.Generator().manual_seed(1))


def test_a_new_hypernetwork_changes_nothing_but_can_learn() -> None:
    network = a_network()
    offsets = network(some_features(3))
    assert all(torch.count_nonzero(each.delta()) == 0 for each in offsets.values())
    torch.stack([each.delta().sum() for each in offsets.values()]).sum().backward()
    for head in network.head_B.values():
        assert isinstance(head, nn.Linear)
        assert head.weight.grad is not None
        assert head.weight.grad.abs().max() > 0


def test_every_projection_gets_factors_of_its_own_widths() -> None:
    for path, each in a_network(rank=3)(some_features(2)).items():
        i, o = WIDTHS[path]
        assert each.A.shape == (2, 3, i)
        assert each.B.shape == (2, o, 3)


def test_one_pair_of_heads_serves_all_projections_of_a_width() -> None:
    network = a_network()
    assert set(network.head_A) == {"6", "8", "16"}
    assert set(network.head_B) == {"8", "16"}


def test_projections_of_one_width_get_different_factors() -> None:
    offsets = a_network()(some_features(1))
    assert (offsets["a.to_k"].A - offsets["b.to_k"].A).abs().max() > 1e-3


def test_A_starts_at_the_size_that_LoRA_draws_it_with() -> None:  # noqa: N802
    A = a_network()(some_features(64))["b.to_q"].A
    assert 0.5 < float(A.detach().std()) * (3 * 16) ** 0.5 < 2.0


def test_subjects_together_equal_each_alone() -> None:
    network, features = a_network(), some_features(2)
    together = network(features)
    for subject in (0, 1):
        alone = network(features[subject, None])
        for path, each in together.items():
            torch.testing.assert_close(alone[path].A[0], each.A[subject], rtol=1e-4, atol=1e-6)
