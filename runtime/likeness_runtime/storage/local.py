"""The store behind `file://` addresses: for runs without a cluster, and for models on a mounted volume."""

from __future__ import annotations

import io
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError, StorageMissingError
from likeness_runtime.storage.object_store import ObjectTooLargeError, ObjectVersion


def path_of(uri: str) -> Path:
    """The path that `file:///a/b` names. Raises ValueError where it is not absolute."""
    path = Path(uri.removeprefix("file://"))
    if not path.is_absolute():
        raise ValueError(f"{uri} has no absolute path; expected three slashes, as in file:///data/teapot.jpg")
    return path


class LocalStore:
    """Objects are files; a file appears under its name only when it is complete."""

    def read(self, uri: str, limit_bytes: int) -> bytes:
        path = path_of(uri)
        with _translated(uri):
            if path.is_dir():
                raise IsADirectoryError
            size = path.stat().st_size
            if size > limit_bytes:
                raise ObjectTooLargeError(size)
            return path.read_bytes()

    def download(self, uri: str, path: Path) -> None:
        with _translated(uri):
            shutil.copyfile(path_of(uri), path)

    def write(self, uri: str, data: bytes, media_type: str) -> None:  # noqa: ARG002 - files have no media type
        _write(uri, data, Path.replace)

    def upload(self, path: Path, uri: str, media_type: str) -> None:  # noqa: ARG002
        with path.open("rb") as content:
            _write(uri, content, Path.replace)

    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:  # noqa: ARG002
        try:
            _write(uri, data, lambda temporary, path: path.hardlink_to(temporary))
        except FileExistsError:
            return False
        return True

    def replace(self, uri: str, data: bytes, media_type: str, version: str) -> bool:
        """Two at the very same moment both succeed."""
        if self.version(uri) != version:
            return False
        self.write(uri, data, media_type)
        return True

    def version(self, uri: str) -> str | None:
        try:
            status = path_of(uri).stat()
        except OSError:
            return None
        return f"{status.st_size} {status.st_mtime_ns}"

    def page(self, folder: str, after: str) -> None:  # noqa: ARG002 - a file system is asked as quickly
        return None

    def delete(self, uri: str) -> bool:
        with _translated(uri):
            path_of(uri).unlink(missing_ok=True)
        return False

    def versions(self, prefix: str) -> list[ObjectVersion]:  # noqa: ARG002 - a file system keeps none
        return []

    def delete_version(self, version: ObjectVersion) -> None:
        raise AssertionError(f"{version} is of no file system")

    def sizes(self, prefix: str) -> dict[str, int]:
        folder = path_of(prefix)
        found = {}
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):  # one that is being written, under another name
                if path.is_file():
                    found[path.relative_to(folder).as_posix()] = path.stat().st_size
        return found

    def list(self, prefix: str) -> Iterable[str]:
        folder = path_of(prefix)
        return sorted(f"file://{path}" for path in folder.rglob("*") if path.is_file())


def _write(uri: str, data: bytes | BinaryIO, appear: Callable[[Path, Path], object]) -> None:
    path = path_of(uri)
    with _translated(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with temporary.open("xb") as file:
                shutil.copyfileobj(io.BytesIO(data) if isinstance(data, bytes) else data, file)
                file.flush()
                os.fsync(file.fileno())
            appear(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Raises `RunError` with a storage reason in place of the operating system's errors."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise StorageMissingError(f"{uri} does not exist") from None
    except IsADirectoryError:
        raise StorageMissingError(f"{uri} is a folder; expected a file") from None
    except PermissionError:
        raise RunError(Reason.ACCESS_DENIED, f"{uri}: this user's file permissions do not let it in") from None
    except FileExistsError:
        raise
    except OSError as error:
        raise RunError(Reason.STORAGE_UNAVAILABLE, f"{uri}: {error.strerror}") from None
