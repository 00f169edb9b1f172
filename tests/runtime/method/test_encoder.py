from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from likeness_runtime.denoiser.lora import projections
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.text import encode, read
from likeness_runtime.denoiser.tiny import KINDS, Kind
from likeness_runtime.method.contrastive import vocabularies
from likeness_runtime.method.encoder import (
    Encoder,
    Features,
    denoiser_features,
    image_features,
    image_layers,
    shape_for,
)
from likeness_runtime.method.tune import denoise


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tiny_model: Callable[[Kind], DiffusionModel]) -> DiffusionModel:
    return tiny_model(request.param)


@pytest.fixture(scope="module")
def image_tower() -> Any:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=20,
        intermediate_size=40,
        num_hidden_layers=5,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=16,
    )
    return CLIPVisionModelWithProjection(config).eval().requires_grad_(False)


def test_every_second_layer_is_taken_and_always_the_last() -> None:
    assert image_layers(12) == [2, 4, 6, 8, 10, 12]
    assert image_layers(5) == [1, 3, 5]


def test_image_features_are_class_tokens_of_the_layers(image_tower: Any) -> None:
    found = image_features(image_tower, torch.rand(2, 3, 32, 32))
    assert [each.shape for each in found.summaries] == [(2, 20)] * 3


def test_image_features_are_the_patches_of_the_layer_before_the_last_taken(image_tower: Any) -> None:
    pixels = torch.rand(2, 3, 32, 32)
    states = image_tower(pixel_values=pixels, output_hidden_states=True).hidden_states
    torch.testing.assert_close(image_features(image_tower, pixels).patches, states[3][:, 1:])


def test_a_feature_is_repeated_next_to_itself() -> None:
    features = Features([torch.tensor([[1.0], [2.0]])], torch.tensor([[[1.0]], [[2.0]]])).repeated(2)
    assert features.summaries[0].flatten().tolist() == [1.0, 1.0, 2.0, 2.0]
    assert features.patches.flatten().tolist() == [1.0, 1.0, 2.0, 2.0]


def test_the_encoder_fits_the_model_without_being_told_a_number(model: DiffusionModel, image_tower: Any) -> None:
    encoder = an_encoder(model, image_tower)
    features = encoder.mixed(image_features(image_tower, torch.rand(2, 3, 32, 32)), some_denoiser_features(model))
    assert set(encoder.offsets(features)) == set(projections(model.unet))
    for v_star, table in zip(encoder.embeddings(features, vocabularies(model)), model.token_tables, strict=True):
        assert v_star.shape == (2, table.shape[1])


def test_a_new_encoder_answers_the_words_mean(model: DiffusionModel, image_tower: Any) -> None:
    encoder = an_encoder(model, image_tower)
    features = encoder.mixed(image_features(image_tower, torch.rand(2, 3, 32, 32)), some_denoiser_features(model))
    vocabulary = vocabularies(model)
    for v_star, words in zip(encoder.embeddings(features, vocabulary), vocabulary, strict=True):
        torch.testing.assert_close(v_star, words.mean.expand_as(v_star))


def test_where_a_thing_is_in_the_picture_changes_both_answers(model: DiffusionModel, image_tower: Any) -> None:
    """The same summaries with other patches are another subject; the heads must have learned something first."""
    encoder = an_encoder(model, image_tower)
    for each in (encoder.look.out_proj, *encoder.embedding_heads, *encoder.hypernetwork.head_B.values()):
        nn.init.normal_(each.weight)
    image, denoiser = image_features(image_tower, torch.rand(2, 3, 32, 32)), some_denoiser_features(model)
    moved = replace(image, patches=torch.rand(image.patches.shape))
    seen, other = encoder.mixed(image, denoiser), encoder.mixed(moved, denoiser)
    words = vocabularies(model)
    assert (encoder.embeddings(seen, words)[0] - encoder.embeddings(other, words)[0]).abs().max() > 1e-4
    assert all((factors.B - encoder.offsets(other)[path].B).any() for path, factors in encoder.offsets(seen).items())


def test_denoiser_features_are_the_blocks_of_a_whole_run(model: DiffusionModel) -> None:
    """Stopping after the mid block must change nothing of what was seen before."""
    seen: list[Tensor] = []
    handle = model.unet.mid_block.register_forward_hook(lambda _m, _i, output: seen.append(output))
    empty = empty_prompt(model)
    z_t, t = some_latents(model, 2), torch.tensor([100, 700])
    pooled = None if empty.pooled is None else empty.pooled.expand(2, -1)
    with torch.no_grad():
        denoise(model, z_t, t, empty.states.expand(2, -1, -1), pooled)
    handle.remove()
    found = denoiser_features(model, z_t, t, empty)
    assert len(found.summaries) == len(model.unet.config.block_out_channels) + 1
    torch.testing.assert_close(found.summaries[-1], seen[0].mean(dim=(2, 3)))
    torch.testing.assert_close(found.patches[:, 0], seen[0][:, :, 0, 0])


def test_the_network_runs_whole_after_its_features_were_taken(model: DiffusionModel) -> None:
    some_denoiser_features(model)
    assert not any(block._forward_hooks for block in (*model.unet.down_blocks, model.unet.mid_block))


def test_the_noisy_latent_changes_the_features(model: DiffusionModel) -> None:
    empty = empty_prompt(model)
    early, late = (denoiser_features(model, some_latents(model, 1), torch.tensor([t]), empty) for t in (1, 900))
    assert (early.summaries[-1] - late.summaries[-1]).abs().max() > 0


def an_encoder(model: DiffusionModel, image_tower: Any) -> Encoder:
    torch.manual_seed(0)
    return Encoder(shape_for(model, image_tower, rank=2, width=16, layers=1, heads=2))


def empty_prompt(model: DiffusionModel) -> Any:
    with torch.no_grad():
        return encode(model, read(model, [""], "<x>"), [table[:1].float() for table in model.token_tables])


def some_latents(model: DiffusionModel, rows: int) -> Tensor:
    side = model.unet.config.sample_size
    return torch.randn(rows, 4, side, side, generator=torch.Generator().manual_seed(3))


def some_denoiser_features(model: DiffusionModel) -> Features:
    return denoiser_features(model, some_latents(model, 2), torch.tensor([250, 750]), empty_prompt(model))
