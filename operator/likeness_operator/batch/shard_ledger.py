"""Which shards of one batch are done, held and free: what the endpoint answers from, and what statuses are made of.

In memory alone. What is done stands in the status; who holds what is heard again after a restart, because each worker
says it in each report. A shard that two workers work on does no harm: what they publish is the same, and it is counted
by shard.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from likeness_api.personalization_batch import (
    MOST_FAILURES,
    MOST_RANGE_CHARACTERS,
    FailureSample,
    PersonalizationBatchStatus,
    Shards,
)
from likeness_api.shard_ranges import decode_ranges, encode_ranges
from likeness_api.shard_report import ShardAnswer, ShardProgress, ShardReport
from likeness_operator.batch.throughput import Throughput

LISTEN_SECONDS = 15.0
"""After a restart: until then nothing is handed out that somebody may hold who has not been heard yet."""
SILENT_SECONDS = 60.0
"""A worker that has not been heard for so long may lose what it holds to one that has nothing to do: its node may be
lost, which Kubernetes says only after minutes."""
PAUSE_SECONDS, IDLE_PAUSE_SECONDS = 2.0, 1.0
REPORTS_PER_SECOND = 50.0
"""Of all workers of a batch; with more of them each one reports less often."""
BUSY_SECONDS = 5.0
"""Since a worker's last report, and twice what it was asked to wait: then it does no work."""
IDLE_WORKER_SECONDS = 20.0
"""That a worker is kept that has nothing to do, in case another one dies with a shard in hand."""


@dataclass
class Worker:
    """A pod that has reported."""

    heard_at: float
    holds: list[int] = field(default_factory=list)
    idle_since: float | None = None


@dataclass
class ShardLedger:
    """The shards of one pass of a batch. Times are seconds of a clock that never jumps."""

    uid: str
    revision: int
    pass_index: int
    total: int
    succeeded: int = 0
    failed: int = 0
    """Of the shards that are done, or were called so."""
    gpu_seconds: float = 0.0
    collections: int = 0
    listen_until: float = 0.0
    wanted: int = 0
    """Workers; the newest ones beyond are released."""
    late: bool = False
    """Whether it will be done after `completeBy` by its present pace."""
    last_pass: bool = False
    """Whether no other pass follows: then workers are released when all is done."""
    done: set[int] = field(default_factory=set)
    again: set[int] = field(default_factory=set)
    """Those that were called done and are not; they are counted already."""
    counted: dict[int, tuple[int, int]] = field(default_factory=dict)
    """What was added to `succeeded` and `failed` for those that were finished here."""
    begun: dict[int, ShardProgress] = field(default_factory=dict)
    """The furthest that was reported of those that are not done."""
    workers: dict[str, Worker] = field(default_factory=dict)
    """By the uid of their pod."""
    failures: list[FailureSample] = field(default_factory=list)
    """The most frequent reasons of the shards that are done, and of what was before."""
    throughput: Throughput = field(default_factory=Throughput)
    progressed_at: float | None = None
    """When a subject was done last, or since when this operator knows."""
    _handed: set[int] = field(default_factory=set)
    """Given out here: their first report says what was done since."""
    _next: int = 0
    """All below have been handed out, or are done."""
    _free: list[int] = field(default_factory=list)
    """Of those below, the ones that nobody holds; the lowest first."""

    @classmethod
    def of(cls, uid: str, status: PersonalizationBatchStatus, listen_until: float) -> ShardLedger:
        """As the status has it, which has shards."""
        shards = status.shards or Shards()
        return cls(
            uid=uid,
            revision=status.revision,
            pass_index=max(0, len(status.passes) - 1),
            total=shards.total,
            succeeded=shards.succeeded,
            failed=shards.failed,
            gpu_seconds=status.gpu_seconds,
            collections=status.collections,
            listen_until=listen_until,
            done=_below(shards.total, shards.done),
            again=_below(shards.total, shards.again),
            failures=status.failures,
        )

    @property
    def all_done(self) -> bool:
        return len(self.done) == self.total

    def report(
        self, report: ShardReport, pod_uid: str, now: float, *, is_alive: Callable[[str], bool], older: int
    ) -> ShardAnswer:
        """Takes what a worker says, and answers. `is_alive` says whether a pod may still work; `older` is how many
        workers of the batch are older than this one.
        """
        worker = self.workers.setdefault(pod_uid, Worker(now))
        worker.heard_at = now
        overdue = not is_alive(pod_uid)
        ours = report.revision == self.revision and report.pass_index == self.pass_index
        told = [each for each in report.holds if each.shard < self.total] if ours else []
        for each in told:
            self._saw(each, now)
        self._now_holds(worker, [each.shard for each in told if not each.finished])
        if report.gives_back:
            self._let_go(self.workers.pop(pod_uid).holds)
            return ShardAnswer(pass_index=self.pass_index, release=True)
        if report.revision != self.revision or older >= self.wanted or overdue:
            return self._answer(None, release=True)
        other_pass = bool(report.holds) and not ours  # that is finished, or given back, first
        shard = self._claim(worker, now, is_alive) if report.wants and not other_pass else None
        if worker.holds or not report.wants:
            worker.idle_since = None
        elif worker.idle_since is None:
            worker.idle_since = now
        idle = worker.idle_since is not None and now - worker.idle_since >= IDLE_WORKER_SECONDS
        over = (self.all_done and self.last_pass) or (idle and now >= self.listen_until)
        return self._answer(shard, release=over, idle=not worker.holds)

    def forget(self, is_alive: Callable[[str], bool]) -> None:
        """Frees what the pods held that are not there any more."""
        for pod_uid in [uid for uid in self.workers if not is_alive(uid)]:
            self._let_go(self.workers.pop(pod_uid).holds)

    def undone_by(self, status: PersonalizationBatchStatus) -> None:
        """Shards that were called done and are not, as the collected results showed: the status has them no more."""
        if status.collections <= self.collections or status.shards is None:
            return
        self.collections = status.collections
        done = {shard for each in decode_ranges(status.shards.done) for shard in each}
        missing = sorted(self.done - done)
        self.done &= done
        self.again.update(missing)
        self._let_go(missing)

    def busy(self, now: float) -> int:
        """Workers that hold something and were heard lately: who is lost does no work."""
        lately = now - BUSY_SECONDS - 2 * self._pause_seconds
        return sum(bool(worker.holds) and worker.heard_at >= lately for worker in self.workers.values())

    @property
    def unclaimed(self) -> int:
        """Shards that are not done and that nobody holds."""
        held = {shard for worker in self.workers.values() for shard in worker.holds}
        return self.total - len(self.done) - len(held - self.done)

    def useful_workers(self, now: float) -> int:
        """Workers that have something to do, or would have."""
        return self.busy(now) + self.unclaimed

    @property
    def left(self) -> int:
        """Shards that are not done."""
        return self.total - len(self.done)

    def so_far(self) -> tuple[int, int, int]:
        """Subjects that were published, that failed, and that are in shards in work beside these."""
        begun = [each for shard, each in self.begun.items() if shard not in self.again]
        held = {shard for worker in self.workers.values() for shard in worker.holds}
        running = sum(max(0, each.subjects - each.succeeded - each.failed) for each in begun if each.shard in held)
        succeeded = self.succeeded + sum(each.succeeded for each in begun)
        return succeeded, self.failed + sum(each.failed for each in begun), running

    def shards(self) -> Shards:
        """For the status. Where the finished ones lie too scattered for it, the last ones are left out, and what they
        came to: after a restart they are found to be done already.
        """
        done = encode_ranges(self.done, MOST_RANGE_CHARACTERS)
        said = _below(self.total, done) if self.counted else self.done
        left_out = self.done - said
        unsaid = [self.counted[shard] for shard in left_out if shard in self.counted]
        again = self.again | {shard for shard in left_out if shard not in self.counted}
        return Shards(
            total=self.total,
            done=done,
            succeeded=self.succeeded - sum(succeeded for succeeded, _ in unsaid),
            failed=self.failed - sum(failed for _, failed in unsaid),
            again=encode_ranges(again, MOST_RANGE_CHARACTERS),
        )

    def _saw(self, told: ShardProgress, now: float) -> None:
        if told.shard in self.done:
            return
        before = self.begun.get(told.shard) or (
            ShardProgress(shard=told.shard) if told.shard in self._handed else told  # by whom, and when, is not known
        )
        further = max(0, told.succeeded - before.succeeded) + max(0, told.failed - before.failed)
        if further:
            self.progressed_at = now
        self.throughput.advanced(further, self.busy(now), now)
        if not told.finished:
            self.begun[told.shard] = told.model_copy(
                update={
                    "subjects": max(before.subjects, told.subjects),
                    "succeeded": max(before.succeeded, told.succeeded),
                    "failed": max(before.failed, told.failed),
                }
            )
            return
        self.begun.pop(told.shard, None)
        self.done.add(told.shard)
        self.progressed_at = now
        self.gpu_seconds += told.seconds
        if told.shard in self.again:
            self.again.remove(told.shard)
            return
        self.counted[told.shard] = (told.succeeded, told.failed)
        self.succeeded += told.succeeded
        self.failed += told.failed
        self.failures = merged(self.failures, told.failures)

    def _now_holds(self, worker: Worker, shards: list[int]) -> None:
        """Takes over what a worker says it holds, which after a restart is news."""
        before, worker.holds = worker.holds, [shard for shard in shards if shard not in self.done]
        self._let_go(before)
        for shard in worker.holds:
            for skipped in range(self._next, shard):
                insort(self._free, skipped)
            self._next = max(self._next, shard + 1)
            if shard in self._free:
                self._free.remove(shard)

    def _let_go(self, shards: list[int]) -> None:
        """Has shards free again that no worker holds."""
        held = {shard for worker in self.workers.values() for shard in worker.holds}
        for shard in shards:
            if shard < self._next and not (shard in held or shard in self.done or shard in self._free):
                insort(self._free, shard)

    def _claim(self, worker: Worker, now: float, is_alive: Callable[[str], bool]) -> int | None:
        """One more shard for a worker: one that was given back, the next one, or one whose holder is silent."""
        if now < self.listen_until:
            return None
        self.forget(is_alive)
        if worker.holds and self.unclaimed <= len(self.workers):
            return None  # near the end nobody has one ahead while others have none
        shard = self._pop_free()
        if shard is None and not worker.holds:
            shard = self._silent(now)
        if shard is not None:
            worker.holds.append(shard)
            self._handed.add(shard)
        return shard

    def _pop_free(self) -> int | None:
        while self._free:
            shard = self._free.pop(0)
            if shard not in self.done:
                return shard
        while self._next < self.total:
            self._next += 1
            if self._next - 1 not in self.done:
                return self._next - 1
        return None

    def _silent(self, now: float) -> int | None:
        for worker in self.workers.values():
            while now - worker.heard_at > SILENT_SECONDS and worker.holds:
                shard = worker.holds.pop(0)
                if shard not in self.done:
                    return shard
        return None

    def _answer(self, shard: int | None, *, release: bool, idle: bool = False) -> ShardAnswer:
        pause = IDLE_PAUSE_SECONDS if idle and shard is None else PAUSE_SECONDS
        pause = max(pause, self._pause_seconds)
        return ShardAnswer(pass_index=self.pass_index, shard=shard, release=release, pause_seconds=pause)

    @property
    def _pause_seconds(self) -> float:
        """What the crowd asks for."""
        return len(self.workers) / REPORTS_PER_SECOND


def _below(total: int, ranges: str) -> set[int]:
    return {shard for each in decode_ranges(ranges) for shard in each if shard < total}


def merged(before: list[FailureSample], more: list[FailureSample]) -> list[FailureSample]:
    """The most frequent reasons of both, each with the sample that was first."""
    counts: Counter[str] = Counter()
    samples: dict[str, FailureSample] = {}
    for each in (*before, *more):
        counts[each.reason] += each.count
        samples.setdefault(each.reason, each)
    return [samples[reason].model_copy(update={"count": count}) for reason, count in counts.most_common(MOST_FAILURES)]
