"""BatchResult: how a pod of a PersonalizationBatch ended, as JSON in its termination message (at most 4 KiB)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError

from likeness_api.field import Model
from likeness_api.order import first_problem
from likeness_api.personalization_batch import MOST_FAILURES, MOST_SHARDS, MOST_SUBJECTS, FailureSample, ShardRanges
from likeness_api.reason import EXIT_CODE_OF, ExitCode, Reason
from likeness_api.result import MESSAGE_CHARACTERS, TERMINATION_MESSAGE_BYTES
from likeness_api.shard_ranges import decode_ranges, encode_ranges

Subjects = Annotated[int, Field(ge=0, le=MOST_SUBJECTS)]
BRIEF_CHARACTERS = 120
MOST_MISSING_CHARACTERS = 2000


class BatchResult(Model):
    """What the operator hears of a plan, of a worker's end, or of the results that were collected."""

    kind: Literal["BatchResult"] = "BatchResult"
    reason: Reason
    message: Annotated[str, StringConstraints(max_length=MESSAGE_CHARACTERS)]
    lines: Subjects = 0
    """In the source, broken ones included."""
    planned: Subjects = 0
    """Of a plan: subjects to be worked on."""
    succeeded: Subjects = 0
    """Of the collected results."""
    skipped: Subjects = 0
    failed: Subjects = 0
    """Of a plan: lines that say no subject; of collected results: all that failed."""
    removed: Subjects = 0
    """Subjects of the last revision that the source lists no more."""
    shards: Annotated[int, Field(ge=0, le=MOST_SHARDS)] = 0
    missing: ShardRanges = ""
    """Of collected results: shards whose segments do not account for all of their subjects."""
    failures: Annotated[list[FailureSample], Field(max_length=MOST_FAILURES)] = []
    seconds_each: Annotated[float | None, Field(ge=0, le=1e6)] = None
    """Of a plan with a pilot: what one worker takes for one subject, all passes together."""

    @property
    def exit_code(self) -> ExitCode:
        return EXIT_CODE_OF[self.reason]

    def encode(self) -> bytes:
        """At most 4,096 bytes: samples lose their messages' ends, then go."""
        for shorter in (self, *self._shortened()):
            data = shorter.model_dump_json(by_alias=True, exclude_defaults=True, exclude_none=True).encode()
            if len(data) <= TERMINATION_MESSAGE_BYTES:
                return data
        raise AssertionError("a result without samples and with a short message always fits")

    def _shortened(self) -> list[BatchResult]:
        short = [each.model_copy(update={"message": each.message[:BRIEF_CHARACTERS]}) for each in self.failures]
        nameless = [each.model_copy(update={"message": "", "id": None}) for each in short]
        brief = {"failures": nameless, "message": self.message[:BRIEF_CHARACTERS]}
        return [
            self.model_copy(update={"failures": short}),
            self.model_copy(update=brief),
            self.model_copy(update=brief | {"failures": [], "missing": self._first_missing()}),
        ]

    def _first_missing(self) -> str:
        """Never none where there are some: what is left over is found when these are there."""
        missing = (number for each in decode_ranges(self.missing) for number in each)
        return encode_ranges(missing, longest=MOST_MISSING_CHARACTERS)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Raises ValueError with one sentence that names the first wrong field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(f"its result: {first_problem(error)}") from None
