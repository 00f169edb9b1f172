"""`likeness bench method`: ours, its ablations and the baselines on the same subjects, seeds and judges.

One JSON line for each subject, arm and number of steps goes to `records.jsonl` as it is measured, so that a run can be
cut off and taken up again; `bench/summary.py` turns the lines into tables and curves.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from likeness_api.tuning import ResolvedTuning
from likeness_runtime.bench.arm import OFF, Arm, Stage, Tuned, stages
from likeness_runtime.bench.draw import Sampling, noise, sampled
from likeness_runtime.bench.dreambooth import DreamBooth, plain_text
from likeness_runtime.bench.score import BACKGROUNDS, Score, prompts, score
from likeness_runtime.bench.subject import BenchSubject, tensor_of
from likeness_runtime.contrastive import Strength
from likeness_runtime.from_encoder import empty_prompt
from likeness_runtime.judge.identity import Embed
from likeness_runtime.model import DiffusionModel
from likeness_runtime.pocket.caption import with_article
from likeness_runtime.predictor import Predictor

RECORDS = "records.jsonl"
STEPS = (0, 4, 8, 12, 24, 100)
BASELINE_STEPS = (12, 100, 500)
BASELINE_BATCH = 4
"""Of textual inversion and PTI, as diffusers' textual inversion accumulates."""
ALPHA_ARM = "alpha "
ALPHAS = ("0", "0.2", "0.4", "0.6", "0.8", "1")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """One measurement."""

    subject: str
    kind: str
    arm: str
    steps: int
    seconds: float
    artifact_bytes: int
    peak_bytes: int | None
    word: str | None
    cosine: float | None
    score: Score


def arms(encoder: Predictor, tuning: ResolvedTuning, dreambooth_rate: float, pti_rate: str) -> dict[str, Arm]:
    """By name. `encoder` and `tuning` are ours; the baselines learn LoRA at rates of their own."""

    def ours(name: str, steps: tuple[int, ...] = (12,), predictor: Predictor = encoder, **changed: str) -> Arm:
        return Arm(name, steps, Tuned(predictor, tuning.model_copy(update=changed)))

    single = tuning.model_copy(update={"alpha": "1"})
    pti = single.model_copy(update={"learning_rate": pti_rate, "batch_size": BASELINE_BATCH})
    every = [
        ours("ours", STEPS),
        Arm("plain files of ours", (0, 12), Tuned(encoder, tuning, drawn_alpha=1.0, untouched_guidance=False)),
        Arm("without contrastive term", (12,), Tuned(encoder, tuning, Strength(contrastive=0.0))),
        Arm("without norm", (12,), Tuned(encoder, tuning, Strength(norm=0.0))),
        Arm("class word", (12,), Tuned(encoder, tuning, class_word=True)),
        Arm("without hypernetwork", (12,), Tuned(encoder, tuning, keep_offsets=False)),
        Arm("without dual path", (12,), Tuned(encoder, single, untouched_guidance=False)),
        Arm("E4T-like", (12,), Tuned(encoder, single, Strength(contrastive=0.0), untouched_guidance=False)),
        *(ours(f"{ALPHA_ARM}{alpha}", alpha=alpha) for alpha in ALPHAS),
        Arm("PTI", BASELINE_STEPS, Tuned(None, pti, OFF, untouched_guidance=False)),
        Arm("textual inversion", BASELINE_STEPS, Tuned(None, pti, OFF, learn_offsets=False, untouched_guidance=False)),
        Arm("DreamBooth-LoRA", BASELINE_STEPS, DreamBooth(dreambooth_rate)),
        Arm("floor", (0,), _floor),
        Arm("ceiling", (0,), _ceiling),
    ]
    return {arm.name: arm for arm in every}


def measure(
    model: DiffusionModel,
    chosen: list[Arm],
    subjects: list[BenchSubject],
    sampling: Sampling,
    *,
    embed: Embed,
    folder: Path,
) -> None:
    """Measures what `folder` does not hold yet, subject by subject; `embed` is the judge of identity."""
    folder.mkdir(parents=True, exist_ok=True)
    done = {(record.subject, record.arm, record.steps) for record in read(folder)}
    for subject in subjects:
        for arm in chosen:
            missing = tuple(steps for steps in arm.steps if (subject.name, arm.name, steps) not in done)
            for stage in stages(Arm(arm.name, missing, arm.run), model, subject):
                images = stage.draw(prompts(stage.called), sampling)
                _keep(folder, _record(subject, arm.name, stage, images, embed))
                _picture(folder, subject, arm.name, stage.steps, images)
        log.info("Measured %s.", subject.name)


def read(folder: Path) -> list[Record]:
    """All measurements so far."""
    path = folder / RECORDS
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [Record(**(line | {"score": Score(**line["score"])})) for line in lines]


def _record(subject: BenchSubject, arm: str, stage: Stage, images: Tensor, embed: Embed) -> Record:
    return Record(
        subject=subject.name,
        kind=subject.kind,
        arm=arm,
        steps=stage.steps,
        seconds=round(stage.seconds, 4),
        artifact_bytes=stage.artifact_bytes,
        peak_bytes=stage.peak_bytes,
        word=stage.word,
        cosine=stage.cosine,
        score=score(images, tensor_of(subject.picture), subject.references, embed),
    )


def _keep(folder: Path, record: Record) -> None:
    with (folder / RECORDS).open("a") as file:
        file.write(json.dumps(asdict(record)) + "\n")


def _picture(folder: Path, subject: BenchSubject, arm: str, steps: int, images: Tensor) -> None:
    """The input and one picture for each background, side by side."""
    row = [np.asarray(subject.picture.resize((64, 64))), *_bytes(images[: len(BACKGROUNDS)])]
    (folder / "pictures").mkdir(exist_ok=True)
    name = f"{subject.name}.{arm}.{steps}.png".replace(" ", "-")
    Image.fromarray(np.concatenate(row, axis=1)).save(folder / "pictures" / name)


def _bytes(images: Tensor) -> list[np.ndarray]:
    return list((images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())


def _floor(model: DiffusionModel, subject: BenchSubject, steps: int) -> Stage:
    """The plain model, asked for the class word."""

    def draw(asked: list[str], sampling: Sampling) -> Tensor:
        text = plain_text(model, asked * len(sampling.seeds))
        return sampled(model, text, empty_prompt(model), noise(model, len(asked), sampling), sampling)

    called = with_article(subject.class_word)
    return Stage(steps, 0.0, 0, subject.class_word, None, lambda asked, way: draw(list(asked), way), called)


def _ceiling(_model: DiffusionModel, subject: BenchSubject, steps: int) -> Stage | None:
    """True renders of what the prompts ask for."""
    truth = subject.truth
    if truth is None:
        return None
    return Stage(steps, 0.0, 0, None, None, lambda _asked, way: truth.repeat(len(way.seeds), 1, 1, 1))
