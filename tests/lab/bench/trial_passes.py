"""What a catalogue is worth when the night ends at half of it: everyone predicted first and then tuned, or one by one.

    .venv/bin/python tests/lab/bench/trial_passes.py --subjects 200

Both arms learn the same held-out subjects with the same seeds, in one session on this machine: passes [12] to the end,
which says how long all of it takes, and passes [0, 12] until half of that. Scored is what is published of each subject
at that moment, by its picture of "a photo of a <token>" and the judge of `likeness bench` (mean cosine with other
pictures of the subject; no part of the runtime); who has nothing yet scores as the untouched model does with the class
word. Prints JSON.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from likeness_api.accept import run_order
from likeness_api.personalization_batch import PersonalizationBatchSpec
from likeness_api.tuning import Tuning
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_lab.bench.draw import Learned, Sampling, drawn, wordless
from likeness_lab.bench.subject import BenchSubject, held_out_subjects, tensor_of
from likeness_lab.judge.glyph import embed_by_glyph
from likeness_lab.judge.identity import similarity
from likeness_runtime.batch.result_line import ResultLine
from likeness_runtime.denoiser.model import device_named
from likeness_runtime.failure import InterruptedRunError
from likeness_runtime.local.run_batch import LocalBatch
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.model_cache import ModelCache
from likeness_runtime.order.prepare import locate_models
from likeness_runtime.order.produce import load_models
from likeness_runtime.storage.stores import Stores

PROMPT, SEED = "a photo of a {}", 7
MODELS = ModelCache()
"""Loaded once, before the clock runs."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=200)
    parser.add_argument("--skip", type=int, default=0, help="held-out subjects that are left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(vars(options) | trial(Path(name), options), indent=1))
    return 0


def trial(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    subjects = held_out_subjects(options.subjects, skip=options.skip)
    lines = []
    for number, subject in enumerate(subjects):
        subject.picture.save(folder / f"{number}.png")
        lines.append(json.dumps({"id": f"s{number}", "images": [f"file://./{number}.png"]}))
    (folder / "m.jsonl").write_text("\n".join(lines))
    profile = TuningProfileSpec.model_validate(
        {"model": {"uri": "builtin://pocket"}, "encoder": {"uri": "builtin://pocket"}, "runtime": {"image": "none"},
         "storage": {"sourcePrefixes": ["s3://none"], "outputPrefixes": ["s3://none"]}}
    )  # fmt: skip
    untouched = draw_untouched(profile, subjects)
    began = datetime.now(UTC)
    whole = run(folder, "plain", profile, [12], None)
    cut = whole / 2
    passes = run(folder, "passes", profile, [0, 12], cut)
    plain = published(folder, "plain", [0], began.timestamp() + cut)
    both = published(folder, "passes", [0, 1], None)
    zero = score_all(subjects, {}, untouched)
    return {
        "seconds_of_all": round(whole), "cut_at": round(cut), "passes_ran": round(passes),
        "published_at_the_cut": {"[12]": len(plain), "[0, 12]": len(both)},
        "tuned_at_the_cut": {"[12]": len(plain), "[0, 12]": len(published(folder, "passes", [1], None))},
        "mean_score": {
            "nothing, the untouched model": round(zero, 4),
            "[12]": round(score_all(subjects, plain, untouched), 4),
            "[0, 12]": round(score_all(subjects, both, untouched), 4),
            "[12], uncut": round(score_all(subjects, published(folder, "plain", [0], None), untouched), 4),
        },
    }  # fmt: skip


def context_of(profile: TuningProfileSpec, until: float | None) -> RunContext:
    def check() -> None:
        if until is not None and time.monotonic() > until:
            raise InterruptedRunError

    storage = run_order(Tuning(), profile, "shop", local=True).storage
    stores = Stores(storage, lambda _seconds: None)
    return RunContext(stores, lambda _step, _total: check(), check, MODELS)


def run(folder: Path, name: str, profile: TuningProfileSpec, passes: list[int], seconds: float | None) -> float:
    """How long it ran."""
    spec = PersonalizationBatchSpec.model_validate(
        {"source": {"manifest": f"file://{folder}/m.jsonl"}, "passes": passes, "maxFailedPercent": 0,
         "template": {"output": f"file://{folder}/{name}", "tuning": {"seed": SEED},
                      "previews": [{"prompt": PROMPT.format("{token}"), "seed": SEED}]}}
    )  # fmt: skip
    began = time.monotonic()
    try:
        context = context_of(profile, began + seconds if seconds else None)
        status, _ = LocalBatch(name, "shop", spec, profile, context).run()
        assert status.conditions[0].type == "Succeeded", status.conditions
    except InterruptedRunError:
        pass
    return time.monotonic() - began


def published(folder: Path, name: str, passes: list[int], until: float | None) -> dict[int, Path]:
    """By number, the folder of the last of these passes that published the subject by then."""
    found: dict[int, Path] = {}
    for which in passes:
        for segment in sorted((folder / name / "shop/.batches" / name / "1/segments").glob(f"{which}-*.jsonl")):
            for line in map(ResultLine.decode, segment.read_bytes().splitlines()):
                if line.folder is None or line.id is None or line.end_time is None:
                    continue
                if until is None or datetime.fromisoformat(line.end_time).timestamp() <= until:
                    found[int(line.id[1:])] = Path(line.folder.removeprefix("file://"))
    return found


@torch.no_grad()
def draw_untouched(profile: TuningProfileSpec, subjects: list[BenchSubject]) -> dict[str, Tensor]:
    """By class word, what the model draws of it as it is, (3, h, w) in [0, 1]."""
    context = context_of(profile, None)
    order = run_order(Tuning(), profile, "shop", local=True)
    models = locate_models(order, context.stores)
    load_models(order, models, context.models)
    model = context.models.model(*models.model, device_named(order.device))
    words = sorted({subject.class_word for subject in subjects})
    learned = Learned(wordless(model, {}), called="")
    pictures = drawn(
        model, learned, [PROMPT.format(word) for word in words], Sampling(seeds=(SEED,)), untouched_guidance=False
    )
    return dict(zip(words, pictures, strict=True))


def score_all(subjects: list[BenchSubject], folders: dict[int, Path], untouched: dict[str, Tensor]) -> float:
    scores = []
    for number, subject in enumerate(subjects):
        if number in folders:
            with Image.open(folders[number] / "previews/00.png") as image:
                picture = tensor_of(image.convert("RGB").resize((64, 64)))[0]
        else:
            picture = untouched[subject.class_word]
        cosine = similarity(picture[None], subject.references, embed_by_glyph)
        scores.append(float(cosine.clamp(min=0.0)))
    return sum(scores) / len(scores)


if __name__ == "__main__":
    raise SystemExit(main())
