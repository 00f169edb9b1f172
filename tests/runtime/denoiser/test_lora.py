from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from likeness_runtime.denoiser.lora import Factors, Offsets, injected, zero_offsets
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.tiny import TINY_KINDS, TinyKind

Models = Callable[[TinyKind], DiffusionModel]


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def random_offsets(model: DiffusionModel, subjects: int) -> Offsets:
    """Offsets that do change something."""
    generator = torch.Generator().manual_seed(9)
    return {
        path: Factors(factors.A, torch.randn(factors.B.shape, generator=generator) * 0.3)
        for path, factors in zero_offsets(model.denoiser.adapter_sites(), 4, generators(subjects)).items()
    }


@torch.no_grad()
def answer(model: DiffusionModel, rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    z_t = torch.randn(rows, 4, 16, 16, generator=generator)
    return model.denoiser.predict(z_t, torch.full((rows,), 500), model.text.encode_plain(["a red cat"] * rows))


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_zero_offsets_equal_the_base(tiny_model: Models, kind: TinyKind) -> None:
    model = tiny_model(kind)
    plain = answer(model, 2)
    with injected(model.denoiser.adapter_sites(), zero_offsets(model.denoiser.adapter_sites(), 4, generators(2))):
        assert torch.equal(answer(model, 2), plain)


def test_a_removed_injection_leaves_no_trace(tiny_model: Models) -> None:
    model = tiny_model("sd15")
    plain = answer(model, 2)
    with injected(model.denoiser.adapter_sites(), random_offsets(model, 1)):
        assert not torch.allclose(answer(model, 2), plain)
    assert torch.equal(answer(model, 2), plain)


def test_an_injection_is_removed_also_after_an_error(tiny_model: Models) -> None:
    model = tiny_model("sd15")
    plain = answer(model, 2)
    with pytest.raises(ZeroDivisionError), injected(model.denoiser.adapter_sites(), random_offsets(model, 1)):
        _ = 1 / 0
    assert torch.equal(answer(model, 2), plain)


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_merged_equals_unmerged(tiny_model: Models, kind: TinyKind) -> None:
    model = tiny_model(kind)
    offsets = random_offsets(model, 1)
    with injected(model.denoiser.adapter_sites(), offsets):
        unmerged = answer(model, 2)
    layers = model.denoiser.adapter_sites()
    before = {path: layers[path].weight.clone() for path in offsets}
    for path, factors in offsets.items():
        layers[path].weight.data += factors.delta()[0]
    merged = answer(model, 2)
    for path, weight in before.items():
        layers[path].weight.data = weight
    assert torch.allclose(merged, unmerged, atol=1e-4)


def test_subjects_together_equal_each_alone(tiny_model: Models) -> None:
    model = tiny_model("sd15")
    offsets = random_offsets(model, 3)
    with injected(model.denoiser.adapter_sites(), offsets):
        together = answer(model, 6)
    for subject in range(3):
        alone = {path: Factors(each.A[subject][None], each.B[subject][None]) for path, each in offsets.items()}
        with injected(model.denoiser.adapter_sites(), alone):
            rows = slice(2 * subject, 2 * subject + 2)
            assert torch.allclose(answer(model, 6)[rows], together[rows], atol=1e-4)


def test_every_attention_has_its_four_projections(tiny_model: Models) -> None:
    paths = list(tiny_model("sd15").denoiser.adapter_sites())
    assert len(paths) == 4 * 2 * sum("transformer_blocks.0.attn1.to_q" in path for path in paths)
    assert {path.split(".attn")[1][2:] for path in paths} == {"to_q", "to_k", "to_v", "to_out.0"}


def test_a_subject_starts_from_its_own_seed_whoever_is_beside_it(tiny_model: Models) -> None:
    sites = tiny_model("sd15").denoiser.adapter_sites()
    pair = zero_offsets(sites, 4, [torch.Generator().manual_seed(3), torch.Generator().manual_seed(4)])
    alone = zero_offsets(sites, 4, [torch.Generator().manual_seed(4)])
    assert all(torch.equal(pair[path].A[1], alone[path].A[0]) for path in alone)
