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
from likeness_lab.bench import step, summary
from likeness_lab.bench.arm import OFF, Arm, Stage, TunedArm, bytes_of
from likeness_lab.bench.chart import HEIGHT_PX, WIDTH_PX, Series, write_chart
from likeness_lab.bench.condition import BenchCondition
from likeness_lab.bench.draw import Sampling, drawn, noise
from likeness_lab.bench.dreambooth import Adapter, DreamBooth
from likeness_lab.bench.memory import peak_bytes_of
from likeness_lab.bench.method import Record, measure_method, picture_path, read_records
from likeness_lab.bench.paired_error import paired_error
from likeness_lab.bench.score import BACKGROUNDS, Score, prompts, score
from likeness_lab.bench.showcase import SHOWCASE_COLUMNS, showcase
from likeness_lab.bench.step import tuning_step
from likeness_lab.bench.subject import BenchSubject, Case, case, held_out_subjects
from likeness_lab.bench.sweep import variants
from likeness_lab.pocket.pixels import images_of
from likeness_lab.pocket.scene import paint
from likeness_runtime.cli import main
from likeness_runtime.denoiser.lora import zero_offsets
from likeness_runtime.denoiser.model import DiffusionModel, load_diffusion_model
from likeness_runtime.denoiser.text import paired
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.method.encoder_folder import load_encoder
from likeness_runtime.method.from_encoder import FromEncoder
from likeness_runtime.method.memory import saved_bytes
from likeness_runtime.method.predictor import FromWord, Prediction
from likeness_runtime.pocket import MODEL_PATH
from likeness_runtime.storage.model_folder import folder_digest

QUICK = Sampling(steps=2, guidance=3.0, seeds=(0,))
TUNING = ResolvedTuning(batch_size=2, rank=2)


@pytest.fixture
def model(tiny_model: Callable[[TinyKind], DiffusionModel]) -> DiffusionModel:
    return tiny_model("sd15")


@pytest.fixture
def subject(photo: Image.Image) -> BenchSubject:
    return BenchSubject("photo-teapot", "photo", "object", photo, torch.rand(2, 3, 64, 64))


def mean_colour(images: Tensor) -> Tensor:
    """A judge that any two pictures of one colour satisfy."""
    return torch.nn.functional.normalize(images.mean(dim=(2, 3)), dim=-1)


@pytest.fixture
def untold(subject: BenchSubject) -> Case:
    found = case(subject, "untold", None)
    assert found is not None
    return found


def pictures(model: DiffusionModel, stage: Stage, *, untouched_guidance: bool = True) -> Tensor:
    assert stage.learned is not None
    return drawn(model, stage.learned, prompts(stage.learned.called)[:2], QUICK, untouched_guidance=untouched_guidance)


DRAWN = (("untouched", 0.6), ("stock", 0.4))


def a_record(
    subject: str, arm: str, steps: int, identity: float, *, seconds: float = 1.0, drawing: str = "untouched"
) -> Record:
    caption = "a picture of a {token} on the moon"
    condition = BenchCondition(arm, steps, "recognised", drawing)
    scored = Score(identity, identity, 1.0, 1.0)
    return Record(subject, "fluent", condition, caption, steps, seconds, 100, None, "cat", 0.5, None, scored)


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
    assert prompts("a <x>")[0] == "a picture of a <x> on a red background"
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
def test_our_arm_tunes_and_draws(model: DiffusionModel, untold: Case, alpha: str) -> None:
    tuning = TUNING.model_copy(update={"alpha": alpha, "learning_rate": "0.05"})
    before, after = (TunedArm(FromWord(), tuning)(model, untold, steps) for steps in (0, 2))
    assert (pictures(model, before) - pictures(model, after)).abs().max() > 1e-3
    assert (before.rows, after.rows) == (0, 4)


def test_textual_inversion_has_no_offsets(model: DiffusionModel, untold: Case) -> None:
    stage = TunedArm(FromWord(), TUNING, OFF, learn_offsets=False)(model, untold, 2)
    assert stage.artifact_bytes == 4 * model.text.token_tables[0].shape[1]


def test_without_the_predicted_word_tuning_starts_from_object(model: DiffusionModel, untold: Case) -> None:
    assert TunedArm(FromWord("cat"), TUNING)(model, untold, 0).word == "cat"
    assert TunedArm(FromWord("cat"), TUNING, keep_word=False)(model, untold, 0).word == "object"


def test_the_hard_word_can_be_the_class(model: DiffusionModel, untold: Case) -> None:
    tuning = TUNING.model_copy(update={"alpha": "0"})
    by_class, by_nearest = (
        TunedArm(FromWord("cat"), tuning, class_word=given)(model, untold, 0) for given in (True, False)
    )
    assert (pictures(model, by_class) - pictures(model, by_nearest)).abs().max() > 1e-4


def test_a_baseline_starts_from_the_class_word(model: DiffusionModel, untold: Case) -> None:
    told = replace(untold, subject=replace(untold.subject, class_word="cat"))
    assert TunedArm(None, TUNING, OFF)(model, told, 0).word == "cat"


def test_guidance_leads_away_from_another_model_in_each_drawing(model: DiffusionModel, untold: Case) -> None:
    stage = DreamBooth(learning_rate=0.05)(model, untold, 2)
    ways = [pictures(model, stage, untouched_guidance=untouched) for untouched in (True, False)]
    assert (ways[0] - ways[1]).abs().max() > 1e-4
    assert stage.learned is not None
    nothing = replace(stage, learned=replace(stage.learned, prediction=replace(stage.learned.prediction, offsets={})))
    ways = [pictures(model, nothing, untouched_guidance=untouched) for untouched in (True, False)]
    torch.testing.assert_close(ways[0], ways[1], rtol=0, atol=1e-4)


def test_an_arm_is_measured_at_what_is_asked_for_of_its_own() -> None:
    arm = Arm("ours", lambda _model, _case, _steps: None, (0, 4, 12), ("recognised", "untold"))
    chosen = arm.only([12, 4, 500], ["untold", "given"], ["stock"])
    assert (chosen.steps, chosen.tellings, chosen.drawings) == ((4, 12), ("untold",), ("stock",))
    assert arm.only(None, None, None) == arm


def test_a_sweep_changes_one_number_at_a_time() -> None:
    ours, *others = variants(FromWord(), ResolvedTuning())
    assert isinstance(ours.run, TunedArm)
    for arm in others:
        assert isinstance(arm.run, TunedArm)
        pairs = [
            (ours.run.tuning.to_json(), arm.run.tuning.to_json()),
            (vars(ours.run.strength), vars(arm.run.strength)),
        ]
        assert sum(before[key] != after[key] for before, after in pairs for key in before) == 1, arm.name


def test_dreambooth_leaves_the_network_as_it_was(model: DiffusionModel, untold: Case) -> None:
    names = {name for name, _ in model.denoiser.network.named_parameters()}
    fresh, trained = (DreamBooth(learning_rate=0.05)(model, untold, steps) for steps in (0, 2))
    assert {name for name, _ in model.denoiser.network.named_parameters()} == names
    assert (pictures(model, trained) - pictures(model, fresh)).abs().max() > 1e-4


def test_dreambooths_offsets_draw_what_its_adapter_draws(model: DiffusionModel, untold: Case) -> None:
    """So both drawings of it may go through the same code as ours."""
    stage = DreamBooth(learning_rate=0.05)(model, untold, 2)
    assert stage.learned is not None
    offsets = stage.learned.prediction.offsets
    z_t, text, timesteps = torch.randn(1, 4, 8, 8), model.text.encode_plain(["a sks cat"]), torch.tensor([500])
    with torch.no_grad():
        with model.denoiser.paths(offsets, 1.0):
            ours = model.denoiser.predict(z_t, timesteps, paired(text, text, 1.0))
        with Adapter(model, 4, 0) as adapter:
            for name, parameter in adapter.named.items():
                path, half = name.split(".lora_")
                parameter.data.copy_(getattr(offsets[path], half[0])[0])
            theirs = model.denoiser.predict(z_t, timesteps, text)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_what_is_told_is_what_the_runtime_tells(subject: BenchSubject) -> None:
    known = replace(subject, context="on a red background")
    given = case(known, "given", None)
    assert given is not None
    assert given.told.sentences == ["a picture of a <subject> on a red background"]
    recognised = case(known, "recognised", lambda _picture: "on the moon")
    assert recognised is not None
    assert "a photo of a <subject> on the moon" in recognised.told.sentences
    untold = case(known, "untold", lambda _picture: "on the moon")
    assert untold is not None
    assert untold.told.source == "NoContexts"
    assert case(subject, "given", None) is None


def test_the_paired_error_falls_with_what_is_known_of_the_subject() -> None:
    pocket = load_diffusion_model(MODEL_PATH, folder_digest(MODEL_PATH), torch.device("cpu"))
    (subject,) = held_out_subjects(1)
    told = case(subject, "given", None)
    assert told is not None
    trained = FromEncoder(load_encoder(MODEL_PATH.parent / "encoder", pocket))
    plain, predicted = (
        paired_error(pocket, stage.learned, subject)
        for stage in (TunedArm(start, TUNING)(pocket, told, 0) for start in (FromWord(), trained))
        if stage.learned
    )
    assert plain is not None
    assert predicted is not None
    assert predicted < plain


@pytest.mark.slow
def test_what_is_measured_already_is_not_measured_again(
    model: DiffusionModel, subject: BenchSubject, tmp_path: Path
) -> None:
    asked: list[int] = []

    def run(_model: DiffusionModel, _case: Case, steps: int) -> Stage:
        asked.append(steps)
        return Stage(steps, 0, 1.0, 1, None, None, None, torch.rand(8, 3, 64, 64))

    for steps in ((0, 4), (0, 4, 8)):
        arm = Arm("ours", run, steps, ("untold",), ("stock",))
        measure_method(model, [arm], [subject], QUICK, recognise=None, embed=mean_colour, folder=tmp_path)
    assert asked == [0, 4, 8]
    assert [record.condition.steps for record in read_records(tmp_path)] == [0, 4, 8]


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


def test_arms_are_compared_as_they_are_drawn_and_the_floor_with_both() -> None:
    records = [a_record("a", "ours", 12, identity, drawing=drawing) for drawing, identity in DRAWN]
    records += [a_record("a", "PTI", 500, 0.5, drawing=drawing) for drawing, _ in DRAWN]
    records += [a_record("a", "floor", 0, 0.1, drawing="stock")]
    gains = {(each.condition.arm, each.condition.drawing): each.harmonic for each in summary.differences(records)}
    assert set(gains) == {(arm, drawing) for arm in ("PTI", "floor") for drawing, _ in DRAWN}
    assert gains["PTI", "untouched"] > 0 > gains["PTI", "stock"]


def test_the_report_is_written_from_the_records_alone(tmp_path: Path) -> None:
    records = [a_record("a", "ours", steps, 0.5) for steps in (0, 12)]
    text = summary.write_summary(records, tmp_path, {"model": "x"})
    assert "| ours | 12 | recognised | 1 | 0.500 |" in text
    assert "| a | a picture of a {token} on the moon | cat | 0.500 |" in text
    with Image.open(tmp_path / "curves.png") as curves:
        assert curves.size == (WIDTH_PX, HEIGHT_PX)


def test_a_chart_draws_each_series_in_its_own_colour(tmp_path: Path) -> None:
    series = [Series("a", [(0, 0.1), (12, 0.9)]), Series("b", [(0, 0.5), (12, 0.2)])]
    colours = []
    for count in (1, 2):
        write_chart(series[:count], tmp_path / "chart.png", across="steps", up="score")
        with Image.open(tmp_path / "chart.png") as drawn_chart:
            colours.append(len(drawn_chart.getcolors(2**20) or []))
    assert colours[1] > colours[0]


def test_the_dual_path_keeps_more_for_the_backward_pass_but_not_twice_as_much(model: DiffusionModel) -> None:
    single, dual = (saved_bytes(model, tuning_step(model, 2, alpha)) for alpha in (1.0, 0.5))
    assert single < dual < 2 * single


def test_a_steps_cost_is_told_beside_both_bare_passes(model: DiffusionModel, tmp_path: Path) -> None:
    report = step.measure_step(model, "tiny", 2, 2, (0.5, 1.0))
    for cost in report.costs:
        assert cost.to_bare == pytest.approx(cost.seconds / report.bare_seconds)
        assert cost.to_bare_frozen == pytest.approx(cost.seconds / report.bare_frozen_seconds)
    assert not any(parameter.requires_grad for parameter in model.denoiser.network.parameters())
    assert json.loads(step.write_step_report(report, tmp_path)) == json.loads((tmp_path / "step.json").read_text())


def test_a_missing_encoder_is_told_in_one_sentence(
    tiny_folders: dict[TinyKind, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--model", str(tiny_folders["sd15"]), "--encoder", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["bench", "method", *places]) != 0
    assert "expected an encoder's folder" in capsys.readouterr().err


def test_an_arm_that_is_not_known_is_refused_with_those_that_are(
    tiny_folders: dict[TinyKind, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--model", str(tiny_folders["sd15"]), "--no-encoder", "--out", str(tmp_path / "out")]
    assert main(["bench", "method", *places, "--arm", "magic"]) != 0
    assert "'magic'; expected one of ours;" in capsys.readouterr().err


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
    offsets = zero_offsets(model.denoiser.adapter_sites(), 2, [torch.Generator()])
    numbers = sum(each.A.numel() + each.B.numel() for each in offsets.values())
    assert bytes_of(Prediction([torch.zeros(1, 32)], offsets)) == 2 * numbers + 4 * 32


def test_the_showcase_has_best_median_and_worst_as_they_were_drawn(tmp_path: Path) -> None:
    colours = {"a": "red", "b": "green", "c": "blue"}
    records = []
    for identity, (subject, colour) in zip((0.2, 0.9, 0.5), colours.items(), strict=True):
        for _, condition in SHOWCASE_COLUMNS:
            one = a_record(f"fluent-{subject}", condition.arm, condition.steps, identity, drawing=condition.drawing)
            records.append(one)
            path = picture_path(tmp_path, one.subject, one.condition)
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (9 * 64, 64), colour).save(path)
    sheet = showcase(records, tmp_path)
    assert sheet is not None
    rows = [sheet.getpixel((10, 40 + index * (sheet.height // 3))) for index in range(3)]
    assert rows == [(0, 128, 0), (0, 0, 255), (255, 0, 0)]
    assert showcase(records[1:], tmp_path) is None
    assert showcase([], tmp_path) is None
