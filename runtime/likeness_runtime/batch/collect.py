"""From the segments of a batch to its results: one line a subject, in the source's order."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from likeness_api.personalization_batch import MOST_FAILURES, Counts, FailureSample
from likeness_runtime.batch.batch_folder import RESULTS_NAME, BatchFolder, segment_name
from likeness_runtime.batch.later_passes import LaterPasses
from likeness_runtime.batch.plan import BatchPlan
from likeness_runtime.batch.result_line import Outcome, ResultLine, failed_entry, index_entry, read_lines


@dataclass
class Tally:
    """Counts lines as they go by."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    samples: dict[str, ResultLine] = field(default_factory=dict)

    def add(self, line: ResultLine) -> None:
        self.outcomes[line.outcome] += 1
        if line.outcome is Outcome.FAILED:
            self.reasons[line.reason] += 1
            self.samples.setdefault(line.reason, line)

    def counts(self, total: int) -> Counts:
        done = sum(self.outcomes.values())
        return Counts(
            total=total,
            succeeded=self.outcomes[Outcome.SUCCEEDED],
            skipped=self.outcomes[Outcome.SKIPPED],
            failed=self.outcomes[Outcome.FAILED],
            pending=max(0, total - done),
        )

    def failures(self) -> list[FailureSample]:
        """The most frequent reasons, each with its first line as the sample."""
        return [
            FailureSample(reason=reason, count=count, id=self.samples[reason].id, message=self.samples[reason].message)
            for reason, count in self.reasons.most_common(MOST_FAILURES)
        ]


def collect(plans: list[BatchPlan], folder: BatchFolder, steps: list[int], scratch: Path) -> tuple[Tally, Path]:
    """Writes results.jsonl, failed.jsonl and index.jsonl; the tally, and the results as a file below `scratch`.

    `plans` and `steps` are of the passes that were begun.
    """
    tally, results = Tally(), scratch / "results"
    with (
        results.open("wb") as all_lines,
        (scratch / "failed").open("wb") as failed,
        (scratch / "index").open("wb") as index,
    ):
        for line in all_results(plans, folder, steps, scratch):
            tally.add(line)
            all_lines.write(line.encode())
            if line.outcome is not Outcome.FAILED:
                index.write(_json_line(index_entry(line, plans[0].model)))
            elif (entry := failed_entry(line)) is not None:
                failed.write(_json_line(entry))
    folder.upload(scratch / "index", "index.jsonl")
    folder.upload(scratch / "failed", "failed.jsonl")
    folder.upload(results, RESULTS_NAME)
    return tally, results


def missing_shards(plan: BatchPlan, folder: BatchFolder, which_pass: int) -> list[int]:
    """Shards of a pass whose segments do not account for all of their subjects."""
    return [
        index
        for index, size in enumerate(plan.shards)
        if len({line.line for line in read_lines(folder.read(segment_name(which_pass, index)))}) < size
    ]


def all_results(plans: list[BatchPlan], folder: BatchFolder, steps: list[int], scratch: Path) -> Iterator[ResultLine]:
    """Every line that there is so far, in the source's order; of several passes the last one that published. `scratch`
    takes what is too much for memory.
    """
    sources = (_fetched(folder, name, scratch) for name in ("quarantined.jsonl", "skipped.jsonl"))
    worked = (
        line
        for index in range(len(plans[0].shards))
        for line in sorted(read_lines(folder.read(segment_name(0, index))), key=lambda line: line.line)
    )
    later = LaterPasses(scratch / "later", steps)
    later.read(folder, plans[1:])
    yield from heapq.merge(*sources, (later.better(line) for line in worked), key=lambda line: line.line)


def _fetched(folder: BatchFolder, name: str, scratch: Path) -> Iterator[ResultLine]:
    folder.download(name, scratch / name)
    with (scratch / name).open("rb") as lines:
        yield from (ResultLine.decode(line) for line in lines)


def _json_line(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
