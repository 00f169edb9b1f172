"""The ledgers of all batches that are worked on, and who may report to them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum

from likeness_api.shard_report import ShardAnswer, ShardReport
from likeness_operator.batch.facts import BATCH_KIND, Batch
from likeness_operator.batch.observation import Reported
from likeness_operator.batch.shard_ledger import LISTEN_SECONDS, ShardLedger
from likeness_operator.engine.key import Key
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.pod import Pod

NUMBERS_SECONDS = 30.0
"""Between two statuses that say other numbers alone."""


class Unheard(Enum):
    """Why a report is not taken."""

    UNKNOWN_POD = "unknown pod"
    """It is not one of the batch's own workers."""
    NOT_YET = "not yet"
    """The batch has not been looked at since this operator acts."""


class ShardLedgers:
    """One for each batch that the cache keeps. `requeue` has a batch reconciled."""

    def __init__(
        self,
        cache: WatchCache,
        requeue: Callable[[Key], None],
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self._cache = cache
        self._requeue = requeue
        self._clock = clock
        self._wall = wall
        self._ledgers: dict[Key, ShardLedger] = {}
        self._written: dict[Key, float] = {}
        self._begun: dict[Key, tuple[str, int, int]] = {}
        """Which pass was begun here: there nobody holds anything that has not been heard."""
        cache.on_drop.append(self._drop)

    def report(self, key: Key, pod_uid: str, report: ShardReport) -> ShardAnswer | Unheard:
        """Takes the report of a worker about its own batch."""
        job = self._worker_job(key, pod_uid)
        if job is None:
            return Unheard.UNKNOWN_POD
        ledger = self._ledgers.get(key)
        if ledger is None:
            if report.revision and self._cache.uid(key) is not None:
                self._requeue(key)
            return Unheard.NOT_YET
        before = ledger.left
        older = self._older_workers(key, job)
        answer = ledger.report(
            report, pod_uid, self._clock(), is_alive=lambda uid: self._is_alive(key, uid), older=older
        )
        if ledger.left == 0 < before:
            self._requeue(key)
        return answer

    def observe(self, batch: Batch) -> ShardLedger | None:
        """The ledger of the pass that a batch is at; None where it is at none."""
        key = Key(BATCH_KIND, batch.namespace, batch.name)
        if batch.status.shards is None or batch.finished or batch.spec is None or batch.spec.suspend:
            self._ledgers.pop(key, None)
            return None
        now, pass_index = self._clock(), len(batch.status.passes) - 1
        ledger = self._ledgers.get(key)
        which = (batch.uid, batch.status.revision, pass_index)
        if ledger is None or (ledger.uid, ledger.revision, ledger.pass_index) != which:
            listen_until = now if self._begun.get(key) == which else now + LISTEN_SECONDS
            ledger = self._ledgers[key] = ShardLedger.of(batch.uid, batch.status, listen_until)
            ledger.progressed_at = now  # what was before is not known: no worker that ended then counts as fruitless
        ledger.undone_by(batch.status)
        return ledger

    def begun_here(self, batch: Batch, pass_index: int) -> None:
        """Takes note that this operator begins a pass: nobody holds any of its shards."""
        self._begun[Key(BATCH_KIND, batch.namespace, batch.name)] = (batch.uid, batch.revision, pass_index)

    def may_write(self, key: Key) -> bool:
        """Whether it is long enough since numbers were written."""
        return self._clock() - self._written.get(key, -NUMBERS_SECONDS) >= NUMBERS_SECONDS

    def wrote(self, key: Key) -> None:
        self._written[key] = self._clock()

    def reported(self, ledger: ShardLedger) -> Reported:
        succeeded, failed, running = ledger.so_far()
        since = None if ledger.progressed_at is None else self._clock() - ledger.progressed_at
        return Reported(
            shards=ledger.shards(),
            succeeded=succeeded,
            failed=failed,
            running=running,
            gpu_seconds=round(ledger.gpu_seconds),
            failures=ledger.failures,
            per_worker_second=ledger.throughput.per_worker_second(),
            seconds_since_progress=since,
            shards_left=ledger.left,
            useful_workers=ledger.useful_workers(self._clock()),
        )

    def working(self) -> int:
        """Batches whose shards are handed out."""
        return len(self._ledgers)

    def behind(self) -> int:
        return sum(ledger.late for ledger in self._ledgers.values())

    def busy_workers(self) -> int:
        now = self._clock()
        return sum(ledger.busy(now) for ledger in self._ledgers.values())

    def subjects_per_hour(self) -> float:
        now = self._clock()
        paces = ((ledger.throughput.per_worker_second(), ledger.busy(now)) for ledger in self._ledgers.values())
        return 3600 * sum(pace * busy for pace, busy in paces if pace is not None)

    def _drop(self, key: Key) -> None:
        for kept in (self._ledgers, self._written, self._begun):
            kept.pop(key, None)

    def _worker_job(self, key: Key, pod_uid: str) -> Job | None:
        """The Job of the pod, where that is a worker of this very batch, whatever revision it was made for."""
        pod, uid = self._cache.pod(key, pod_uid), self._cache.uid(key)
        job = self._cache.job(key, pod.owner_uid) if pod else None
        return job if job is not None and uid is not None and job.owner_uid == uid else None

    def _is_alive(self, key: Key, pod_uid: str) -> bool:
        pod = self._cache.pod(key, pod_uid)
        return pod is not None and not pod.finished and not self._overdue(pod)

    def _overdue(self, pod: Pod) -> bool:
        """Whether its grace period is over: its node does not report its end."""
        end = pod.deletion_timestamp
        return end is not None and self._wall() > datetime.fromisoformat(end)

    def _older_workers(self, key: Key, job: Job) -> int:
        """Living workers of the batch that were made before this one."""
        living = [each for each in self._cache.jobs(key) if not each.outcome_decided and not each.terminating]
        workers = [each for each in living if not each.suspended and _number(each) is not None]
        return sum((_number(each) or 0) < (_number(job) or 0) for each in workers)


def _number(job: Job) -> int | None:
    """A worker Job's number, which is at the end of its name."""
    _, letter, number = job.name.rpartition("-w")
    return int(number) if letter and number.isdecimal() else None
