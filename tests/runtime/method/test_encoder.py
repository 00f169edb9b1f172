from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from likeness_runtime.denoiser.denoiser import Features
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.tiny import TINY_KINDS, TinyKind
from likeness_runtime.method.contrastive import vocabularies
from likeness_runtime.method.encoder import (
    Encoder,
    image_features,
    image_layers,
    shape_for,
)


@pytest.fixture(scope="module", params=TINY_KINDS)
def model(request: pytest.FixtureRequest, tiny_model: Callable[[TinyKind], DiffusionModel]) -> DiffusionModel:
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
    assert set(encoder.offsets(features)) == set(model.denoiser.adapter_sites())
    for v_star, table in zip(encoder.embeddings(features, vocabularies(model)), model.text.token_tables, strict=True):
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


def an_encoder(model: DiffusionModel, image_tower: Any) -> Encoder:
    torch.manual_seed(0)
    return Encoder(shape_for(model, image_tower, rank=2, width=16, layers=1, heads=2))


def some_denoiser_features(model: DiffusionModel) -> Features:
    z_t = torch.randn(2, *model.denoiser.latent_shape, generator=torch.Generator().manual_seed(3))
    return model.denoiser.features(z_t, torch.tensor([250, 750]), model.text.empty())
