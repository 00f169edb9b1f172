"""Several subjects of one run: what each gets is what it would get alone, whatever becomes of its neighbours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

from likeness_api.order import Order, OrderModel, SubjectOrder
from likeness_api.personalization import SubjectImage
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.fulfil import fulfil, fulfil_together
from likeness_runtime.order.model_cache import ModelCache
from tiny_models import altered

DARK = "dark"
"""The subject whose latents are no numbers: its picture is all black."""


class Hooked(ModelCache):
    """A cache whose models get a hook when they are loaded."""

    def __init__(self, hook: Callable[[DiffusionModel], object]) -> None:
        super().__init__()
        self.hook = hook

    def model(self, folder: Path, digest: str, device: torch.device) -> DiffusionModel:
        known = bool(self._models)
        model = super().model(folder, digest, device)
        if not known:
            self.hook(model)
        return model


def spoils_black_pictures(model: DiffusionModel) -> None:
    def spoil(_encoder: object, inputs: tuple[torch.Tensor, ...], latents: torch.Tensor) -> torch.Tensor:
        return latents * torch.nan if bool((inputs[0] <= -1.0).all()) else latents

    model.latent_space.network.encoder.register_forward_hook(spoil)


def has_room_for_four_rows(model: DiffusionModel) -> None:
    def check(_unet: object, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    model.denoiser.network.register_forward_pre_hook(check)


@pytest.fixture
def subjects(order: Order, photo: Image.Image, tmp_path: Path) -> list[SubjectOrder]:
    """Three of one run, each with a picture, a token and a seed of its own; the last one has two pictures."""
    pictures = {"teapot": photo, DARK: Image.new("RGB", photo.size), "kettle": ImageOps.invert(photo)}
    for name, picture in pictures.items():
        picture.save(tmp_path / f"{name}.png")
    images = {name: [SubjectImage(uri=f"file://{tmp_path}/{name}.png")] for name in pictures}
    images["kettle"].append(SubjectImage(uri=f"file://{tmp_path}/photo.png", caption="a {token} on a table"))
    return [
        altered(order, name=name, token=f"<{name}>", images=images[name], seed=seed).subject
        for seed, name in enumerate(pictures)
    ]


def alone(order: Order, subject: SubjectOrder, context: RunContext, folder: Path) -> Result:
    """What the subject gets in a run of its own, published elsewhere."""
    elsewhere = subject.model_copy(update={"output": f"file://{folder}/alone"})
    return fulfil(Order(run=order.run, subject=elsewhere), context)


def assert_as_alone(result: Result, expected: Result) -> None:
    """The same digest and facts; tensors within the tolerance of `tune`, after rounding to float16."""
    assert (result.reason, result.token, result.steps) == (Reason.TUNED, expected.token, expected.steps)
    mine, theirs = (Path(each.folder().removeprefix("file://")) for each in (result, expected))
    assert mine.name == theirs.name
    assert sorted(path.relative_to(mine) for path in mine.rglob("*")) == sorted(
        path.relative_to(theirs) for path in theirs.rglob("*")
    )
    facts = [json.loads((folder / "manifest.json").read_bytes()) for folder in (mine, theirs)]
    assert facts[0]["images"] == facts[1]["images"]
    for path in theirs.rglob("*.safetensors"):
        tensors = load_file(mine / path.relative_to(theirs))
        for name, value in load_file(path).items():
            assert (tensors[name].float() - value.float()).norm() <= 0.01 * value.float().norm() + 1e-6, name


def test_a_group_of_three_gives_each_what_it_is_alone(
    order: Order, run: RunContext, subjects: list[SubjectOrder], tmp_path: Path
) -> None:
    results = fulfil_together(order.run, subjects, run, group_size=3)
    for subject, result in zip(subjects, results, strict=True):
        assert_as_alone(result, alone(order, subject, run, tmp_path))


@pytest.mark.parametrize("group_size", [1, 3])
def test_one_that_is_no_number_fails_none_beside_it(
    order: Order, run: RunContext, subjects: list[SubjectOrder], tmp_path: Path, group_size: int
) -> None:
    context = replace(run, models=Hooked(spoils_black_pictures))
    first, dark, last = fulfil_together(order.run, subjects, context, group_size=group_size)
    assert dark.reason == Reason.LOSS_NOT_FINITE
    assert dark.message.startswith("after 0 steps the loss was not a finite number")
    assert not (tmp_path / "out/shop" / DARK).exists()
    for subject, result in ((subjects[0], first), (subjects[2], last)):
        assert_as_alone(result, alone(order, subject, context, tmp_path))


def test_each_fault_is_in_its_own_subject_s_result(
    order: Order, run: RunContext, subjects: list[SubjectOrder], tmp_path: Path
) -> None:
    good, other, captioned = subjects
    faulty = [
        other.model_copy(update={"name": "missing", "images": [SubjectImage(uri=f"file://{tmp_path}/nothing.png")]}),
        other.model_copy(update={"name": "nowhere", "output": f"file://{tmp_path}/photo.png"}),
        other.model_copy(
            update={
                "name": "unnamed",
                "images": [other.images[0].model_copy(update={"caption": "word " * 100 + "{token}"})],
            }
        ),
    ]
    published = fulfil(Order(run=order.run, subject=captioned), run)
    results = fulfil_together(order.run, [faulty[0], good, faulty[1], captioned, faulty[2]], run, group_size=8)
    assert [each.reason for each in results] == [
        Reason.SOURCE_NOT_FOUND,
        Reason.TUNED,
        Reason.OUTPUT_NOT_FOUND,
        Reason.ALREADY_PUBLISHED,
        Reason.INVALID_SPEC,
    ]
    assert results[3].manifest == published.manifest
    assert_as_alone(results[1], alone(order, good, run, tmp_path))


def test_groups_of_one_are_bit_for_bit_what_each_is_alone(
    order: Order, run: RunContext, subjects: list[SubjectOrder], tmp_path: Path
) -> None:
    results = fulfil_together(order.run, subjects, run, group_size=1)
    for subject, result in zip(subjects, results, strict=True):
        assert result.manifest is not None
        expected = alone(order, subject, run, tmp_path).manifest
        assert expected is not None
        assert result.manifest.sha256 == expected.sha256


def test_a_group_that_does_not_fit_the_memory_is_tuned_one_at_a_time(
    order: Order, run: RunContext, subjects: list[SubjectOrder], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = fulfil_together(order.run, subjects, replace(run, models=Hooked(has_room_for_four_rows)), group_size=3)
    assert "did not suffice for 3 subjects at once" in caplog.text
    for subject, result in zip(subjects, results, strict=True):
        assert result.manifest is not None
        expected = alone(order, subject, run, tmp_path).manifest
        assert expected is not None
        assert result.manifest.sha256 == expected.sha256


def test_what_is_wrong_with_the_run_is_in_every_result(
    order: Order, run: RunContext, subjects: list[SubjectOrder]
) -> None:
    nowhere = order.run.model_copy(update={"model": OrderModel(uri="file:///nothing")})
    results = fulfil_together(nowhere, subjects, run, group_size=2)
    assert [each.reason for each in results] == [Reason.MODEL_NOT_FOUND] * 3


def test_an_interruption_publishes_nothing_of_the_group(
    order: Order, run: RunContext, subjects: list[SubjectOrder], tmp_path: Path
) -> None:
    def progress(step: int, _total: int) -> None:
        if step == 1:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        fulfil_together(order.run, subjects, replace(run, progress=progress), group_size=3)
    assert not (tmp_path / "out").exists()


def test_what_the_run_lacks_is_looked_for_once(
    order: Order, run: RunContext, subjects: list[SubjectOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []

    def lost(*_: object) -> NoReturn:
        looked.append(1)
        raise RunError(Reason.MODEL_NOT_FOUND, "there is no such model")

    monkeypatch.setattr("likeness_runtime.order.fulfil.locate_models", lost)
    results = fulfil_together(order.run, subjects, run, group_size=3)
    assert [each.reason for each in results] == [Reason.MODEL_NOT_FOUND] * 3
    assert looked == [1]
