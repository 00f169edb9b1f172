"""What a worker of a PersonalizationBatch and the operator tell each other: an HTTP POST, and its answer.

A worker says what it holds and how far each shard is; the operator says which one comes next. Whatever is lost on the
way is said again: a report holds all that the operator has not acknowledged, and counts are of the shard from its
beginning, so that one heard twice, or late, is counted once.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, ValidationError

from likeness_api.field import DnsLabel, Model
from likeness_api.order import first_problem
from likeness_api.personalization_batch import MOST_FAILURES, MOST_PASSES, MOST_SHARDS, FailureSample

SHARDS_URL_VARIABLE = "LIKENESS_SHARDS_URL"
"""The environment variable with the address to post to."""
MOST_SHARD_SUBJECTS = 1000
"""Subjects of a shard, by which counts are held to what they can be."""
MOST_HELD = 4

Count = Annotated[int, Field(ge=0, le=MOST_SHARD_SUBJECTS)]


class ShardProgress(Model):
    """How far one shard is, from its beginning, whoever worked on it before."""

    shard: Annotated[int, Field(ge=0, lt=MOST_SHARDS)]
    subjects: Count = 0
    """How many it has; 0 as long as that is not known."""
    succeeded: Count = 0
    failed: Count = 0
    """Those that failed for good; what may pass is none of them."""
    finished: bool = False
    """Whether its segment is written: nobody need work on it any more."""
    seconds: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """That this worker worked on it."""
    failures: Annotated[list[FailureSample], Field(max_length=MOST_FAILURES)] = []
    """Of a finished one: its most frequent reasons."""


class ShardReport(Model):
    """What a worker says."""

    batch: DnsLabel
    revision: Annotated[int, Field(ge=1)]
    pass_index: Annotated[int, Field(ge=0, lt=MOST_PASSES)] = 0
    """That the shards are of."""
    holds: Annotated[list[ShardProgress], Field(max_length=MOST_HELD)] = []
    """The shards that it works on or will, and finished ones that have not been acknowledged."""
    gives_back: bool = False
    """Whether it was told to end, and works on none of what it does not hold."""
    wants: bool = False
    """Whether it would take one more."""

    def encode(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_defaults=True)

    @classmethod
    def decode(cls, text: bytes) -> Self:
        """Raises ValueError with one sentence that names the first wrong field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(f"report: {first_problem(error)}") from None


class ShardAnswer(Model):
    """What the operator says to that; all of the report is acknowledged by it."""

    pass_index: Annotated[int, Field(ge=0, lt=MOST_PASSES)] = 0
    shard: Annotated[int | None, Field(ge=0, lt=MOST_SHARDS)] = None
    """One more to work on, of that pass."""
    release: bool = False
    """Whether to finish the group in hand, give back the rest, and end: nothing is left to do, or fewer are wanted."""
    pause_seconds: Annotated[float, Field(ge=0.1, le=600)] = 2.0
    """Until the next report."""

    def encode(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_defaults=True)

    @classmethod
    def decode(cls, text: bytes) -> Self:
        """Raises ValueError with one sentence that names the first wrong field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(f"answer: {first_problem(error)}") from None
