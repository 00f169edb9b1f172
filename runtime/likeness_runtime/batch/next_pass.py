"""From what a pass came to, to the shards of the next one: whoever has most to gain comes first."""

from __future__ import annotations

import math
from pathlib import Path

from likeness_runtime.batch.batch_folder import JSON, BatchFolder, plan_name, segment_name, shard_name
from likeness_runtime.batch.plan import LARGEST_SHARD, SMALLEST_SHARD, BatchPlan, PlannedSubject
from likeness_runtime.batch.result_line import Outcome, ResultLine, read_lines
from likeness_runtime.batch.shard_sizes import shard_sizes

LOSS = "lossAfter"
"""The runtime's own measure of how well a subject was learned, independent of any judge: the lower, the better."""


def plan_next_pass(folder: BatchFolder, which_pass: int, workers: int, scratch: Path) -> BatchPlan:
    """Writes the shards of that pass, and its plan last; the plan that is there already, where there is one.

    Those that failed in the pass before are left out: more steps do not mend a broken picture. Memory grows by some
    hundred bytes a subject.
    """
    standing = folder.read(plan_name(which_pass))
    if standing is not None:
        return BatchPlan.model_validate_json(standing)
    before = read_plan(folder, which_pass - 1)
    places: list[tuple[float, int, int]] = []
    """The score, and where the subject stands in the file."""
    with (scratch / "subjects").open("wb") as file:
        for index in range(len(before.shards)):
            scores = _scores(folder, which_pass - 1, index)
            for line in (folder.read(shard_name(which_pass - 1, index)) or b"").splitlines():
                number = PlannedSubject.decode(line).number
                if number in scores:
                    places.append((scores[number], file.tell(), len(line)))
                    file.write(line)
    places.sort()
    sizes = shard_sizes(len(places), workers, LARGEST_SHARD, SMALLEST_SHARD)
    following = iter(places)
    with (scratch / "subjects").open("rb") as file:
        for index, size in enumerate(sizes):
            lines = []
            for _ in range(size):
                _, start, length = next(following)
                file.seek(start)
                lines.append(file.read(length) + b"\n")
            folder.write(shard_name(which_pass, index), b"".join(lines))
    plan = before.model_copy(update={"shards": sizes})
    folder.write(plan_name(which_pass), plan.encode(), JSON)
    return plan


def read_plan(folder: BatchFolder, which_pass: int) -> BatchPlan:
    """The plan of a pass that was begun."""
    data = folder.read(plan_name(which_pass))
    assert data is not None, f"{folder.address}{plan_name(which_pass)} is gone"
    return BatchPlan.model_validate_json(data)


def _scores(folder: BatchFolder, which_pass: int, index: int) -> dict[int, float]:
    """By line number, lowest first to be worked on; without those that failed."""
    lines = read_lines(folder.read(segment_name(which_pass, index)))
    return {line.line: own_score(line) for line in lines if line.outcome is not Outcome.FAILED}


def own_score(line: ResultLine) -> float:
    """How well a subject was learned; where nothing says so, it comes first."""
    loss = line.metrics.get(LOSS)
    return -float(loss) if loss is not None else -math.inf
