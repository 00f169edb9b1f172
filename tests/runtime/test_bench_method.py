from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from likeness_api.tuning import ResolvedTuning
from likeness_runtime.bench import step, summary
from likeness_runtime.bench.arm import OFF, Arm, Stage, Tuned, bytes_of
from likeness_runtime.bench.chart import HEIGHT_PX, WIDTH_PX, Series, chart
from likeness_runtime.bench.draw import Sampling, noise
from likeness_runtime.bench.dreambooth import DreamBooth
from likeness_runtime.bench.memory import peak_bytes_of
from likeness_runtime.bench.method import Record, measure, read
from likeness_runtime.bench.score import BACKGROUNDS, Score, prompts, score
from likeness_runtime.bench.step import saved_bytes, tuning_step
from likeness_runtime.bench.subject import BenchSubject, held_out_subjects
from likeness_runtime.bench.sweep import variants
from likeness_runtime.cli import main
from likeness_runtime.lora import zero_offsets
from likeness_runtime.model import DiffusionModel
from likeness_runtime.pocket.pixels import images_of
from likeness_runtime.pocket.scene import paint
from likeness_runtime.predictor import FromWord, Prediction
from likeness_runtime.tiny import Kind

QUICK = Sampling(steps=2, guidance=3.0, seeds=(0,))
TUNING = ResolvedTuning(batch_size=2, rank=2)


@pytest.fixture
def model(tiny_model: Callable[[Kind], DiffusionModel]) -> DiffusionModel:
    return tiny_model("sd15")


@pytest.fixture
def subject(photo: Image.Image) -> BenchSubject:
    return BenchSubject("photo-teapot", "photo", "object", photo, torch.rand(2, 3, 64, 64))


def mean_colour(images: Tensor) -> Tensor:
    """A judge that any two pictures of one colour satisfy."""
    return torch.nn.functional.normalize(images.mean(dim=(2, 3)), dim=-1)


def a_record(subject: str, arm: str, steps: int, identity: float, seconds: float = 1.0) -> Record:
    return Record(subject, "fluent", arm, steps, seconds, 100, None, "cat", 0.5, Score(identity, identity, 1.0, 1.0))


def test_true_backgrounds_are_read_as_what_was_asked() -> None:
    images = images_of([paint(background) for background in BACKGROUNDS])
    found = score(images, images[:1], images[:1], mean_colour)
    assert (found.colours, found.pattern) == (1.0, 1.0)


def test_wrong_backgrounds_are_not() -> None:
    images = images_of([paint(BACKGROUNDS[(index + 1) % 5]) for index in range(5)])
    assert score(images, images[:1], images[:1], mean_colour).colours == 0.0


def test_both_halves_are_needed_for_the_harmonic_mean() -> None:
    assert Score(0.6, 0.6, 0.6, 0.6).harmonic == pytest.approx(0.6)
    assert Score(1.0, 1.0, 0.0, 0.0).harmonic == 0.0
    assert Score(0.0, 0.0, 0.0, 0.0).harmonic == 0.0


def test_every_prompt_names_the_subject_and_its_background() -> None:
    assert prompts("<x>")[0] == "a picture of <x> on a red background"
    assert len(prompts("<x>")) == len(BACKGROUNDS) >= 8


def test_held_out_subjects_have_other_pictures_of_themselves_and_the_truth() -> None:
    for each in held_out_subjects(3):
        assert len(each.references) >= 4
        assert each.truth is not None
        assert len(each.truth) == len(BACKGROUNDS)


def test_skipped_subjects_are_others() -> None:
    names = [each.name for each in held_out_subjects(3)]
    assert [each.name for each in held_out_subjects(2, skip=1)] == names[1:]


def test_noise_is_the_prompts_own_whatever_else_is_drawn(model: DiffusionModel) -> None:
    both, first = noise(model, 3, Sampling(seeds=(0, 1))), noise(model, 3, Sampling(seeds=(0,)))
    assert torch.equal(both[:3], first)
    assert not torch.equal(both[3:], first)


@pytest.mark.parametrize("alpha", ["0.5", "1"])
def test_our_arm_tunes_and_draws(model: DiffusionModel, subject: BenchSubject, alpha: str) -> None:
    tuning = TUNING.model_copy(update={"alpha": alpha, "learning_rate": "0.05"})
    before, after = (Tuned(FromWord(), tuning)(model, subject, steps) for steps in (0, 2))
    asked = prompts(after.called)[:2]
    assert (before.draw(asked, QUICK) - after.draw(asked, QUICK)).abs().max() > 1e-3


def test_textual_inversion_has_no_offsets(model: DiffusionModel, subject: BenchSubject) -> None:
    stage = Tuned(FromWord(), TUNING, OFF, learn_offsets=False)(model, subject, 2)
    assert stage.artifact_bytes == 4 * model.token_tables[0].shape[1]


def test_the_hard_word_can_be_the_class(model: DiffusionModel, subject: BenchSubject) -> None:
    tuning = TUNING.model_copy(update={"alpha": "0"})
    asked = prompts("<subject>")[:1]
    by_class = Tuned(FromWord("cat"), tuning, class_word=True)(model, subject, 0).draw(asked, QUICK)
    by_nearest = Tuned(FromWord("cat"), tuning)(model, subject, 0).draw(asked, QUICK)
    assert (by_class - by_nearest).abs().max() > 1e-4


def test_a_baseline_starts_from_the_class_word(model: DiffusionModel, subject: BenchSubject) -> None:
    stage = Tuned(None, TUNING, OFF)(model, replace(subject, class_word="cat"), 0)
    assert stage.word == "cat"


def test_an_arm_is_measured_at_those_of_its_steps_that_are_asked_for() -> None:
    arm = Arm("ours", (0, 4, 12), lambda _model, _subject, _steps: None)
    assert arm.only([12, 4, 500]).steps == (4, 12)
    assert arm.only(None).steps == (0, 4, 12)


def test_a_sweep_changes_one_number_at_a_time() -> None:
    arms = variants(FromWord(), ResolvedTuning())
    ours = arms["ours"].run
    for name, arm in arms.items():
        assert isinstance(ours, Tuned)
        assert isinstance(arm.run, Tuned)
        pairs = [(ours.tuning.to_json(), arm.run.tuning.to_json()), (vars(ours.strength), vars(arm.run.strength))]
        changed = [key for before, after in pairs for key in before if before[key] != after[key]]
        assert len(changed) == (name != "ours"), name


def test_dreambooth_leaves_the_network_as_it_was(model: DiffusionModel, subject: BenchSubject) -> None:
    names = {name for name, _ in model.unet.named_parameters()}
    stage = DreamBooth(learning_rate=0.05)(model, subject, 2)
    trained = stage.draw(prompts(stage.called)[:1], QUICK)
    assert {name for name, _ in model.unet.named_parameters()} == names
    fresh = DreamBooth(learning_rate=0.05)(model, subject, 0)
    assert (trained - fresh.draw(prompts(fresh.called)[:1], QUICK)).abs().max() > 1e-4


@pytest.mark.slow
def test_what_is_measured_already_is_not_measured_again(
    model: DiffusionModel, subject: BenchSubject, tmp_path: Path
) -> None:
    asked: list[int] = []

    def run(_model: DiffusionModel, _subject: BenchSubject, steps: int) -> Stage:
        asked.append(steps)
        return Stage(steps, 1.0, 1, None, None, lambda _prompts, _way: torch.rand(8, 3, 64, 64))

    for steps in ((0, 4), (0, 4, 8)):
        measure(model, [Arm("ours", steps, run)], [subject], QUICK, embed=mean_colour, folder=tmp_path)
    assert asked == [0, 4, 8]
    assert [record.steps for record in read(tmp_path)] == [0, 4, 8]


def test_a_gain_of_every_subject_is_told_from_noise() -> None:
    records = [a_record(f"s{n}", "ours", 12, 0.8) for n in range(10)]
    records += [a_record(f"s{n}", "PTI", 500, 0.5, seconds=30.0) for n in range(10)]
    (found,) = summary.differences(records)
    assert found.low > 0
    assert found.times_faster == pytest.approx(30.0)


def test_a_gain_that_changes_sides_is_not() -> None:
    records = [a_record(f"s{n}", "ours", 12, 0.6) for n in range(10)]
    records += [a_record(f"s{n}", "PTI", 500, 0.5 + 0.2 * (n % 2)) for n in range(10)]
    (found,) = summary.differences(records)
    assert found.low < 0 < found.high


def test_differences_are_taken_over_the_subjects_that_both_have() -> None:
    records = [a_record("a", "ours", 12, 0.6), a_record("b", "ours", 12, 0.6), a_record("b", "PTI", 500, 0.1)]
    (found,) = summary.differences(records)
    assert found.subjects == 1


def test_the_report_is_written_from_the_records_alone(tmp_path: Path) -> None:
    records = [a_record("a", "ours", steps, 0.5) for steps in (0, 12)]
    text = summary.write(records, tmp_path, {"model": "x"})
    assert "| ours | 12 | fluent | 1 | 0.500 |" in text
    with Image.open(tmp_path / "curves.png") as curves:
        assert curves.size == (WIDTH_PX, HEIGHT_PX)


def test_the_blend_is_drawn_over_alpha(tmp_path: Path) -> None:
    summary.write([a_record("a", f"alpha {alpha}", 12, 0.5) for alpha in ("0", "0.4", "1")], tmp_path, {})
    with Image.open(tmp_path / "alpha.png") as blends:
        assert blends.size == (WIDTH_PX, HEIGHT_PX)


def test_a_chart_draws_each_series_in_its_own_colour() -> None:
    one = chart([Series("a", [(0, 0.1), (12, 0.9)])], across="steps", up="score")
    two = chart([Series("a", [(0, 0.1), (12, 0.9)]), Series("b", [(0, 0.5), (12, 0.2)])], across="steps", up="score")
    assert len(two.getcolors(2**20) or []) > len(one.getcolors(2**20) or [])


def test_the_dual_path_keeps_more_for_the_backward_pass_but_not_twice_as_much(model: DiffusionModel) -> None:
    single, dual = (saved_bytes(model, tuning_step(model, 2, alpha)) for alpha in (1.0, 0.5))
    assert single < dual < 2 * single


def test_a_steps_cost_is_told_beside_both_bare_passes(model: DiffusionModel, tmp_path: Path) -> None:
    report = step.measure(model, "tiny", 2, 2, (0.5, 1.0))
    for cost in report.costs:
        assert cost.to_bare == pytest.approx(cost.seconds / report.bare_seconds)
        assert cost.to_bare_frozen == pytest.approx(cost.seconds / report.bare_frozen_seconds)
    assert not any(parameter.requires_grad for parameter in model.unet.parameters())
    assert json.loads(step.write(report, tmp_path)) == json.loads((tmp_path / "step.json").read_text())


def test_a_missing_encoder_is_told_in_one_sentence(
    tiny_folders: dict[Kind, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--model", str(tiny_folders["sd15"]), "--encoder", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["bench", "method", *places]) != 0
    assert "expected an encoder's folder" in capsys.readouterr().err


def test_an_arm_that_is_not_known_is_refused_with_those_that_are(
    tiny_folders: dict[Kind, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--model", str(tiny_folders["sd15"]), "--no-encoder", "--out", str(tmp_path / "out")]
    assert main(["bench", "method", *places, "--arm", "magic"]) != 0
    assert "'magic'; expected one of ours," in capsys.readouterr().err


@pytest.mark.slow
def test_the_peak_is_at_least_what_the_work_held() -> None:
    held = 200_000_000

    def work() -> int:
        return len(bytearray(b"x" * held))

    (size, peak), (_, before) = peak_bytes_of(work, torch.device("cpu")), peak_bytes_of(int, torch.device("cpu"))
    assert size == held
    if peak is None or before is None:
        pytest.skip("no kernel that counts resident memory")
    assert peak - before > 0.9 * held


def test_artifact_bytes_are_those_of_one_subject(model: DiffusionModel) -> None:
    offsets = zero_offsets(model.unet, 2, [torch.Generator()])
    numbers = sum(each.A.numel() + each.B.numel() for each in offsets.values())
    assert bytes_of(Prediction([torch.zeros(1, 32)], offsets)) == 2 * numbers + 4 * 32
