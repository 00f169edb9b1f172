"""One way to read and write bytes, whether they lie in a folder or in an object store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class ObjectTooLargeError(Exception):
    """An object has more bytes than its reader takes; `size` is in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


@dataclass(frozen=True)
class ObjectVersion:
    """One version of an object, or the marker of its deletion."""

    uri: str
    id: str


@dataclass(frozen=True)
class VersionsPage:
    """A part of a folder's objects, in the order of their addresses."""

    versions: dict[str, str]
    """By address, as `ObjectStore.version` says it."""
    last: str | None
    """Up to which address the part is complete; None where the folder has no further objects."""


class ObjectStore(Protocol):
    """Reads and writes whole objects. Every method raises `RunError` with a storage reason; those that say so raise
    `StorageMissingError`, too.
    """

    def read(self, uri: str, limit_bytes: int) -> bytes:
        """The whole object.

        Raises `StorageMissingError`, and `ObjectTooLargeError` before reading more than `limit_bytes`.
        """

    def download(self, uri: str, path: Path) -> None:
        """The object into a file, whatever its size. Raises `StorageMissingError`."""

    def write(self, uri: str, data: bytes, media_type: str) -> None:
        """The object appears as a whole, over whatever was there.

        Raises `StorageMissingError` where there is no such bucket.
        """

    def upload(self, path: Path, uri: str, media_type: str) -> None:
        """As `write`, from a file of any size."""

    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:
        """As `write`, but False and no change where there is an object already."""

    def replace(self, uri: str, data: bytes, media_type: str, version: str) -> bool:
        """As `write`, but False and no change where the object's version is another one. Some servers do not look."""

    def version(self, uri: str) -> str | None:
        """What changes when the object does (its ETag, or its size and time), without its content; None where there is
        no object.
        """

    def page(self, folder: str, after: str) -> VersionsPage | None:
        """Some of the objects right below `folder` (which ends with a slash) whose addresses are greater than `after`;
        None where the store does not list them, and each has to be asked for. Raises `StorageMissingError`, too.
        """

    def delete(self, uri: str) -> bool:
        """The object is gone; nothing happens where there was none. Whether the bucket keeps what it was as a version.

        Raises `StorageMissingError` where there is no such bucket.
        """

    def versions(self, prefix: str) -> list[ObjectVersion] | None:
        """All versions and delete markers below `prefix` (which ends with a slash); None where the store does not say,
        because it refuses or does not know versions.
        """

    def delete_version(self, version: ObjectVersion) -> None:
        """That version is gone."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """The sizes in bytes of all objects below `prefix` (which ends with a slash), by their names below it.

        Raises `StorageMissingError` where there is no such bucket.
        """

    def list(self, prefix: str) -> Iterable[str]:
        """The addresses of all objects below `prefix` (which ends with a slash), in order.

        Raises `StorageMissingError`, too.
        """
