"""The first process of a worker: small, without torch, so that nothing a subject does can end it. It asks the operator
for shards, has another process work on them, and starts that anew when it dies.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from likeness_api.batch_order import BatchOrder
from likeness_api.batch_result import BatchResult
from likeness_api.reason import Reason
from likeness_api.shard_report import ShardAnswer, ShardProgress, ShardReport
from likeness_runtime.batch.worker_messages import Failed, InHand, Progressed, Ready, WorkerMessage, WorkOn
from likeness_runtime.batch.worker_process import WorkerProcess, how_it_ended

SUBJECT_SECONDS = 600.0
"""For each subject that is tuned, beside others or alone."""
LOAD_SECONDS = 3600.0
"""For the model to be fetched and loaded."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 15.0
"""Between reports that are not taken."""
UNHEARD_SECONDS = 600.0
"""Without work and without an answer, until the worker ends: another one may be placed where it is heard."""
LAST_SHARD_SECONDS = 40.0
"""From SIGTERM, for the shard's segment."""
EMPTY_DEATHS = 3
"""Deaths in a row with nothing in hand: then it is the process and not a subject."""
HELD = 2
"""Shards: the one that is worked on and one ahead, so that an operator that is away costs nothing."""

log = logging.getLogger(__name__)


@dataclass
class Supervisor:
    """`start` starts the process that tunes, `report` sends a report and returns its answer, if it has one."""

    order: BatchOrder
    start: Callable[[], WorkerProcess]
    report: Callable[[ShardReport], ShardAnswer | None]
    ending: Callable[[], bool]
    """Whether SIGTERM has come."""
    clock: Callable[[], float] = time.monotonic
    _pass: int = 0
    _held: deque[ShardProgress] = field(default_factory=deque)
    """The shards that were claimed; the first one is worked on."""
    _finished: list[ShardProgress] = field(default_factory=list)
    """Not acknowledged yet."""
    _released: bool = False
    _ready: bool = False
    _given: int | None = None
    """The shard that the process works on."""
    _limit: float = 0.0
    """When the process must have said something."""
    _in_hand: bool = False
    _empty_deaths: int = 0
    _last_death: str | None = None
    _killed: bool = False
    """Whether the process was ended because it took too long."""
    _timed_out: bool = False
    """Whether the one before it was."""
    _report_at: float = 0.0
    _unheard_since: float | None = None
    _refusals: int = 0

    def run(self) -> BatchResult:
        """Until it is released, told to end, or nothing can be done."""
        self._process = self._started()
        try:
            while True:
                end = self._turn()
                if end is not None:
                    return end
        finally:
            self._process.finish()
            self._process.kill()
            self._process.wait()

    def _turn(self) -> BatchResult | None:
        if self.ending():
            return self._ended()
        end = self._hear(self._seconds_to_wait())
        if end is not None:
            return end
        if self.clock() > self._limit:
            log.warning("Nothing was heard in time of %s; the process is ended.", self._what())
            self._killed = True
            self._process.kill()
            self._limit = self.clock() + LAST_SHARD_SECONDS
        self._give_next()  # before the report, which may take a while
        if self.clock() >= self._report_at:
            end = self._exchange()
        if end is None:
            self._give_next()
        return end

    def _seconds_to_wait(self) -> float:
        return min(1.0, max(0.01, self._report_at - self.clock()))

    def _hear(self, seconds: float) -> BatchResult | None:
        """Waits for a message of the process, and takes all that there are."""
        end = None
        while end is None:
            try:
                message = self._process.heard.get(timeout=seconds) if seconds else self._process.heard.get_nowait()
            except queue.Empty:
                return None
            end, seconds = self._died() if message is None else self._heard(message), 0.0
        return end

    def _heard(self, message: WorkerMessage) -> BatchResult | None:
        match message:
            case Ready():
                self._ready = True
                self._limit = float("inf")
            case InHand(subjects=subjects):
                self._in_hand, self._empty_deaths = True, 0
                self._limit = self.clock() + SUBJECT_SECONDS * max(1, subjects)
            case Progressed(progress=progress):
                self._progressed(progress)
            case Failed(reason=reason, message=text):
                self._process.wait()
                self._say_all(gives_back=True)
                return BatchResult(reason=reason, message=text)
        return None

    def _progressed(self, progress: ShardProgress) -> None:
        if self._held and self._held[0].shard == progress.shard:
            if progress.finished:
                self._held.popleft()
                self._finished.append(progress)
                self._given, self._in_hand, self._limit = None, False, float("inf")
                self._last_death, self._timed_out, self._killed, self._empty_deaths = None, False, False, 0
                self._report_at = self.clock()
            else:
                self._held[0] = progress

    def _give_next(self) -> None:
        if not (self._ready and self._given is None and self._held):
            return
        self._given = shard = self._held[0].shard
        self._limit = self.clock() + LOAD_SECONDS
        self._process.work_on(
            WorkOn(which_pass=self._pass, shard=shard, last_death=self._last_death, timed_out=self._timed_out)
        )

    def _died(self) -> BatchResult | None:
        how = "nothing within its time" if self._killed else how_it_ended(self._process.wait())
        self._timed_out, self._killed = self._killed, False
        log.warning("The process that tunes ended with %s, working on %s; it is started anew.", how, self._what())
        self._empty_deaths = 0 if self._in_hand else self._empty_deaths + 1
        if self._empty_deaths >= EMPTY_DEATHS:
            self._say_all(gives_back=True)
            text = (
                f"the process that tunes ended {self._empty_deaths} times before it had a subject in hand, last: {how}"
            )
            return BatchResult(reason=Reason.INTERRUPTED, message=text)
        self._last_death = how
        self._process = self._started()
        return None

    def _started(self) -> WorkerProcess:
        self._ready, self._given, self._in_hand = False, None, False
        self._limit = self.clock() + LOAD_SECONDS
        return self.start()

    def _exchange(self) -> BatchResult | None:
        answer = self._say_all()
        now = self.clock()
        if answer is None:
            self._refusals += 1
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._refusals - 1, 6))
            self._report_at = now + pause
            self._unheard_since = self._unheard_since or now
            if not self._held and now - self._unheard_since > UNHEARD_SECONDS:
                text = f"the operator answered no report for {UNHEARD_SECONDS:.0f} s"
                return BatchResult(reason=Reason.INTERRUPTED, message=text)
            return None
        self._refusals, self._unheard_since = 0, None
        self._report_at = now + answer.pause_seconds
        self._released = self._released or answer.release
        if answer.shard is not None and (not self._held or answer.pass_index == self._pass):
            self._pass = answer.pass_index
            self._held.append(ShardProgress(shard=answer.shard))
            self._report_at = now if len(self._held) < HELD else self._report_at
        if not self._released:
            return None
        if self._held or self._finished:
            self._end_in_order()
        return BatchResult(reason=Reason.NOTHING_LEFT, message="released: nothing is left for this worker to do")

    def _say_all(self, *, gives_back: bool = False) -> ShardAnswer | None:
        said = list(self._finished[:2])
        report = ShardReport(
            batch=self.order.name,
            revision=self.order.spec.revision,
            pass_index=self._pass,
            holds=[*said, *([] if gives_back else self._held)],
            gives_back=gives_back,
            wants=not (gives_back or self._released) and len(self._held) < HELD,
        )
        answer = self.report(report)
        if answer is not None:
            self._finished = self._finished[len(said) :]
        return answer

    def _ended(self) -> BatchResult:
        self._end_in_order()
        text = "the pod was told to end; what it had in hand is finished, and its shard is given back"
        return BatchResult(reason=Reason.INTERRUPTED, message=text)

    def _end_in_order(self) -> None:
        """The group in hand is finished, the segment written, and the rest given back."""
        self._process.end()
        until = self.clock() + LAST_SHARD_SECONDS
        while (left := until - self.clock()) > 0:
            try:
                message = self._process.heard.get(timeout=left)
            except queue.Empty:
                break
            if message is None:
                break
            if isinstance(message, Progressed):
                self._progressed(message.progress)
        self._say_all(gives_back=True)

    def _what(self) -> str:
        return "no shard" if self._given is None else f"shard {self._given} of pass {self._pass}"
