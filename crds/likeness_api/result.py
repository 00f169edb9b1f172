"""Result: how an order ended, for the operator, as JSON in the pod's termination message (at most 4 KiB)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError

from likeness_api.field import Model, Sha256, Token
from likeness_api.order import first_problem
from likeness_api.personalization import LearnedImage, ManifestRef, Metric, Name, Text
from likeness_api.reason import EXIT_CODE_OF, ExitCode, Reason

TERMINATION_MESSAGE_BYTES = 4096
"""The kubelet cuts longer messages off, which would leave half a JSON document."""
TERMINATION_MESSAGE_PATH = "/dev/termination-log"
MESSAGE_CHARACTERS = 2048
"""A message's longest; the runtime cuts what is longer."""

SHORT_CAPTION = 40
"""Characters of a caption where there is no room for more: of four bytes each, as many as 160 letters take."""
SHORTENINGS: tuple[dict[str, Any], ...] = ({"previews": []}, {"metrics": []}, {"subject": []})
"""In this order, where a result with short captions is still too long; all of it is in the manifest."""


class ResultArtifact(Model):
    """A published file; its address is the manifest's folder plus `name`."""

    name: Name
    format: Name
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Result(Model):
    reason: Reason
    message: Annotated[str, StringConstraints(max_length=MESSAGE_CHARACTERS)]
    token: Token | None = None
    nearest_word: Name | None = None
    subject: list[LearnedImage] = []
    manifest: ManifestRef | None = None
    artifacts: list[ResultArtifact] = []
    previews: list[Text] = []
    metrics: list[Metric] = []
    steps: Annotated[int | None, Field(ge=0)] = None

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
