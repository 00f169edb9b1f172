"""A subject's pictures as they were sent, from the addresses in its order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from PIL import Image

from likeness_api.personalization import SubjectImage
from likeness_api.reason import Reason
from likeness_runtime.failure import RunError
from likeness_runtime.image.bounded import decode_bounded
from likeness_runtime.image.decode import MAX_BYTES
from likeness_runtime.storage.object_store import ObjectTooLargeError
from likeness_runtime.storage.stores import Stores


@dataclass(frozen=True)
class SourcePicture:
    """One picture as it was sent."""

    name: str
    """The last segment of its address."""
    sha256: str
    picture: Image.Image


def fetch_pictures(images: list[SubjectImage], stores: Stores) -> list[SourcePicture]:
    """Every picture of a subject, decoded. Raises `RunError` naming the first that is missing or unreadable."""
    return [_fetch(index, image.uri, stores) for index, image in enumerate(images)]


def _fetch(index: int, uri: str, stores: Stores) -> SourcePicture:
    name = f"images[{index}] {uri}"
    try:
        data = stores.of(uri).read(uri, MAX_BYTES)
    except ObjectTooLargeError as error:
        found, most = f"{error.size / 2**20:.1f} MiB", f"{MAX_BYTES / 2**20:.0f} MiB"
        raise RunError(Reason.IMAGE_TOO_LARGE, f"{name} has {found}; expected at most {most}") from None
    return SourcePicture(last_segment(uri), hashlib.sha256(data).hexdigest(), decode_bounded(data, name))


def last_segment(uri: str) -> str:
    """An address's file name, for where its path is private."""
    return uri.rstrip("/").rsplit("/", 1)[-1]
