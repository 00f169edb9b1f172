"""Reads a catalogue's source once and writes down what there is to do: what is broken, what is unchanged, the rest in
shards. Memory grows by some ten bytes a subject.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from pydantic import Field

from likeness_api.field import Model, Sha256
from likeness_api.order import Order
from likeness_api.reason import Reason
from likeness_runtime.batch.batch_folder import JSON, PLAN_NAME, BatchFolder, shard_name
from likeness_runtime.batch.result_line import Outcome, ResultLine, quarantine_line, skipped_line
from likeness_runtime.batch.shard_sizes import shard_sizes
from likeness_runtime.batch.source import Row
from likeness_runtime.batch.subject_line import Quarantined, SubjectLine, read_subject_line

LARGEST_SHARD = 200
SMALLEST_SHARD = 4


class BatchPlan(Model):
    """plan.json: how much there is to do, and of which source and settings."""

    kind: Literal["BatchPlan"] = "BatchPlan"
    version: Literal[1] = 1
    basis: Sha256
    """Over the source's bytes and everything in the spec that decides what comes out."""
    model: Sha256 | None = None
    """Digest of the base model."""
    lines: int
    quarantined: int
    skipped: int
    removed: int = 0
    """Subjects of the last revision that the source lists no more."""
    shards: list[int] = Field(default_factory=list)
    """How many subjects each has."""

    @property
    def subjects(self) -> int:
        """How many are to be worked on."""
        return sum(self.shards)

    @property
    def summary(self) -> str:
        """For a person."""
        what = f"{self.subjects} subjects to tune in {len(self.shards)} shards"
        return f"{what}, {self.skipped} unchanged, {self.quarantined} lines that say none"

    def encode(self) -> bytes:
        return (json.dumps(self.to_json(), indent=1) + "\n").encode()


@dataclass(frozen=True)
class PlannedSubject:
    """A subject in a shard."""

    number: int
    subject: SubjectLine
    fingerprint: str

    def encode(self) -> bytes:
        document = {"line": self.number, "fingerprint": self.fingerprint, "subject": self.subject.to_json()}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> PlannedSubject:
        document = json.loads(line)
        return cls(document["line"], SubjectLine.model_validate(document["subject"]), document["fingerprint"])


@dataclass
class EarlierResults:
    """The last revision's results, looked up by id in the file itself."""

    file: IO[bytes]
    _offsets: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        offset = 0
        for line in self.file:
            subject_id = ResultLine.decode(line).id
            if subject_id is not None:  # of several lines the first: the others were told to be its doubles
                self._offsets.setdefault(short_hash(subject_id), offset)
            offset += len(line)

    def take(self, subject_id: str) -> ResultLine | None:
        """What became of a subject; asked for once, for what is left at the end was removed from the source."""
        offset = self._offsets.pop(short_hash(subject_id), None)
        if offset is None:
            return None
        self.file.seek(offset)
        return ResultLine.decode(self.file.readline())

    def left(self) -> Iterator[ResultLine]:
        """Those that nobody took, as far as something of them was published."""
        for offset in self._offsets.values():
            self.file.seek(offset)
            line = ResultLine.decode(self.file.readline())
            if line.folder is not None:
                yield line


@dataclass
class Planner:
    """Sorts the lines of a source into files below `scratch`."""

    order: Callable[[int, SubjectLine], Order | Quarantined]
    fingerprints: Callable[[list[Order]], list[str]]
    """For a number of orders at once, since storage may have to be asked about each picture."""
    earlier: EarlierResults | None
    retry_failed: bool
    scratch: Path
    lines: int = 0
    quarantined: int = 0
    skipped: int = 0
    subjects: int = 0
    _seen: dict[bytes, int] = field(default_factory=dict)

    AT_ONCE = 1000

    def read(self, rows: Iterable[Row | Quarantined]) -> None:
        """Reads the whole source. Raises `RunError` where it cannot be read."""
        with (
            (self.scratch / "quarantined").open("wb") as bad,
            (self.scratch / "skipped").open("wb") as unchanged,
            (self.scratch / "planned").open("wb") as planned,
        ):
            waiting: list[tuple[int, SubjectLine, Order]] = []
            for row in rows:
                self.lines += 1
                found = self._checked(row)
                if isinstance(found, Quarantined):
                    self.quarantined += 1
                    if self.earlier and found.id is not None:
                        self.earlier.take(found.id)
                    bad.write(quarantine_line(found).encode())
                else:
                    waiting.append(found)
                if len(waiting) == self.AT_ONCE:
                    self._sort(waiting, unchanged, planned)
                    waiting = []
            self._sort(waiting, unchanged, planned)

    def _checked(self, row: Row | Quarantined) -> tuple[int, SubjectLine, Order] | Quarantined:
        line = row if isinstance(row, Quarantined) else read_subject_line(row.document, row.number)
        if isinstance(line, Quarantined):
            return line
        number = row.number
        first = self._seen.setdefault(short_hash(line.id), number)
        if first != number:
            message = f"id {line.id!r:.200} is that of line {first}, too; expected each id once"
            return Quarantined(number, Reason.DUPLICATE_ID, message, id=line.id, subject=line.to_json())
        order = self.order(number, line)
        return order if isinstance(order, Quarantined) else (number, line, order)

    def _sort(self, waiting: list[tuple[int, SubjectLine, Order]], unchanged: IO[bytes], planned: IO[bytes]) -> None:
        prints = self.fingerprints([order for _, _, order in waiting])
        for (number, line, _), fingerprint in zip(waiting, prints, strict=True):
            before = self.earlier.take(line.id) if self.earlier else None
            if self._stays(before, fingerprint):
                assert before is not None
                self.skipped += 1
                unchanged.write(skipped_line(number, line, before).encode())
            else:
                self.subjects += 1
                planned.write(PlannedSubject(number, line, fingerprint).encode())

    def _stays(self, before: ResultLine | None, fingerprint: str) -> bool:
        if before is None or before.outcome is Outcome.FAILED:
            return False
        return self.retry_failed or before.fingerprint == fingerprint


def write_plan(planner: Planner, folder: BatchFolder, basis: str, model: str | None, workers: int) -> BatchPlan:
    """Puts what the planner found into the batch's folder; the plan itself last."""
    sizes = shard_sizes(planner.subjects, workers, LARGEST_SHARD, SMALLEST_SHARD)
    with (planner.scratch / "planned").open("rb") as planned:
        for index, size in enumerate(sizes):
            folder.write(shard_name(0, index), b"".join(planned.readline() for _ in range(size)))
    removed = 0
    with (planner.scratch / "removed").open("wb") as gone:
        for line in planner.earlier.left() if planner.earlier else ():
            removed += 1
            gone.write(line.encode())
    for name in ("quarantined", "skipped", "removed"):
        folder.upload(planner.scratch / name, f"{name}.jsonl")
    plan = BatchPlan(
        basis=basis,
        model=model,
        lines=planner.lines,
        quarantined=planner.quarantined,
        skipped=planner.skipped,
        removed=removed,
        shards=sizes,
    )
    folder.write(PLAN_NAME, plan.encode(), JSON)
    return plan


def short_hash(text: str) -> bytes:
    """Eight bytes: of a million ids two are alike with a probability of 3 in 100 million."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
