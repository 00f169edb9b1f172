"""manifest.json: written last, so that what it names is complete; read back when the same order comes again.

Its digest covers what was ordered, read and run. It holds no clock: equal results have equal manifests.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from likeness_api.field import DnsLabel, Model, Sha256, Token
from likeness_api.order import EraseOrder, Order, SubjectOrder, first_problem
from likeness_api.personalization import MOST_ARTIFACTS, MOST_METRICS, LearnedImage, ManifestRef, Metric, Name, Text
from likeness_api.published import subject_home
from likeness_api.reason import Reason
from likeness_api.result import Result, ResultArtifact, with_caption_of
from likeness_api.tuning import MAX_IMAGES, MAX_PREVIEWS
from likeness_runtime.version import CODE_VERSION, METHOD

MANIFEST_NAME = "manifest.json"
CAPTION_CHARACTERS = 160
"""Of a caption in a status; the manifest has all of it."""
PICTURE_FORMATS = ("input", "preview")
MOST_FILES = MOST_ARTIFACTS + MAX_PREVIEWS + 1


class ManifestFile(ResultArtifact):
    media_type: Text


class ManifestImage(LearnedImage):
    """A picture that was learned from; `name` is the last segment of its address."""

    name: Text


class ManifestInput(Model):
    """What was read: the last segment of its address, and its content."""

    name: Text
    sha256: Sha256


class ArtifactManifest(Model):
    kind: Literal["LikenessManifest"] = "LikenessManifest"
    format_version: Literal[1] = 1
    digest: Sha256
    namespace: DnsLabel
    name: DnsLabel
    token: Token
    nearest_word: Name
    steps: Annotated[int, Field(ge=0)]
    images: Annotated[list[ManifestImage], Field(max_length=MAX_IMAGES)]
    model: ManifestInput
    code_version: Name = CODE_VERSION
    method: Name = METHOD
    metrics: Annotated[list[Metric], Field(max_length=MOST_METRICS)]
    files: Annotated[list[ManifestFile], Field(max_length=MOST_FILES)]

    def encode(self) -> bytes:
        return (json.dumps(self.to_json(), indent=2, sort_keys=True) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> ArtifactManifest:
        """Raises ValueError with one sentence that names the first wrong field; strict also where a status is not."""
        try:
            return cls.model_validate_json(data, extra="forbid")
        except ValidationError as error:
            raise ValueError(f"{MANIFEST_NAME}: {first_problem(error)}") from None


NOT_IN_DIGEST = {
    "run": frozenset({"storage", "device", "rows_per_pass"}),
    "subject": frozenset({"namespace", "name", "id", "output", "seed"}),
}
"""Fields of an order's two parts that say where something lies or what computes it, and not what comes out; the seed
counts among the tuning's numbers. Pictures, model and encoder count by their content, not by their address. Whatever
else an order gets counts by itself."""


def digest_of(order: Order, image_sha256: list[str], model_digest: str, encoder_digest: str | None) -> str:
    """SHA-256 over everything that the published files depend on but the machine.

    Processor or GPU, the number of threads and the libraries' versions change the last bits, and are not part of it.
    The fields stand side by side and the version is 1, as when orders were written so: an order that was published then
    still has its digest.
    """
    images = [
        image.to_json() | {"uri": None, "sha256": sha256}
        for image, sha256 in zip(order.subject.images, image_sha256, strict=True)
    ]
    basis = {
        "kind": order.kind,
        "version": 1,
        **order.run.model_dump(mode="json", by_alias=True, exclude=set(NOT_IN_DIGEST["run"])),
        **order.subject.model_dump(mode="json", by_alias=True, exclude=set(NOT_IN_DIGEST["subject"])),
        "tuning": order.tuning.model_dump(mode="json", by_alias=True),
        "images": images,
        "model": model_digest,
        "encoder": encoder_digest,
        "code": CODE_VERSION,
        "method": METHOD,
    }
    return hashlib.sha256(json.dumps(basis, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def home_of(subject: SubjectOrder | EraseOrder) -> str:
    """Where the artifact folders of one subject are, with its closing slash."""
    folder = subject.folder if isinstance(subject, SubjectOrder) else subject.name
    return subject_home(subject.output, subject.namespace, folder)


def folder_of(order: Order, digest: str) -> str:
    """The artifact folder's address, with its closing slash."""
    return f"{home_of(order.subject)}{digest}/"


def result_of(manifest: ArtifactManifest, data: bytes, folder: str, reason: Reason, message: str) -> Result:
    """`data` is the manifest's file as it is stored."""
    return Result(
        reason=reason,
        message=message,
        token=manifest.token,
        nearest_word=manifest.nearest_word,
        manifest=ManifestRef(uri=folder + MANIFEST_NAME, sha256=hashlib.sha256(data).hexdigest()),
        artifacts=[
            ResultArtifact(name=file.name, format=file.format, sha256=file.sha256, bytes=file.bytes)
            for file in manifest.files
            if file.format not in PICTURE_FORMATS
        ],
        previews=[file.name for file in manifest.files if file.format in PICTURE_FORMATS],
        subject=[_summary(image) for image in manifest.images],
        metrics=manifest.metrics,
        steps=manifest.steps,
    )


def _summary(image: ManifestImage) -> LearnedImage:
    """Without its name and with a caption that is cut: eight of them have to fit into a termination message."""
    learned = LearnedImage(sha256=image.sha256, caption=image.caption, caption_source=image.caption_source)
    return with_caption_of(learned, CAPTION_CHARACTERS)


def metric(name: str, value: float) -> Metric:
    """Six digits, written as the API takes decimals."""
    return Metric(name=name, value=f"{value:.6g}".replace("e+", "e"))
