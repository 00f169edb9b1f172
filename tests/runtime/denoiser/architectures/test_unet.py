from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from likeness_api.reason import Reason
from likeness_runtime.denoiser.architectures.unet import UNetDenoiser
from likeness_runtime.denoiser.denoiser import Denoiser, Features
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.tiny import TINY_KINDS, TinyKind
from likeness_runtime.failure import RunError


@pytest.fixture(scope="module", params=TINY_KINDS)
def model(request: pytest.FixtureRequest, tiny_model: Callable[[TinyKind], DiffusionModel]) -> DiffusionModel:
    return tiny_model(request.param)


@pytest.fixture
def unet(model: DiffusionModel) -> Any:
    return model.denoiser.network


def test_the_features_are_the_blocks_of_a_whole_run(model: DiffusionModel, unet: Any) -> None:
    """Stopping after the mid block must change nothing of what was seen before."""
    seen: list[Tensor] = []
    handle = unet.mid_block.register_forward_hook(lambda _m, _i, output: seen.append(output))
    empty = model.text.empty()
    z_t, t = some_latents(model, 2), torch.tensor([100, 700])
    with torch.no_grad():
        model.denoiser.predict(z_t, t, empty.expanded(2))
    handle.remove()
    found = model.denoiser.features(z_t, t, empty)
    assert len(found.summaries) == len(unet.config.block_out_channels) + 1
    torch.testing.assert_close(found.summaries[-1], seen[0].mean(dim=(2, 3)))
    torch.testing.assert_close(found.patches[:, 0], seen[0][:, :, 0, 0])


def test_the_widths_are_those_of_the_features(model: DiffusionModel) -> None:
    found, widths = some_features(model), model.denoiser.feature_widths()
    assert [each.shape[1] for each in found.summaries] == widths.summaries
    assert found.patches.shape[2] == widths.patches


def test_the_network_runs_whole_after_its_features_were_taken(model: DiffusionModel, unet: Any) -> None:
    some_features(model)
    assert not any(block._forward_hooks for block in (*unet.down_blocks, unet.mid_block))


def test_the_noisy_latent_changes_the_features(model: DiffusionModel) -> None:
    z_t, empty = some_latents(model, 1), model.text.empty()
    early, late = (model.denoiser.features(z_t, torch.tensor([t]), empty) for t in (1, 900))
    assert (early.summaries[-1] - late.summaries[-1]).abs().max() > 0


def test_a_network_without_known_layers_is_refused_by_its_class() -> None:
    """Not tuned for nothing: a model with other attention layers once had none that were found."""
    other = FluxTransformer2DModel(
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(2, 2, 4),
    )
    denoiser: Denoiser = UNetDenoiser(other, 8)
    with pytest.raises(RunError, match=r"FluxTransformer2DModel, has no layer .* expected diffusers' UNet2D") as caught:
        denoiser.adapter_sites()
    assert caught.value.reason == Reason.MODEL_NOT_FOUND


def some_latents(model: DiffusionModel, rows: int) -> Tensor:
    return torch.randn(rows, *model.denoiser.latent_shape, generator=torch.Generator().manual_seed(3))


def some_features(model: DiffusionModel) -> Features:
    return model.denoiser.features(some_latents(model, 2), torch.tensor([250, 750]), model.text.empty())
