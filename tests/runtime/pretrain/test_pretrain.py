from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from likeness_runtime.cli import main
from likeness_runtime.denoiser.lora import Factors
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.method.encoder import Encoder, shape_for
from likeness_runtime.method.encoder_folder import CLIP, WEIGHTS, TrainedEncoder, load_encoder, save_encoder, take_over
from likeness_runtime.pretrain.image_set import Example
from likeness_runtime.pretrain.pretrain import EncoderPlan, dropped, others, pretrain

PLAN = EncoderPlan(steps=4, batch=3, warmup_steps=1, bank=5)


class Discs:
    """Discs of any colour and place."""

    def draw(self, random: np.random.Generator, side_px: int) -> Example:
        picture = Image.new("RGB", (side_px, side_px), "white")
        left, top = random.integers(0, side_px // 2, size=2).tolist()
        red, green, blue = random.integers(0, 255, size=3).tolist()
        ImageDraw.Draw(picture).ellipse((left, top, left + side_px // 2, top + side_px // 2), (red, green, blue))
        return Example(picture, picture, "a photo of {}")


@pytest.fixture
def model(tiny_model: Callable[[TinyKind], DiffusionModel]) -> DiffusionModel:
    return tiny_model("sd15")


def a_fresh_encoder(model: DiffusionModel) -> TrainedEncoder:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=16,
    )
    tower = CLIPVisionModelWithProjection(config).eval().requires_grad_(False)
    return TrainedEncoder(
        Encoder(shape_for(model, tower, rank=2, width=16, layers=1, heads=2)), tower, CLIP, negatives=[]
    )


def run(model: DiffusionModel, folder: Path, plan: EncoderPlan = PLAN, **more: Any) -> TrainedEncoder:
    return pretrain(model, a_fresh_encoder(model), Discs(), plan, folder, **more)


def weights(trained: TrainedEncoder) -> torch.Tensor:
    return torch.cat([each.flatten() for each in trained.encoder.parameters()])


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(model: DiffusionModel, tmp_path: Path) -> None:
    """With a checkpoint after every step, stopped before its third."""
    plan = EncoderPlan(**(vars(PLAN) | {"checkpoint_seconds": 0.0}))
    calls = iter(range(100))

    def stop_at_the_third() -> None:
        if next(calls) == 2:
            raise InterruptedRunError

    whole = run(model, tmp_path / "whole", plan)
    with pytest.raises(InterruptedRunError):
        run(model, tmp_path / "parts", plan, check=stop_at_the_third)
    resumed = run(model, tmp_path / "parts", plan)
    torch.testing.assert_close(weights(resumed), weights(whole))
    torch.testing.assert_close(resumed.negatives[0], whole.negatives[0])


def test_a_checkpoint_of_another_plan_is_refused(model: DiffusionModel, tmp_path: Path) -> None:
    run(model, tmp_path)
    with pytest.raises(RunError, match="use another folder"):
        run(model, tmp_path, EncoderPlan(**(vars(PLAN) | {"batch": 2})))


def test_a_longer_plan_takes_a_finished_run_up_again(model: DiffusionModel, tmp_path: Path) -> None:
    run(model, tmp_path)
    run(model, tmp_path, EncoderPlan(**(vars(PLAN) | {"steps": 5})))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 5]


def test_the_first_stage_learns_the_embedding_alone(model: DiffusionModel, tmp_path: Path) -> None:
    fresh = a_fresh_encoder(model).encoder
    trained = run(model, tmp_path, EncoderPlan(**(vars(PLAN) | {"embedding_share": 1.0, "weight_decay": 0.0}))).encoder
    for before, after in zip(fresh.hypernetwork.parameters(), trained.hypernetwork.parameters(), strict=True):
        assert torch.equal(before, after)
    before, after = (next(each.embedding_heads.parameters()) for each in (fresh, trained))
    assert not torch.equal(before, after)


def test_the_bank_keeps_the_latest_predictions(model: DiffusionModel, tmp_path: Path) -> None:
    assert run(model, tmp_path).negatives[0].shape == (PLAN.bank, model.text.token_tables[0].shape[1])


def test_the_model_stays_frozen(model: DiffusionModel, tmp_path: Path) -> None:
    before = [parameter.clone() for parameter in model.denoiser.network.parameters()]
    run(model, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(before, model.denoiser.network.parameters(), strict=True))
    assert not any(parameter.requires_grad for parameter in model.denoiser.network.parameters())


def test_dropped_subjects_have_no_offset_and_the_others_keep_theirs() -> None:
    factors = Factors(torch.randn(4, 2, 5), torch.randn(4, 6, 2))
    delta = dropped({"x": factors}, 2)["x"].delta()
    assert torch.count_nonzero(delta[:2]) == 0
    assert torch.equal(delta[2:], factors.delta()[2:])


def test_ones_own_prediction_is_no_negative() -> None:
    v_star = torch.arange(6.0).view(3, 2)
    assert others(v_star).tolist() == [[[2, 3], [4, 5]], [[0, 1], [4, 5]], [[0, 1], [2, 3]]]


def test_a_checkpoint_of_an_earlier_release_is_refused_in_one_sentence(model: DiffusionModel, tmp_path: Path) -> None:
    save_file({"encoder.places": torch.zeros(1)}, tmp_path / "checkpoint.safetensors")
    with pytest.raises(RunError, match="an earlier release wrote this checkpoint"):
        run(model, tmp_path)


def test_the_command_leaves_an_encoder_that_loads(
    model: DiffusionModel, tiny_folders: dict[TinyKind, Path], photo: Image.Image, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    photo.save(tmp_path / "pictures" / "photo.png")
    a_fresh_encoder(model).image_tower.save_pretrained(tmp_path / "tower", safe_serialization=True)
    places = {
        "--model": f"file://{tiny_folders['sd15']}",
        "--images": f"file://{tmp_path}/pictures",
        "--tower": f"{tmp_path}/tower",
        "--work": f"{tmp_path}/work",
        "--out": f"{tmp_path}/encoder",
    }
    numbers = ["--steps", "2", "--batch", "2", "--width", "16", "--layers", "1", "--rank", "2"]
    assert main(["pretrain", *(part for pair in places.items() for part in pair), *numbers]) == 0
    assert load_encoder(tmp_path / "encoder", model).encoder.shape.rank == 2
    places |= {"--start": f"{tmp_path}/encoder", "--work": f"{tmp_path}/work2", "--out": f"{tmp_path}/encoder2"}
    numbers = ["--steps", "1", "--learning-rate", "0", "--batch", "2", "--width", "16", "--layers", "1", "--rank", "2"]
    assert main(["pretrain", *(part for pair in places.items() for part in pair), *numbers]) == 0
    first, second = (load_file(tmp_path / name / WEIGHTS) for name in ("encoder", "encoder2"))
    torch.testing.assert_close(second["places"], first["places"])


def test_an_encoder_begins_with_what_fits_of_another(model: DiffusionModel, tmp_path: Path) -> None:
    """Of another rank here: the features' part fits, the heads of A and B do not."""
    start = a_fresh_encoder(model)
    torch.nn.init.normal_(start.encoder.places)
    save_encoder(tmp_path, start, model, {}, with_image_tower=False, dtype=torch.float32)
    encoder = Encoder(replace(start.encoder.shape, rank=3))
    untouched = encoder.hypernetwork.get_parameter("head_A.32.weight").clone()
    taken, of_all = take_over(encoder, tmp_path)
    assert 0 < taken < of_all
    torch.testing.assert_close(encoder.places, start.encoder.places)
    torch.testing.assert_close(encoder.hypernetwork.head_A["32"].weight, untouched)


def test_what_is_no_encoder_cannot_be_begun_with(model: DiffusionModel, tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    save_file({"something": torch.zeros(1)}, tmp_path / "encoder/model.safetensors")
    with pytest.raises(RunError, match="none of the 1 tensors"):
        take_over(a_fresh_encoder(model).encoder, tmp_path)


def test_a_set_that_is_not_there_is_told_in_one_sentence(
    tiny_folders: dict[TinyKind, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--model", f"file://{tiny_folders['sd15']}", "--images", f"file://{tmp_path}/gone"]
    assert main(["pretrain", *places, "--out", f"{tmp_path}/encoder", "--steps", "1"]) != 0
    assert "there is no such folder" in capsys.readouterr().err
