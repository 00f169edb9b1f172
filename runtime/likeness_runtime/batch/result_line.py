"""What became of each subject: a line of results.jsonl, and what index.jsonl and failed.jsonl say of it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from likeness_api.field import Sha256, StatusModel, Token
from likeness_api.personalization import DateTime, Name, Text
from likeness_api.result import Result, ResultArtifact
from likeness_api.subject_id import SubjectId
from likeness_runtime.batch.subject_line import Quarantined, SubjectLine


class Outcome(StrEnum):
    SUCCEEDED = "Succeeded"
    SKIPPED = "Skipped"
    """Unchanged since the last revision: nothing was fetched."""
    FAILED = "Failed"


class ResultLine(StatusModel):
    """One subject's line in results.jsonl."""

    line: int
    """Where it is in the source, counted from 1."""
    id: SubjectId | None = None
    outcome: Outcome
    reason: Name
    message: Text
    end_time: DateTime | None = None
    """When it was done, in RFC 3339; missing where no work was done for it."""
    steps: int | None = None
    """Optimizer steps of the artifacts that are there."""
    digest: Sha256 | None = None
    folder: Text | None = None
    """Address of what was published, with its closing slash."""
    manifest: Sha256 | None = None
    """SHA-256 of manifest.json."""
    token: Token | None = None
    nearest_word: Name | None = None
    files: list[ResultArtifact] = []
    previews: list[Text] = []
    metrics: dict[Name, str] = {}
    metadata: dict[str, Any] = {}
    fingerprint: Sha256 | None = None
    """Of all that the artifacts depend on, so that the next revision knows whether anything changed."""
    subject: dict[str, Any] | None = None
    """The line itself, where it failed."""

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True, exclude_defaults=True).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> ResultLine:
        return cls.model_validate_json(line)


def result_line(number: int, subject: SubjectLine, result: Result, fingerprint: str, end_time: str) -> ResultLine:
    """The line of a subject that was worked on."""
    if result.manifest is None:
        return ResultLine(
            line=number,
            id=subject.id,
            outcome=Outcome.FAILED,
            reason=result.reason,
            message=result.message,
            end_time=end_time,
            subject=subject.to_json(),
        )
    folder = result.folder()
    return ResultLine(
        line=number,
        id=subject.id,
        outcome=Outcome.SUCCEEDED,
        reason=result.reason,
        message=result.message,
        end_time=end_time,
        steps=result.steps,
        digest=folder.rstrip("/").rsplit("/", 1)[-1],
        folder=folder,
        manifest=result.manifest.sha256,
        token=result.token,
        nearest_word=result.nearest_word,
        files=result.artifacts,
        previews=result.previews,
        metrics={metric.name: metric.value for metric in result.metrics},
        metadata=subject.metadata,
        fingerprint=fingerprint,
    )


def quarantine_line(quarantined: Quarantined) -> ResultLine:
    """The line of one that no work was done for."""
    return ResultLine(
        line=quarantined.number,
        id=quarantined.id,
        outcome=Outcome.FAILED,
        reason=quarantined.reason,
        message=quarantined.message,
        subject=quarantined.subject,
    )


def skipped_line(number: int, subject: SubjectLine, before: ResultLine) -> ResultLine:
    """The line of one that is as it was in an earlier revision; its metadata may be new."""
    changes: dict[str, Any] = {"line": number, "outcome": Outcome.SKIPPED, "metadata": subject.metadata}
    return before.model_copy(update=changes)


def read_lines(data: bytes | None) -> Iterator[ResultLine]:
    """The lines of a segment, or none where there is no such segment."""
    return (ResultLine.decode(line) for line in (data or b"").splitlines())


def index_entry(line: ResultLine, model_digest: str | None) -> dict[str, Any]:
    """For whoever serves what was learned: where it is, its word, its measurements, the shop's own metadata."""
    said = line.to_json()
    kept = ("id", "digest", "folder", "token", "nearestWord", "steps", "files", "metrics", "metadata")
    return {field: said[field] for field in kept if field in said} | {"model": model_digest}


def failed_entry(line: ResultLine) -> dict[str, Any] | None:
    """A line of a manifest that has the failed subject tried again; None where the source's line was unreadable."""
    if line.subject is None:
        return None
    return line.subject | {"failure": {"line": line.line, "reason": line.reason, "message": line.message}}
