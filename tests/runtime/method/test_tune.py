import gc
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from likeness_api.reason import Reason
from likeness_api.tuning import ResolvedTuning
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.noise_process import DDPM, Rounding
from likeness_runtime.denoiser.tiny import TINY_KINDS, TinyKind
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.method.forms import sentences
from likeness_runtime.method.predictor import FromWord, Prediction
from likeness_runtime.method.progress import ProgressCallback
from likeness_runtime.method.tune import TuningResult, draw_rows, steps_before_failure, tune, tuning_subject

Models = Callable[[TinyKind], DiffusionModel]


def silent(_step: int, _total: int) -> None: ...


def tuned(
    model: DiffusionModel,
    pictures: list[Image.Image],
    tuning: ResolvedTuning,
    progress: ProgressCallback = silent,
    rows_per_pass: int | None = None,
) -> TuningResult:
    """The pictures' subjects tuned together; subject i has the seed of the tuning plus i."""
    generators = [torch.Generator().manual_seed(tuning.seed + index) for index in range(len(pictures))]
    subjects = [
        tuning_subject(model, [picture], [sentences("<it>")], 64, generator, token="<it>")
        for picture, generator in zip(pictures, generators, strict=True)
    ]
    prediction = FromWord().predict(model, [[picture] for picture in pictures], tuning.rank, generators)
    return tune(model, prediction, subjects, tuning=tuning, progress=progress, rows_per_pass=rows_per_pass)


def test_no_steps_leave_the_prediction(tiny_model: Models, photo: Image.Image) -> None:
    model = tiny_model("sd15")
    result = tuned(model, [photo], ResolvedTuning(steps=0))
    start = FromWord().predict(model, [[photo]], 4, [torch.Generator()])
    assert torch.equal(result.prediction.embeddings[0], start.embeddings[0])
    assert all(not factors.B.any() for factors in result.prediction.offsets.values())
    assert torch.equal(result.loss_before, result.loss_after)


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_the_loss_falls(tiny_model: Models, photo: Image.Image, kind: TinyKind) -> None:
    result = tuned(tiny_model(kind), [photo], ResolvedTuning(steps=12, learning_rate="0.01"))
    assert (result.loss_after < result.loss_before).all()


def test_every_part_of_the_prediction_moves_and_the_model_does_not(tiny_model: Models, photo: Image.Image) -> None:
    model = tiny_model("sdxl")
    networks = [*model.networks, model.latent_space.network]
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in networks]
    result = tuned(model, [photo], ResolvedTuning(steps=2))
    start = FromWord().predict(model, [[photo]], 4, [torch.Generator()])
    moved = zip(result.prediction.embeddings, start.embeddings, strict=True)
    assert all(not torch.equal(after, first) for after, first in moved)
    assert all(factors.B.any() for factors in result.prediction.offsets.values())
    for network, weights in zip(networks, before, strict=True):
        assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_a_seed_means_the_same_tensors(tiny_model: Models, photo: Image.Image) -> None:
    model = tiny_model("sd15")
    first, again, other = (tuned(model, [photo], ResolvedTuning(steps=2, seed=seed)).prediction for seed in (5, 5, 6))
    assert torch.equal(first.embeddings[0], again.embeddings[0])
    assert all(torch.equal(first.offsets[path].B, again.offsets[path].B) for path in first.offsets)
    assert not torch.equal(first.embeddings[0], other.embeddings[0])


def test_subjects_together_are_tuned_as_each_alone(tiny_model: Models, photo: Image.Image) -> None:
    model = tiny_model("sd15")
    tuning = ResolvedTuning(steps=2, batch_size=2, seed=3)
    pictures = [photo, ImageOps.invert(photo)]
    together = tuned(model, pictures, tuning).prediction
    for index, picture in enumerate(pictures):
        alone = tuned(model, [picture], tuning.model_copy(update={"seed": 3 + index})).prediction
        assert_as_alone(together, index, alone)


@pytest.mark.parametrize("kind", TINY_KINDS)
@pytest.mark.parametrize("alpha", ["1", "0.6"])
def test_a_subject_that_is_no_number_leaves_its_neighbours_as_they_are_alone(
    tiny_model: Models, photo: Image.Image, kind: TinyKind, alpha: str
) -> None:
    model, tuning, broken = tiny_model(kind), ResolvedTuning(steps=3, batch_size=2, alpha=alpha), 1
    pictures = [photo, ImageOps.invert(photo), ImageOps.flip(photo)]

    def tuned_with_bank(chosen: list[int]) -> TuningResult:
        generators = [torch.Generator().manual_seed(3 + index) for index in chosen]
        own = [pictures[index] for index in chosen]
        subjects = [
            tuning_subject(model, [picture], [sentences(f"<it-{index}>")], 64, generator, token=f"<it-{index}>")
            for index, picture, generator in zip(chosen, own, generators, strict=True)
        ]
        start = FromWord().predict(model, [[picture] for picture in own], tuning.rank, generators)
        start = replace(start, negatives=[1.0 + table[:5].float() for table in model.text.token_tables])
        for subject, index in zip(subjects, chosen, strict=True):
            if index == broken and len(chosen) > 1:
                subject.latents.fill_(torch.nan)
        return tune(model, start, subjects, tuning=tuning, progress=silent)

    together = tuned_with_bank([0, 1, 2])
    assert together.failed_after == [0 if index == broken else None for index in range(3)]
    with pytest.raises(RunError, match="after 0 steps the loss was not a finite number"):
        together.checked()
    for index in {0, 1, 2} - {broken}:
        assert together.failure(index) is None
        alone = tuned_with_bank([index]).checked()
        assert_as_alone(together.prediction, index, alone.prediction)
        assert torch.allclose(together.loss_after[index], alone.loss_after[0], rtol=1e-3)


def test_each_subject_says_after_how_many_steps_its_own_loss_failed() -> None:
    losses = torch.ones(4, 4)  # before, two steps, after
    losses[0, 0], losses[2:, 1], losses[3, 3] = torch.nan, torch.inf, torch.nan
    assert steps_before_failure(losses) == [0, 1, None, 2]


def assert_as_alone(together: Prediction, index: int, alone: Prediction) -> None:
    assert torch.allclose(together.embeddings[0][index], alone.embeddings[0][0], atol=1e-4)
    for path, factors in alone.offsets.items():
        assert torch.allclose(together.offsets[path].A[index], factors.A[0], atol=1e-4)
        # Adam divides: where a gradient is next to nothing, rounding decides. So B is compared as a whole.
        assert (together.offsets[path].B[index] - factors.B[0]).norm() < 0.01 * factors.B[0].norm()


@pytest.mark.parametrize("kind", TINY_KINDS)
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_step_in_several_passes_is_the_same_step(
    tiny_model: Models, photo: Image.Image, kind: TinyKind, rows: int
) -> None:
    tuning = ResolvedTuning(steps=2, batch_size=5, seed=3)
    whole, parts = (tuned(tiny_model(kind), [photo], tuning, rows_per_pass=each) for each in (64, rows))
    assert torch.allclose(whole.prediction.embeddings[0], parts.prediction.embeddings[0], atol=1e-4)
    for path, factors in whole.prediction.offsets.items():
        # Adam divides: where a gradient is next to nothing, rounding decides. So B is compared as a whole.
        assert (parts.prediction.offsets[path].B - factors.B).norm() < 0.02 * factors.B.norm()


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_the_vanilla_path_alone_leaves_the_offsets(tiny_model: Models, photo: Image.Image, kind: TinyKind) -> None:
    prediction = tuned(tiny_model(kind), [photo], ResolvedTuning(steps=2, batch_size=3, alpha="0")).prediction
    assert all(not factors.B.any() for factors in prediction.offsets.values())


def test_a_tune_leaves_nothing_behind(tiny_model: Models, photo: Image.Image) -> None:
    """A worker tunes thousands of subjects in one process."""

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    model, tuning = tiny_model("sd15"), ResolvedTuning(steps=1, batch_size=2)
    tuned(model, [photo], tuning)
    before = tensors()
    tuned(model, [photo], tuning)
    assert tensors() == before


def test_a_step_draws_a_sentence_of_the_picture_that_it_draws(tiny_model: Models, photo: Image.Image) -> None:
    model = tiny_model("sd15")
    generator = torch.Generator().manual_seed(0)
    pictures, told = [photo, ImageOps.invert(photo)], [["a <it> by day"], ["a <it> at night", "one <it> at night"]]
    subject = tuning_subject(model, pictures, told, 64, generator, token="<it>")
    assert subject.latents.shape[:2] == (2, 4)
    for _ in range(20):
        drawn = draw_rows(model, [subject, subject], 3)
        for number, latents in enumerate(drawn.latents.split(3)):
            picture = int(drawn.sentences[number] - 3 * number > 0)
            assert all(any(torch.equal(row, view) for view in subject.latents[picture]) for row in latents)


def test_progress_counts_every_step(tiny_model: Models, photo: Image.Image) -> None:
    calls: list[tuple[int, int]] = []
    tuned(tiny_model("sd15"), [photo], ResolvedTuning(steps=3), lambda step, total: calls.append((step, total)))
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_progress_may_stop_the_run_between_steps(tiny_model: Models, photo: Image.Image) -> None:
    steps: list[int] = []

    def stop_after_one(step: int, _total: int) -> None:
        steps.append(step)
        if step == 1:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        tuned(tiny_model("sd15"), [photo], ResolvedTuning(steps=50), stop_after_one)
    assert steps == [0, 1]


def test_a_loss_that_is_no_number_ends_the_run_and_the_message_says_after_how_many_steps(
    tiny_model: Models, photo: Image.Image
) -> None:
    def spoil(step: int, _total: int) -> None:
        if step == 1:
            alphas_cumprod.fill_(torch.nan)

    model = tiny_model("sd15")
    assert isinstance(model.noise, DDPM)
    alphas_cumprod = model.noise.alphas_cumprod
    kept = alphas_cumprod.clone()
    try:
        with pytest.raises(RunError, match="after 1 steps") as caught:
            tuned(model, [photo], ResolvedTuning(steps=3), spoil).checked()
    finally:
        alphas_cumprod.copy_(kept)
    assert caught.value.reason == Reason.LOSS_NOT_FINITE


class RectifiedFlow:
    """z_t = (1 - t) z + t noise for t from 0 to 1 (Liu et al., arXiv:2209.03003); the network predicts noise - z."""

    prediction_type = "flow_prediction"

    def draw_times(self, draws: int, generator: torch.Generator) -> Tensor:
        return (torch.arange(draws) + torch.rand(draws, generator=generator)) / draws

    def draw_independent_times(self, rows: int, generator: torch.Generator) -> Tensor:
        return torch.rand(rows, generator=generator)

    def times_at(self, shares: Sequence[float], rounding: Rounding) -> Tensor:  # noqa: ARG002 - nothing to round
        return torch.tensor(shares)

    def noised(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return torch.lerp(z, noise, t[:, None, None, None])

    def target(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:  # noqa: ARG002 - the same at all times
        return noise - z

    def signal(self, prediction: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        return z_t - t[:, None, None, None] * prediction


def test_a_model_of_another_noise_process_is_tuned_by_the_same_loop(tiny_model: Models, photo: Image.Image) -> None:
    model = replace(tiny_model("sd15"), noise=RectifiedFlow())
    result = tuned(model, [photo], ResolvedTuning(steps=12, learning_rate="0.01"))
    assert (result.loss_after < result.loss_before).all()
