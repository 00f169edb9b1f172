"""How a catalogue of any size is planned, collected and run again unchanged. The tuning is acted: every shard's results
are written as a worker would have written them.

    .venv/bin/python tests/runtime/batch/trial_catalogue.py --subjects 100000

Ends with 1 where a subject is lost or counted twice, or where an unchanged one is worked on.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from likeness_api.accept import run_order
from likeness_api.order import Order
from likeness_api.personalization import ManifestRef, Metric
from likeness_api.personalization_batch import PersonalizationBatchSpec, PersonalizationBatchStatus
from likeness_api.reason import Reason
from likeness_api.result import Result, ResultArtifact
from likeness_api.tuning import Tuning
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_runtime.batch import work
from likeness_runtime.local.run_batch import LocalBatch
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.manifest import folder_of
from likeness_runtime.storage.stores import Stores

PICTURES = 50
SHA = "0" * 64
worked: list[str] = []


def acted(run: Any, subjects: Any, *_rest: object) -> list[Result]:
    """As `fulfil_together` would answer, without a model."""
    worked.extend(subject.id for subject in subjects)
    return [_result(Order(run=run, subject=subject)) for subject in subjects]


def _result(order: Order) -> Result:
    name = order.subject.name
    return Result(
        reason=Reason.TUNED,
        message="tuned in 12 steps, 1.0 s in all",
        token=order.subject.token,
        nearest_word="teapot",
        manifest=ManifestRef(uri=folder_of(order, SHA) + "manifest.json", sha256=SHA),
        artifacts=[
            ResultArtifact(name=f"{name}{end}", format="lora", sha256=SHA, bytes=120_000)
            for end in (".safetensors", ".diffusers.safetensors")
        ],
        previews=["previews/input.png", "previews/00.png"],
        metrics=[Metric(name="lossAfter", value="0.12")],
        steps=order.tuning.steps,
    )


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--subjects", type=int, default=100_000)
    count: int = options.parse_args().subjects
    work.fulfil_together = acted  # type: ignore[assignment, attr-defined]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(PICTURES):
            (folder / f"{number}.png").write_bytes(b"%d" % number)
        lines = [json.dumps({"id": f"SKU_{i}", "images": [f"file://./{i % PICTURES}.png"]}) for i in range(count)]
        return trial(folder, lines, count)


def trial(folder: Path, lines: list[str], count: int) -> int:
    """Prints a line for each revision; 1 where something is not as it has to be."""
    planned = timed("plan", lambda: run(folder, lines, 1, mode="Plan"))
    assert planned.counts.pending == count
    status = timed("acted work, results and report", lambda: run(folder, lines, 1))
    wrong = [(status.counts.succeeded, len(worked)) != (count, count)]
    worked.clear()
    status = timed("the same as a new revision", lambda: run(folder, lines, 2))
    wrong += [(status.counts.skipped, len(worked)) != (count, 0)]
    new = json.dumps({"id": "new", "images": ["file://./0.png"]})
    changed = json.dumps({"id": "SKU_1", "images": ["file://./7.png"]})
    status = timed("one changed, one removed, one new", lambda: run(folder, [lines[0], changed, *lines[3:], new], 3))
    wrong += [sorted(worked) != ["SKU_1", "new"], status.counts.skipped != count - 2]
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB; wrong: {sum(wrong)}")  # noqa: T201
    return int(any(wrong))


def run(folder: Path, lines: list[str], revision: int, mode: str = "Run") -> PersonalizationBatchStatus:
    (folder / "m.jsonl").write_text("\n".join(lines))
    spec = PersonalizationBatchSpec.model_validate(
        {
            "source": {"manifest": f"file://{folder}/m.jsonl"},
            "revision": revision,
            "mode": mode,
            "template": {"output": f"file://{folder}/out"},
            "workers": {"max": 8},
        }
    )
    profile = TuningProfileSpec.model_validate(
        {
            "model": {"uri": "builtin://pocket"},
            "runtime": {"image": "none"},
            "storage": {"sourcePrefixes": ["s3://none"], "outputPrefixes": ["s3://none"]},
        }
    )
    storage = run_order(Tuning(), profile, "shop", local=True).storage
    context = RunContext(Stores(storage, lambda _seconds: None), lambda _step, _total: None, lambda: None)
    status, _ = LocalBatch("autumn", "shop", spec, profile, context).run()
    return status


def timed(what: str, call: Callable[[], PersonalizationBatchStatus]) -> PersonalizationBatchStatus:
    started = time.monotonic()
    status = call()
    print(f"{what}: {time.monotonic() - started:.1f} s; {status.conditions[0].message}", flush=True)  # noqa: T201
    return status


if __name__ == "__main__":
    sys.exit(main())
