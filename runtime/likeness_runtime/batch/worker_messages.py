"""What a worker's two processes say to each other, a line of JSON each: supervisor to the one that tunes, and back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from likeness_api.field import Model
from likeness_api.reason import Reason
from likeness_api.shard_report import ShardProgress


class WorkOn(Model):
    """To the process that tunes: the next shard."""

    which_pass: int
    shard: int
    last_death: str | None = None
    """How the process before ended, if it did of something it had in hand."""
    timed_out: bool = False


class Ready(Model):
    """The models are found; shards can be taken."""

    kind: Literal["ready"] = "ready"


class InHand(Model):
    """So many subjects are being tuned from now on."""

    kind: Literal["inHand"] = "inHand"
    subjects: int


class Progressed(Model):
    kind: Literal["progressed"] = "progressed"
    progress: ShardProgress


class Failed(Model):
    """Nobody's subject is to blame, so this process ends."""

    kind: Literal["failed"] = "failed"
    reason: Reason
    message: str


WorkerMessage = Ready | InHand | Progressed | Failed
MESSAGE: TypeAdapter[WorkerMessage] = TypeAdapter(Annotated[WorkerMessage, Field(discriminator="kind")])


def line_of(message: Model) -> bytes:
    return message.model_dump_json(by_alias=True).encode() + b"\n"
