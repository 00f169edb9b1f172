"""From the segments of a batch to its results: one line a subject, in the source's order."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from likeness_api.personalization_batch import Counts, FailureSample
from likeness_runtime.batch.batch_folder import RESULTS_NAME, BatchFolder, segment_name
from likeness_runtime.batch.plan import BatchPlan
from likeness_runtime.batch.result_line import Outcome, ResultLine, failed_entry, index_entry

MOST_REASONS = 10


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
            for reason, count in self.reasons.most_common(MOST_REASONS)
        ]


def collect(plan: BatchPlan, folder: BatchFolder, passes: int, scratch: Path) -> tuple[Tally, Path]:
    """Writes results.jsonl, failed.jsonl and index.jsonl; the tally, and the results as a file below `scratch`."""
    tally, results = Tally(), scratch / "results"
    with (
        results.open("wb") as all_lines,
        (scratch / "failed").open("wb") as failed,
        (scratch / "index").open("wb") as index,
    ):
        for line in all_results(plan, folder, passes, scratch):
            tally.add(line)
            all_lines.write(line.encode())
            if line.outcome is not Outcome.FAILED:
                index.write(_json_line(index_entry(line, plan.model)))
            elif (entry := failed_entry(line)) is not None:
                failed.write(_json_line(entry))
    folder.upload(scratch / "index", "index.jsonl")
    folder.upload(scratch / "failed", "failed.jsonl")
    folder.upload(results, RESULTS_NAME)
    return tally, results


def all_results(plan: BatchPlan, folder: BatchFolder, passes: int, scratch: Path) -> Iterator[ResultLine]:
    """Every line that there is so far, in the source's order; of several passes the last one that published. `scratch`
    takes what is too much for memory.
    """
    sources = (_fetched(folder, name, scratch) for name in ("quarantined.jsonl", "skipped.jsonl"))
    worked = (line for index in range(len(plan.shards)) for line in shard_results(folder, index, passes))
    yield from heapq.merge(*sources, worked, key=lambda line: line.line)


def shard_results(folder: BatchFolder, index: int, passes: int) -> list[ResultLine]:
    """What the passes made of a shard's subjects, in the source's order.

    A later pass that failed takes nothing away: what an earlier one published is there, and its line stays.
    """
    best: dict[int, ResultLine] = {}
    for which in range(passes):
        for line in read_lines(folder.read(segment_name(which, index))):
            if line.outcome is not Outcome.FAILED or line.line not in best:
                best[line.line] = line
    return [best[number] for number in sorted(best)]


def _fetched(folder: BatchFolder, name: str, scratch: Path) -> Iterator[ResultLine]:
    folder.download(name, scratch / name)
    with (scratch / name).open("rb") as lines:
        yield from (ResultLine.decode(line) for line in lines)


def read_lines(data: bytes | None) -> Iterator[ResultLine]:
    return (ResultLine.decode(line) for line in (data or b"").splitlines())


def _json_line(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
