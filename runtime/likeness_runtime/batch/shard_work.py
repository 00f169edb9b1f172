"""One shard from its file to its segment: groups of subjects, then what may have passed, then those that killed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from likeness_api.order import Order
from likeness_api.personalization_batch import MOST_FAILURES, FailureSample
from likeness_api.reason import Reason
from likeness_api.shard_report import ShardProgress
from likeness_runtime.batch.batch_folder import BatchFolder, segment_name, shard_name
from likeness_runtime.batch.hand import Hand, HandNote
from likeness_runtime.batch.plan import PlannedSubject
from likeness_runtime.batch.result_line import Outcome, ResultLine, quarantine_line, read_lines
from likeness_runtime.batch.subject_line import Quarantined
from likeness_runtime.batch.work import SUBJECTS_A_PASS, GroupWork, in_groups, may_pass
from likeness_runtime.failure import RunError

MOST_MESSAGE = 512
KEPT_SECONDS = 20.0
"""Between two writes of a shard's segment: what is published after the last one is looked at once more after a kill."""


class EndingError(Exception):
    """Someone wants this process to end: what is in hand was finished, and nothing else is begun."""


@dataclass
class ShardWork:
    """Works through one shard. Whatever was done of it before, by whomever, is not done again."""

    folder: BatchFolder
    which_pass: int
    index: int
    work: Callable[[Callable[[list[Order]], None]], GroupWork]
    """Groups are worked on by it, once it is given what to call before each."""
    ending: Callable[[], bool]
    """Whether someone wants this process to end."""
    told: Callable[[ShardProgress], None]
    last_death: str | None = None
    """How the process before this one ended, if it did while it had something in hand."""
    timed_out: bool = False
    """Whether it was ended because a group took too long."""
    _lines: dict[int, ResultLine] = field(default_factory=dict)
    """What became of each subject, by line number."""
    _hand: Hand = field(default_factory=Hand)
    _began: float = field(default_factory=time.monotonic)
    _kept_at: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Raises `EndingError`, and `RunError` where nobody's subject is to blame; the segment is written then, too."""
        planned = self._planned()
        self._subjects = len(planned)
        numbers = {each.number for each in planned}
        self._by_id = {each.subject.id: each.number for each in planned}
        known = read_lines(self.folder.read(segment_name(self.which_pass, self.index)))
        self._lines = {line.line: line for line in known if not may_pass(line) and line.line in numbers}
        note = HandNote(self.folder, self.which_pass, self.index)
        self._hand = note.read()
        if self._hand.lines:
            self._hand = self._hand.after_a_death()
            note.write(self._hand)
        try:
            self._tell()
            self._through(note, [each for each in planned if each.number not in self._lines])
        except BaseException:
            note.write(self._hand.holding(()))
            self._write()
            raise
        note.write(self._hand.holding(()))  # a segment that cannot be written is nobody's death
        self._write()
        note.remove()
        self._tell(finished=True)

    def _through(self, note: HandNote, planned: list[PlannedSubject]) -> None:
        for lost in [each for each in planned if each.number in self._hand.lost]:
            self._lines[lost.number] = self._killer(lost)
            self._write()  # another one's death must not be told as this one's
        left = [each for each in planned if each.number not in self._hand.lost]
        last = [each for each in left if each.number in self._hand.deaths]
        apart = [each for each in left if each.number in self._hand.apart and each not in last]
        together = [each for each in left if each not in apart and each not in last]
        self._groups(note, [*in_groups(apart, 1), *in_groups(together, SUBJECTS_A_PASS)])
        again = [each for each in left if (line := self._lines.get(each.number)) and may_pass(line)]
        alone = [each for each in again if each in apart]
        others = [each for each in again if each not in apart]
        self._groups(note, [*in_groups(alone, 1), *in_groups(others, SUBJECTS_A_PASS)])
        self._groups(note, in_groups(last, 1))

    def _groups(self, note: HandNote, groups: list[list[PlannedSubject]]) -> None:
        def going_on() -> Iterator[list[PlannedSubject]]:
            for group in groups:
                if self.ending():
                    return
                yield group

        def take(orders: list[Order]) -> None:
            numbers = [self._by_id[order.subject.id] for order in orders if order.subject.id is not None]
            self._hand = self._hand.holding(numbers)
            note.write(self._hand)

        for lines in self.work(take).through(going_on()):
            for line in lines:
                self._lines[line.line] = line
            if time.monotonic() - self._kept_at > KEPT_SECONDS:
                self._write()
            self._tell()
        if groups:
            self._hand = self._hand.holding(())
        if self.ending():
            raise EndingError

    def _planned(self) -> list[PlannedSubject]:
        name = shard_name(self.which_pass, self.index)
        data = self.folder.read(name)
        if data is None:
            missing = f"{self.folder.address}{name} is gone; raise spec.revision to have it planned again"
            raise RunError(Reason.SOURCE_NOT_FOUND, missing)
        return [PlannedSubject.decode(line) for line in data.splitlines()]

    def _killer(self, planned: PlannedSubject) -> ResultLine:
        deaths = self._hand.deaths[planned.number]
        if self.timed_out:
            reason, how = Reason.SUBJECT_TIMED_OUT, "was not done within its time"
        else:
            reason, how = Reason.CRASHED_WORKER, "ended the process that had it alone in hand"
        last = f", the last time with {self.last_death}" if self.last_death else ""
        message = f"{planned.subject.id!r:.200} {how} {deaths} times{last}; it is not tried again in this revision"
        line = planned.subject.to_json()
        return quarantine_line(
            Quarantined(planned.number, reason, message[:MOST_MESSAGE], id=planned.subject.id, subject=line)
        )

    def _write(self) -> None:
        """The segment, with what somebody else may have put there meanwhile: a success stays one."""
        name = segment_name(self.which_pass, self.index)
        for line in read_lines(self.folder.read(name)):
            mine = self._lines.get(line.line)
            if mine is None or (mine.outcome is Outcome.FAILED and line.outcome is not Outcome.FAILED):
                self._lines[line.line] = line
        self.folder.write(name, b"".join(self._lines[number].encode() for number in sorted(self._lines)))
        self._kept_at = time.monotonic()

    def _tell(self, *, finished: bool = False) -> None:
        failed = [line for line in self._lines.values() if line.outcome is Outcome.FAILED]
        final = failed if finished else [line for line in failed if not may_pass(line)]
        progress = ShardProgress(
            shard=self.index,
            subjects=self._subjects,
            succeeded=sum(line.outcome is not Outcome.FAILED for line in self._lines.values()),
            failed=len(final),
            finished=finished,
            seconds=round(time.monotonic() - self._began, 3),
            failures=samples_of(final) if finished else [],
        )
        self.told(progress)


def samples_of(failed: list[ResultLine]) -> list[FailureSample]:
    """The most frequent reasons, each with its first line."""
    counts = Counter(line.reason for line in failed)
    first: dict[str, ResultLine] = {}
    for line in failed:
        first.setdefault(line.reason, line)
    return [
        FailureSample(reason=reason, count=count, id=first[reason].id, message=first[reason].message[:MOST_MESSAGE])
        for reason, count in counts.most_common(MOST_FAILURES)
    ]
