"""`likeness bench method`: ours, its ablations and the baselines on the same subjects, drawn and judged alike.

One JSON line for each subject, arm, telling, number of steps and drawing goes to `records.jsonl` as it is measured, so
that a run can be cut off and taken up again; `bench/summary.py` turns the lines into tables and curves.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from likeness_api.tuning import ResolvedTuning
from likeness_lab.bench.arm import OFF, Arm, ArmFunction, Stage, TunedArm
from likeness_lab.bench.condition import DRAWINGS, BenchCondition
from likeness_lab.bench.draw import Learned, Sampling, drawn, wordless
from likeness_lab.bench.dreambooth import DreamBooth
from likeness_lab.bench.memory import peak_bytes_of
from likeness_lab.bench.paired_error import paired_error
from likeness_lab.bench.score import BACKGROUNDS, Score, prompts, score
from likeness_lab.bench.subject import BenchSubject, Case, case, tensor_of
from likeness_lab.judge.identity import Embed
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.method.caption import Recognise
from likeness_runtime.method.contrastive import Strength
from likeness_runtime.method.forms import with_article
from likeness_runtime.method.predictor import Predictor

RECORDS = "records.jsonl"
STEPS = (0, 4, 8, 12, 24)
BASELINE_STEPS = (12, 64, 500)
"""Of DreamBooth at batch 1, 64 take about the seconds of our twelve."""
BASELINE_BATCH = 4
"""Of textual inversion and PTI, as diffusers' textual inversion accumulates, and of DreamBooth's second arm."""
ABLATION_ALPHAS = ("0.6", "0.8")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """One measurement."""

    subject: str
    kind: str
    condition: BenchCondition
    caption: str | None
    """What the arm learned from beside the picture; None where there was no caption."""
    rows: int
    seconds: float
    artifact_bytes: int
    peak_bytes: int | None
    word: str | None
    cosine: float | None
    paired_error: float | None
    score: Score


def arms(encoder: Predictor, tuning: ResolvedTuning, dreambooth_rate: float, pti_rate: str) -> list[Arm]:
    """`encoder` and `tuning` are ours; the baselines learn LoRA at rates of their own. One name may have two arms."""
    ours = TunedArm(encoder, tuning)
    baseline = tuning.model_copy(update={"learning_rate": pti_rate, "batch_size": BASELINE_BATCH, "alpha": "1"})
    pti = TunedArm(None, baseline, OFF)
    baselines: dict[str, ArmFunction] = {
        "DreamBooth-LoRA": DreamBooth(dreambooth_rate),
        "PTI": pti,
        "textual inversion": replace(pti, learn_offsets=False),
    }

    def blended(alpha: str) -> TunedArm:
        return replace(ours, tuning=tuning.model_copy(update={"alpha": alpha}))

    return [
        Arm("ours", ours, STEPS),
        Arm("ours", ours, (12,), ("given", "untold")),
        *(
            arm
            for name, run in baselines.items()
            for arm in (Arm(name, run, BASELINE_STEPS), Arm(name, run, BASELINE_STEPS[-1:], ("untold",)))
        ),
        Arm("DreamBooth-LoRA, batch 4", DreamBooth(dreambooth_rate, batch=BASELINE_BATCH), (16, 125)),
        Arm("without contrastive term", replace(ours, strength=Strength(contrastive=0.0))),
        Arm("without norm", replace(ours, strength=Strength(norm=0.0))),
        Arm("without hypernetwork", replace(ours, keep_offsets=False)),
        Arm("without predicted word", replace(ours, keep_word=False)),
        Arm("word alone", replace(ours, learn_offsets=False)),
        *(Arm(f"alpha {alpha}", blended(alpha)) for alpha in ABLATION_ALPHAS),
        *(Arm(f"alpha {alpha}, class word", replace(blended(alpha), class_word=True)) for alpha in ABLATION_ALPHAS),
        Arm("floor", _floor, (0,), ("untold",), DRAWINGS[1:]),
        Arm("ceiling", _ceiling, (0,), ("untold",), DRAWINGS[1:]),
    ]


def measure_method(
    model: DiffusionModel,
    chosen: list[Arm],
    subjects: list[BenchSubject],
    sampling: Sampling,
    *,
    recognise: Recognise | None,
    embed: Embed,
    folder: Path,
) -> None:
    """Measures what `folder` does not hold yet, subject by subject; `embed` is the judge of identity."""
    folder.mkdir(parents=True, exist_ok=True)
    done = {(record.subject, record.condition) for record in read_records(folder)}
    for subject in subjects:
        for arm, telling, steps in ((each, *pair) for each in chosen for pair in product(each.tellings, each.steps)):
            conditions = [BenchCondition(arm.name, steps, telling, drawing) for drawing in arm.drawings]
            missing = [each for each in conditions if (subject.name, each) not in done]
            learned_from = case(subject, telling, recognise) if missing else None
            if learned_from is None:
                continue
            stage, peak = peak_bytes_of(partial(arm.run, model, learned_from, steps), model.device)
            if stage is None:
                continue
            error = None if stage.learned is None else paired_error(model, stage.learned, subject)
            for condition in missing:
                images = _pictures(model, stage, condition, sampling)
                record = Record(
                    subject=subject.name,
                    kind=subject.kind,
                    condition=condition,
                    caption=learned_from.told.caption,
                    rows=stage.rows,
                    seconds=round(stage.seconds, 4),
                    artifact_bytes=stage.artifact_bytes,
                    peak_bytes=peak,
                    word=stage.word,
                    cosine=stage.cosine,
                    paired_error=error,
                    score=score(images, tensor_of(subject.picture), subject.references, embed),
                )
                _keep(folder, record)
                _save_picture(folder, record, subject, images)
        log.info("Measured %s.", subject.name)


def read_records(folder: Path) -> list[Record]:
    """All measurements so far."""
    path = folder / RECORDS
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        Record(**(line | {"score": Score(**line["score"]), "condition": BenchCondition(**line["condition"])}))
        for line in lines
    ]


def _pictures(model: DiffusionModel, stage: Stage, condition: BenchCondition, sampling: Sampling) -> Tensor:
    if stage.learned is None:
        assert stage.pictures is not None
        return stage.pictures.repeat(len(sampling.seeds), 1, 1, 1)
    untouched = condition.drawing == DRAWINGS[0]
    return drawn(model, stage.learned, prompts(stage.learned.called), sampling, untouched_guidance=untouched)


def _keep(folder: Path, record: Record) -> None:
    with (folder / RECORDS).open("a") as file:
        file.write(json.dumps(asdict(record)) + "\n")


def picture_path(folder: Path, subject: str, condition: BenchCondition) -> Path:
    """The input and one picture for each background, side by side."""
    name = ".".join([subject, *(str(part) for part in asdict(condition).values()), "png"])
    return folder / "pictures" / name.replace(" ", "-")


def _save_picture(folder: Path, record: Record, subject: BenchSubject, images: Tensor) -> None:
    row = [np.asarray(subject.picture.resize((64, 64))), *_bytes(images[: len(BACKGROUNDS)])]
    path = picture_path(folder, record.subject, record.condition)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(row, axis=1)).save(path)


def _bytes(images: Tensor) -> list[np.ndarray]:
    return list((images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())


def _floor(model: DiffusionModel, given: Case, steps: int) -> Stage:
    """Draws the class word with the plain model."""
    word = given.subject.class_word
    return Stage(steps, 0, 0.0, 0, word, None, Learned(wordless(model, {}), with_article(word)))


def _ceiling(_model: DiffusionModel, given: Case, steps: int) -> Stage | None:
    """True renders of what the prompts ask for."""
    if given.subject.truth is None:
        return None
    return Stage(steps, 0, 0.0, 0, None, None, None, given.subject.truth)
