"""What a worker has in hand of a shard, written down before it is tuned: when a process dies of it, the next one knows.

A death counts against a subject only where that was alone in hand; a group that died is taken one at a time next. One
that was alone in hand at a death comes last, alone again, and a second death fails it: three deaths at most.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pydantic import Field, ValidationError

from likeness_api.field import StatusModel
from likeness_runtime.batch.batch_folder import JSON, BatchFolder, hand_name

MOST_DEATHS = 2


class HandFile(StatusModel):
    """The note as it is stored, by line numbers."""

    lines: list[int] = Field(default=[], max_length=1000)
    apart: list[int] = Field(default=[], max_length=1000)
    deaths: dict[int, int] = Field(default={}, max_length=1000)


@dataclass(frozen=True)
class Hand:
    """Line numbers of subjects of one shard."""

    lines: tuple[int, ...] = ()
    """In hand."""
    apart: frozenset[int] = frozenset()
    """To be taken one at a time: each was in a group that died."""
    deaths: dict[int, int] = field(default_factory=dict)
    """How often a process died that had this one alone in hand."""

    def after_a_death(self) -> Hand:
        """Who finds something in hand, nobody has it there any more."""
        if len(self.lines) == 1:
            (line,) = self.lines
            return Hand(apart=self.apart, deaths=self.deaths | {line: self.deaths.get(line, 0) + 1})
        return Hand(apart=self.apart | set(self.lines), deaths=self.deaths)

    def holding(self, lines: Iterable[int]) -> Hand:
        return replace(self, lines=tuple(lines))

    @property
    def lost(self) -> frozenset[int]:
        """Those that are not tried any more."""
        return frozenset(line for line, deaths in self.deaths.items() if deaths >= MOST_DEATHS)


@dataclass(frozen=True)
class HandNote:
    """The note about one shard."""

    folder: BatchFolder
    which_pass: int
    shard: int

    def read(self) -> Hand:
        """What is there; nothing where it cannot be read."""
        data = self.folder.read(self._name)
        try:
            found = HandFile.model_validate_json(data) if data is not None else HandFile()
        except ValidationError:
            found = HandFile()
        return Hand(tuple(found.lines), frozenset(found.apart), dict(found.deaths))

    def write(self, hand: Hand) -> None:
        document = {"lines": hand.lines, "apart": sorted(hand.apart), "deaths": hand.deaths}
        self.folder.write(self._name, json.dumps(document).encode(), JSON)

    def remove(self) -> None:
        self.folder.delete(self._name)

    @property
    def _name(self) -> str:
        return hand_name(self.which_pass, self.shard)
