"""A night of a catalogue, simulated: how much of the workers' time its end costs, and how true its ETA is.

    .venv/bin/python tests/operator/batch/bench_night.py --nights 20

Workers and clock are simulated; the planner's shard sizes, the ledger that hands shards out, the measured pace, the
number of workers wanted and the ETA are the product's own code. A subject's cost varies 1:10. Prints JSON. Two kinds of
nights:

- tail: eight workers to the end; idle is what they wait for the last one, of all their time.
- lost: a time is set; half-way a node goes with half of the workers, and there is room for six from then on.
"""

# ruff: noqa: T201, S311 - what it prints is what it is for, and chance is no secret

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from likeness_api.personalization_batch import PassProgress, PersonalizationBatchStatus, Shards
from likeness_api.shard_report import ShardProgress, ShardReport
from likeness_operator.batch.scale import BatchPace, WorkerGoal, eta, workers_wanted
from likeness_operator.batch.shard_ledger import ShardLedger
from likeness_runtime.batch.plan import LARGEST_SHARD, SMALLEST_SHARD
from likeness_runtime.batch.shard_sizes import shard_sizes
from likeness_runtime.batch.supervisor import HELD
from likeness_runtime.batch.work import SUBJECTS_A_PASS

EPOCH = datetime(2026, 11, 28, tzinfo=UTC)
LOOK_SECONDS = 30.0
"""Between two looks of the operator."""
START_SECONDS = 40.0
"""From a Job's creation until its worker has loaded the model."""
GONE_SECONDS = 40.0
"""Until Kubernetes says that a lost node's pods are gone."""


@dataclass
class SimulatedWorker:
    """One pod."""

    number: int
    began: float
    holds: list[ShardProgress] = field(default_factory=list)
    finished: list[ShardProgress] = field(default_factory=list)
    working: bool = False
    released: bool = False
    lost_at: float | None = None
    ended_at: float | None = None
    worked_until: float = 0.0

    @property
    def uid(self) -> str:
        return str(self.number)


@dataclass
class Night:
    """One batch from its first worker to its last shard. `room` is how many workers find a place at a time."""

    sizes: list[int]
    cost: Callable[[], float]
    fewest: int
    most: int
    complete_by: float | None = None
    lose_node_at: float | None = None
    room_after_loss: int = 10**6
    now: float = 0.0
    workers: list[SimulatedWorker] = field(default_factory=list)
    etas: list[tuple[float, float]] = field(default_factory=list)
    """When it was looked at, and when all would be done by that look."""
    partly: dict[int, ShardProgress] = field(default_factory=dict)
    """Shards that were given back before they were done."""
    counts: list[int] = field(default_factory=list)
    """How many workers there were at each look."""

    def run(self) -> None:
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        status = PersonalizationBatchStatus(
            revision=1, passes=[PassProgress(steps=12)], shards=Shards(total=len(self.sizes))
        )
        self.ledger = ShardLedger.of("uid", status, listen_until=0.0)
        self.ledger.last_pass = True
        self.done_at: float | None = None
        self._look()
        if self.lose_node_at is not None:
            self._after(self.lose_node_at, self._lose)
        while self.done_at is None or any(worker.ended_at is None for worker in self._living()):
            self.now, _, happens = heapq.heappop(self.events)
            happens()

    def _after(self, seconds: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.order), happens))

    def _living(self) -> list[SimulatedWorker]:
        return [worker for worker in self.workers if worker.lost_at is None and worker.ended_at is None]

    def _look(self) -> None:
        """What a reconciliation does about workers."""
        if self.ledger.left == 0:
            return
        succeeded, failed, _ = self.ledger.so_far()
        pace = BatchPace(
            sum(self.sizes) - succeeded - failed, self.ledger.left, self.ledger.throughput.per_worker_second()
        )
        living = self._living()
        moment = EPOCH + timedelta(seconds=self.now)
        due = EPOCH + timedelta(seconds=self.complete_by) if self.complete_by is not None else None
        goal = WorkerGoal(self.fewest, self.most, due, EPOCH)
        self.ledger.wanted = workers_wanted(pace, len(living), goal, moment)
        room = self.room_after_loss if any(worker.lost_at is not None for worker in self.workers) else self.most
        for _ in range(min(self.ledger.wanted, room) - len(living)):
            worker = SimulatedWorker(len(self.workers), self.now + START_SECONDS)
            self.workers.append(worker)
            self._after(START_SECONDS, lambda worker=worker: self._report(worker))  # type: ignore[misc]
        running = [worker for worker in living if worker.began <= self.now]
        done_at = eta(pace, len(running), goal, moment)
        if done_at is not None:
            self.etas.append((self.now, (done_at - EPOCH).total_seconds()))
        self.counts.append(len(self._living()))
        self._after(LOOK_SECONDS, self._look)

    def _lose(self) -> None:
        for worker in self._living()[: len(self._living()) // 2]:
            worker.lost_at = self.now

    def _is_alive(self, uid: str) -> bool:
        worker = self.workers[int(uid)]
        return worker.ended_at is None and (worker.lost_at is None or self.now < worker.lost_at + GONE_SECONDS)

    def _report(self, worker: SimulatedWorker) -> None:
        if worker.lost_at is not None or worker.ended_at is not None:
            return
        report = ShardReport(
            batch="b", revision=1, holds=[*worker.finished[:2], *worker.holds],
            wants=not worker.released and len(worker.holds) < HELD,
        )  # fmt: skip
        older = sum(other.number < worker.number for other in self._living())
        answer = self.ledger.report(report, worker.uid, self.now, is_alive=self._is_alive, older=older)
        worker.finished = worker.finished[2:]
        worker.released |= answer.release
        if answer.shard is not None:
            fresh = ShardProgress(shard=answer.shard, subjects=self.sizes[answer.shard])
            worker.holds.append(self.partly.get(answer.shard, fresh))
        if self.ledger.left == 0 and self.done_at is None:
            self.done_at = self.now
        if worker.released:
            if not worker.working:
                self._end(worker)
            return
        if worker.holds and not worker.working:
            self._begin(worker)
        soon = answer.shard is not None and len(worker.holds) < HELD
        self._after(0.0 if soon else answer.pause_seconds, lambda: self._report(worker))

    def _end(self, worker: SimulatedWorker) -> None:
        """What it holds is given back; a segment has what is done of it."""
        self.partly.update({held.shard: held for held in worker.holds})
        report = ShardReport(batch="b", revision=1, holds=[*worker.finished, *worker.holds], gives_back=True)
        self.ledger.report(report, worker.uid, self.now, is_alive=self._is_alive, older=0)
        worker.ended_at = self.now
        if self.ledger.left == 0 and self.done_at is None:
            self.done_at = self.now

    def _begin(self, worker: SimulatedWorker) -> None:
        """The next group of the shard in hand."""
        worker.working = True
        held = worker.holds[0]
        size = min(SUBJECTS_A_PASS, held.subjects - held.succeeded)
        seconds = sum(self.cost() for _ in range(size))
        self._after(seconds, lambda: self._group_done(worker, size, seconds))

    def _group_done(self, worker: SimulatedWorker, size: int, seconds: float) -> None:
        if worker.lost_at is not None:
            return
        worker.working, worker.worked_until = False, self.now
        held = worker.holds[0]
        done = held.succeeded + size
        told = held.model_copy(update={"succeeded": done, "seconds": held.seconds + seconds})
        worker.holds[0] = told
        if done == held.subjects:
            worker.holds.pop(0)
            worker.finished.append(told.model_copy(update={"finished": True}))
            self._after(0.0, lambda: self._report(worker))  # a shard's end is told at once
        if worker.released:
            self._end(worker)
        elif worker.holds:
            self._begin(worker)


def uneven(choice: random.Random) -> Callable[[], float]:
    """Seconds of a subject between 1 and 10, the mean of its logarithm in the middle."""
    return lambda: 10 ** choice.random()


def tail(subjects: int, choice: random.Random) -> dict[str, Any]:
    """Share of the workers' time that is lost after the first of them has nothing to do any more."""
    night = Night(shard_sizes(subjects, 8, LARGEST_SHARD, SMALLEST_SHARD), uneven(choice), 8, 8)
    night.run()
    ends = [worker.worked_until for worker in night.workers]
    whole = sum(max(ends) - worker.began for worker in night.workers)
    return {"idle": sum(max(ends) - end for end in ends) / whole, "seconds": max(ends), "workers": len(night.workers)}


def lost(subjects: int, choice: random.Random) -> dict[str, Any]:
    """How true the ETA is, and how many workers there were."""
    sizes = shard_sizes(subjects, 12, LARGEST_SHARD, SMALLEST_SHARD)
    mean = 3.9087  # of 10 ** u, u even in 0..1
    due = subjects * mean / 5  # five workers would be in time to the second
    night = Night(sizes, uneven(choice), 1, 12, complete_by=due, lose_node_at=due / 2, room_after_loss=6)
    night.run()
    assert night.done_at is not None
    late = [
        abs(said - night.done_at) / (night.done_at - at)
        for at, said in night.etas
        if 0.05 * night.done_at < at < night.done_at
    ]
    within = sum(error <= 0.20 for error in late) / len(late)
    return {
        "within_20_percent": within, "median_error": statistics.median(late), "early_by": 1 - night.done_at / due,
        "fewest": min(night.counts), "most": max(night.counts),
    }  # fmt: skip


def spread(nights: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each figure the least, the mean and the most."""
    values = {name: [night[name] for night in nights] for name in nights[0]}
    return {
        name: {"least": round(min(each), 4), "mean": round(statistics.mean(each), 4), "most": round(max(each), 4)}
        for name, each in values.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=20)
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    choice = random.Random(options.seed)
    tails = [tail(options.subjects, choice) for _ in range(options.nights)]
    losses = [lost(options.subjects, choice) for _ in range(options.nights)]
    print(json.dumps(vars(options) | {"tail": spread(tails), "lost": spread(losses)}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
