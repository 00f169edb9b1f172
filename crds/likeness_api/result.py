"""Result: how an order ended, for the operator, as JSON in the pod's termination message (at most 4 KiB)."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError

from likeness_api.field import Model, Sha256, Token
from likeness_api.order import first_problem
from likeness_api.personalization import (
    MOST_ARTIFACTS,
    MOST_METRICS,
    LearnedImage,
    ManifestRef,
    Metric,
    Name,
)
from likeness_api.reason import EXIT_CODE_OF, ExitCode, Reason
from likeness_api.tuning import MAX_IMAGES, MAX_PREVIEWS, Steps

TERMINATION_MESSAGE_BYTES = 4096
"""The kubelet cuts longer messages off, which would leave half a JSON document."""
TERMINATION_MESSAGE_PATH = "/dev/termination-log"
MESSAGE_CHARACTERS = 2048
"""A message's longest; the runtime cuts what is longer."""

SHORT_CAPTION = 40
"""Characters of a caption where there is no room for more: of four bytes each, as many as 160 letters take."""
SHORTENINGS: tuple[dict[str, Any], ...] = ({"previews": []}, {"metrics": []}, {"subject": []})
"""In this order, where a result with short captions is still too long; all of it is in the manifest."""


MOST_FILE_BYTES = 2**53 - 1
"""What every reader of JSON takes as a whole number."""


def _plain(name: str) -> str:
    if any(segment in ("", ".", "..") for segment in name.split("/")):
        raise ValueError(f"{name!r:.100} is no plain relative name; expected one like previews/00.png")
    return name


def _one_line(text: Any) -> Any:
    """Whatever wrote it, it is shown in terminals."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text) if isinstance(text, str) else text


FileName = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x1f\x7f\\]+$", max_length=253),
    AfterValidator(_plain),
]
"""A published file's name below its folder."""
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][-A-Za-z0-9._]*$", max_length=63)]


class ResultArtifact(Model):
    """A published file; its address is the manifest's folder plus `name`."""

    name: FileName
    format: Word
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0, le=MOST_FILE_BYTES)]


class Result(Model):
    """Bounded in every part, so that a status takes whatever fits these types; what was ordered is compared in
    published.py.
    """

    reason: Reason
    message: Annotated[str, StringConstraints(max_length=MESSAGE_CHARACTERS), BeforeValidator(_one_line)]
    token: Token | None = None
    nearest_word: Annotated[Name, BeforeValidator(_one_line)] | None = None
    subject: Annotated[list[LearnedImage], Field(max_length=MAX_IMAGES)] = []
    manifest: ManifestRef | None = None
    artifacts: Annotated[list[ResultArtifact], Field(max_length=MOST_ARTIFACTS)] = []
    previews: Annotated[list[FileName], Field(max_length=MAX_PREVIEWS + 1)] = []
    metrics: Annotated[list[Metric], Field(max_length=MOST_METRICS)] = []
    steps: Steps | None = None

    @property
    def exit_code(self) -> ExitCode:
        return EXIT_CODE_OF[self.reason]

    def encode(self) -> bytes:
        """Compact JSON of at most 4,096 bytes. One that is too long loses what the manifest has as well: the captions'
        ends, previews, metrics, the pictures' captions; then the message's end, and the artifacts last.
        """
        shorter = self
        short_captions = {"subject": [with_caption_of(image, SHORT_CAPTION) for image in self.subject]}
        for shortening in ({}, short_captions, *SHORTENINGS, {"message": self.message[:200]}, {"artifacts": []}):
            shorter = shorter.model_copy(update=shortening)
            text = shorter.model_dump_json(by_alias=True, exclude_none=True, exclude_defaults=True).encode()
            if len(text) <= TERMINATION_MESSAGE_BYTES:
                return text
        raise ValueError(f"result: {len(text)} bytes at its shortest; expected at most {TERMINATION_MESSAGE_BYTES}")

    @classmethod
    def decode(cls, text: str | bytes) -> Result:
        """Raises ValueError with one sentence that names the first wrong field; strict also where a status is not."""
        try:
            return cls.model_validate_json(text, extra="forbid")
        except ValidationError as error:
            raise ValueError(f"result: {first_problem(error)}") from None

    def folder(self) -> str:
        """The published folder's address, with its closing slash. Only where there is a manifest."""
        assert self.manifest is not None
        return self.manifest.uri.rsplit("/", 1)[0] + "/"


def with_caption_of(image: LearnedImage, characters: int) -> LearnedImage:
    """The image with at most so many characters of its caption; a cut one ends in "…"."""
    caption = image.caption
    if caption is None or len(caption) <= characters:
        return image
    return image.model_copy(update={"caption": caption[: characters - 1] + "…"})
