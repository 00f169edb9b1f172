"""One subject of a catalogue as its source says it: checked, or quarantined with the reason."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from likeness_api.field import Model, Token
from likeness_api.order import first_problem
from likeness_api.personalization import SubjectImage
from likeness_api.reason import Reason
from likeness_api.subject_id import SubjectId, is_subject_id
from likeness_api.tuning import MAX_IMAGES

MOST_METADATA_BYTES = 4096
MOST_MESSAGE_CHARACTERS = 512


def _as_objects(images: Any) -> Any:
    """An address alone stands for a picture without a caption."""
    if not isinstance(images, list):
        raise ValueError("expected a list of addresses, such as ['s3://catalogue/teapot/00.jpg']")
    return [{"uri": image} if isinstance(image, str) else image for image in images]


def _small(metadata: dict[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(metadata, ensure_ascii=False).encode())
    if size > MOST_METADATA_BYTES:
        raise ValueError(f"it has {size} bytes as JSON; expected at most {MOST_METADATA_BYTES}")
    return metadata


class SubjectLine(Model):
    """A line of a catalogue's manifest."""

    id: SubjectId
    images: Annotated[list[SubjectImage], Field(min_length=1, max_length=MAX_IMAGES), BeforeValidator(_as_objects)]
    token: Token | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(_small)] = {}
    """Passed through to the results, unread."""
    failure: dict[str, Any] | None = None
    """What failed.jsonl says beside the line. Read over, so that the file can be run again as it is."""


@dataclass(frozen=True)
class Quarantined:
    """A line that no work is done for."""

    number: int
    """Of the line in its source, counted from 1."""
    reason: Reason
    message: str
    id: str | None = None
    """The subject's id, where the line says one that can be read."""
    subject: dict[str, Any] | None = None
    """The line itself, where it is an object: it may be put right and run again."""


def read_subject_line(document: Any, number: int) -> SubjectLine | Quarantined:
    """The subject that a parsed line describes, or why it describes none."""
    if not isinstance(document, dict):
        message = f"it is {type(document).__name__}; expected an object with id and images"
        return Quarantined(number, Reason.INVALID_LINE, message)
    try:
        return SubjectLine.model_validate(document)
    except ValidationError as error:
        name = document.get("id")
        return Quarantined(
            number,
            Reason.INVALID_LINE,
            first_problem(error)[:MOST_MESSAGE_CHARACTERS],
            id=name if isinstance(name, str) and is_subject_id(name) else None,
            subject={field: value for field, value in document.items() if field != "failure"},
        )
