from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from likeness_api.order import Order, OrderModel
from likeness_api.reason import Reason
from likeness_api.tuning import ResolvedTuning
from likeness_runtime.denoiser.lora import Factors
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.failure import RunError
from likeness_runtime.method.encoder import Encoder, shape_for
from likeness_runtime.method.encoder_folder import CLIP, TrainedEncoder, load_encoder, save_encoder
from likeness_runtime.method.forms import sentences
from likeness_runtime.method.from_encoder import FromEncoder, averaged
from likeness_runtime.method.tune import TuningSubject, tune
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.fulfil import fulfil
from likeness_runtime.order.manifest import digest_of
from likeness_runtime.pipeline import load_likeness
from likeness_runtime.storage.model_folder import folder_digest
from tiny_models import altered


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def model(request: pytest.FixtureRequest, tiny_model: Callable[[TinyKind], DiffusionModel]) -> DiffusionModel:
    return tiny_model(request.param)


@pytest.fixture(scope="module")
def trained(model: DiffusionModel) -> TrainedEncoder:
    """An encoder whose heads answer something: nothing is zero any more."""
    torch.manual_seed(0)
    tower = an_image_tower()
    encoder = Encoder(shape_for(model, tower, rank=2, width=16, layers=1, heads=2))
    for parameter in encoder.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    negatives = [torch.randn(5, table.shape[1]) for table in model.text.token_tables]
    return TrainedEncoder(encoder.eval().requires_grad_(False), tower, CLIP, negatives)


def an_image_tower() -> Any:
    config = CLIPVisionConfig(
        hidden_size=20,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=16,
    )
    return CLIPVisionModelWithProjection(config).eval().requires_grad_(False)


def a_picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 80, 3), dtype=np.uint8))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_the_same_seed_predicts_the_same(model: DiffusionModel, trained: TrainedEncoder) -> None:
    first, second = (FromEncoder(trained).predict(model, [[a_picture(1)]], 2, generators(7)) for _ in range(2))
    assert torch.equal(first.embeddings[0], second.embeddings[0])
    assert all(torch.equal(each.B, second.offsets[path].B) for path, each in first.offsets.items())


def test_another_picture_predicts_something_else(model: DiffusionModel, trained: TrainedEncoder) -> None:
    first, second = (FromEncoder(trained).predict(model, [[a_picture(n)]], 2, generators(7)) for n in (1, 2))
    assert (first.embeddings[0] - second.embeddings[0]).abs().max() > 1e-5


def test_subjects_together_equal_each_alone(model: DiffusionModel, trained: TrainedEncoder) -> None:
    """Through prediction and tuning, with bank and dual path: company changes nothing."""
    tuning = ResolvedTuning(steps=3, batch_size=2, rank=2, alpha="0.6")
    pictures = [a_picture(1), a_picture(2)]

    def tuned(chosen: list[int]) -> Any:
        own = generators(*(10 + n for n in chosen))
        start = FromEncoder(trained).predict(model, [[pictures[n]] for n in chosen], 2, own)
        subjects = [
            TuningSubject(
                model.latent_space.encode([pictures[n].resize((64, 64))])[None], [sentences("<x>")], "<x>", generator
            )
            for n, generator in zip(chosen, own, strict=True)
        ]
        return tune(model, start, subjects, tuning=tuning, progress=lambda _done, _total: None).prediction

    together, alone = tuned([0, 1]), [tuned([0]), tuned([1])]
    for n, own in enumerate(alone):
        torch.testing.assert_close(own.embeddings[0][0], together.embeddings[0][n], rtol=1e-3, atol=1e-4)
        for path, each in together.offsets.items():
            # AdamW's first steps have the size of the learning rate whatever the gradient, so rounding shows.
            torch.testing.assert_close(own.offsets[path].delta()[0], each.delta()[n], rtol=1e-2, atol=1e-3)


def test_subjects_are_predicted_together_as_each_alone(model: DiffusionModel, trained: TrainedEncoder) -> None:
    """Also where one brings more pictures than another, and where the rank is filled up from its generator."""
    pictures = [[a_picture(1)], [a_picture(2), a_picture(3)], [a_picture(4)]]
    together = FromEncoder(trained).predict(model, pictures, 20, generators(5, 6, 7))
    for n, own in enumerate(pictures):
        alone = FromEncoder(trained).predict(model, [own], 20, generators(5 + n))
        for v_star, expected in zip(together.embeddings, alone.embeddings, strict=True):
            torch.testing.assert_close(v_star[n], expected[0], rtol=1e-4, atol=1e-5)
        for path, factors in alone.offsets.items():
            torch.testing.assert_close(together.offsets[path].delta()[n], factors.delta()[0], rtol=1e-3, atol=1e-4)


def test_a_subject_whose_latents_are_no_numbers_leaves_its_neighbours(
    model: DiffusionModel, trained: TrainedEncoder
) -> None:
    def spoil(_encoder: Any, inputs: tuple[torch.Tensor, ...], latents: torch.Tensor) -> torch.Tensor:
        return latents * torch.nan if bool((inputs[0] <= -1.0).all()) else latents

    pictures = [[a_picture(1)], [Image.new("RGB", (64, 64))], [a_picture(4)]]
    handle = model.latent_space.network.encoder.register_forward_hook(spoil)
    try:
        together = FromEncoder(trained).predict(model, pictures, 2, generators(5, 6, 7))
    finally:
        handle.remove()
    assert all(v_star[1].isnan().all() for v_star in together.embeddings)
    for n in (0, 2):
        alone = FromEncoder(trained).predict(model, [pictures[n]], 2, generators(5 + n))
        torch.testing.assert_close(together.embeddings[0][n], alone.embeddings[0][0], rtol=1e-4, atol=1e-5)
        for path, factors in alone.offsets.items():
            torch.testing.assert_close(together.offsets[path].delta()[n], factors.delta()[0], rtol=1e-3, atol=1e-4)


def test_an_average_of_what_is_no_number_is_none_and_raises_nothing() -> None:
    factors = Factors(torch.randn(3, 2, 9), torch.full((3, 8, 2), torch.nan))
    best = averaged(factors, 2, torch.Generator())
    assert best.A.shape == (2, 9)
    assert best.B.shape == (8, 2)
    assert best.B.isnan().all()


@pytest.mark.parametrize("rank", [1, 2, 20])
def test_any_rank_can_be_asked_for(model: DiffusionModel, trained: TrainedEncoder, rank: int) -> None:
    prediction = FromEncoder(trained).predict(model, [[a_picture(1)]], rank, generators(7))
    assert {each.A.shape[1] for each in prediction.offsets.values()} == {rank}
    assert {each.B.shape[2] for each in prediction.offsets.values()} == {rank}


def test_the_average_is_the_mean_of_the_offsets_where_the_rank_suffices() -> None:
    factors = Factors(torch.randn(3, 2, 9), torch.randn(3, 8, 2))
    best = averaged(factors, 6, torch.Generator())
    torch.testing.assert_close(best.B @ best.A, factors.delta().mean(0), rtol=1e-4, atol=1e-5)


def test_the_average_is_the_closest_of_its_rank() -> None:
    factors = Factors(torch.randn(3, 2, 9), torch.randn(3, 8, 2))
    best = averaged(factors, 2, torch.Generator())
    mean = factors.delta().mean(0)
    rest = torch.linalg.svdvals(mean)[2:].square().sum()
    torch.testing.assert_close((best.B @ best.A - mean).square().sum(), rest, rtol=1e-3, atol=1e-4)


def test_further_ranks_change_nothing_at_first_but_can_learn() -> None:
    factors = Factors(torch.randn(1, 2, 9), torch.randn(1, 8, 2))
    best = averaged(factors, 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(best.B @ best.A, factors.delta()[0], rtol=1e-4, atol=1e-5)
    assert best.A.norm(dim=1).min() > 0.1


def test_an_encoder_comes_back_from_its_folder(model: DiffusionModel, trained: TrainedEncoder, tmp_path: Path) -> None:
    save_encoder(tmp_path, trained, model, {"steps": 0}, with_image_tower=True, dtype=torch.float32)
    again = load_encoder(tmp_path, model)
    first, second = (FromEncoder(each).predict(model, [[a_picture(1)]], 2, generators(7)) for each in (trained, again))
    for before, after in zip(first.embeddings, second.embeddings, strict=True):
        torch.testing.assert_close(before, after)
    assert [bank.shape for bank in again.negatives] == [bank.shape for bank in trained.negatives]


def test_an_encoder_of_another_model_is_refused(model: DiffusionModel, trained: TrainedEncoder, tmp_path: Path) -> None:
    save_encoder(tmp_path, trained, model, {}, with_image_tower=True)
    config = json.loads((tmp_path / "encoder/config.json").read_text())
    config["shape"]["text_widths"] = [7]
    (tmp_path / "encoder/config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"shape.text_widths is \[7\]; the base model needs") as failed:
        load_encoder(tmp_path, model)
    assert failed.value.reason is Reason.ENCODER_MISMATCH


def test_without_an_image_tower_the_encoder_is_refused(
    model: DiffusionModel, trained: TrainedEncoder, tmp_path: Path
) -> None:
    save_encoder(tmp_path, trained, model, {}, with_image_tower=False)
    with pytest.raises(RunError, match="neither the encoder nor the base model has image_encoder"):
        load_encoder(tmp_path, model)


@pytest.mark.parametrize("content", ["", "[]", '{"formatVersion": 99}', '{"formatVersion": 1}'])
def test_what_is_no_encoder_is_refused(model: DiffusionModel, tmp_path: Path, content: str) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder/config.json").write_text(content)
    with pytest.raises(RunError) as failed:
        load_encoder(tmp_path, model)
    assert failed.value.reason is Reason.ENCODER_MISMATCH


def test_an_order_with_an_encoder_publishes_what_the_two_line_loader_reads(
    tiny_model: Callable[[TinyKind], DiffusionModel], order: Order, run: RunContext, tmp_path: Path
) -> None:
    """The same order twice, published apart: bit-equal files; then through the dual path in a stock pipeline."""
    model = tiny_model("sd15")
    torch.manual_seed(0)
    tower = an_image_tower()
    fresh = Encoder(shape_for(model, tower, rank=4, width=16, layers=1, heads=2))
    save_encoder(tmp_path / "encoder", TrainedEncoder(fresh, tower, CLIP, []), model, {}, with_image_tower=True)
    with_encoder = altered(
        order,
        encoder=OrderModel(uri=f"file://{tmp_path}/encoder"),
        tuning=ResolvedTuning(steps=2, batch_size=2, seed=7, alpha="0.6"),
    )
    results = [fulfil(altered(with_encoder, output=f"file://{tmp_path}/{place}"), run) for place in ("a", "b")]
    assert [each.sha256 for each in results[0].artifacts] == [each.sha256 for each in results[1].artifacts]
    (facts,) = (tmp_path / "a").rglob("personalization.json")
    stock = StableDiffusionPipeline.from_pretrained(
        order.run.model.uri.removeprefix("file://"), use_safetensors=True, local_files_only=True, safety_checker=None
    )
    assert json.loads(facts.read_bytes())["encoder"] == {
        "name": "encoder",
        "digest": folder_digest(tmp_path / "encoder"),
    }
    likeness = load_likeness(facts)
    picture = likeness.apply(stock)(f"a photo of {order.subject.token}", num_inference_steps=2).images[0]
    assert likeness.alpha == 0.6
    assert picture.size == (64, 64)


def test_the_encoder_is_part_of_what_a_result_depends_on(order: Order) -> None:
    assert digest_of(order, ["a"], "b", None) != digest_of(order, ["a"], "b", "c")
