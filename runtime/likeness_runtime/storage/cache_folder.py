"""A cache's folder with one fetched model: how it appears, and how its digest is known without reading it all.

A cache may be shared by pods on several machines, and any of them may be killed in the middle. A folder gets its name
once it is whole. Beside the files lies a marker with their digest, sizes and times; as long as these are what they
were, the digest is. Somebody who changes a file and puts its size and time back is not noticed.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MARKER_NAME = ".likeness-digest"
SHA256_TEXT = re.compile(r"[0-9a-f]{64}")
LEFT_BEHIND_SECONDS = 2 * 3600
"""Without a byte written: whoever fetched it was killed. Clocks of several machines differ by less."""

log = logging.getLogger(__name__)


def known_digest(folder: Path, wanted: str | None, digest_of: Callable[[Path], str]) -> str | None:
    """The digest of what is in `folder`; None where nothing is, or where it is not what it was or not `wanted`.

    `digest_of` reads all of it: only where sizes or times are not what the marker says.
    """
    marker = _read_marker(folder)
    if marker is None:
        return None
    digest, files = marker
    if wanted is not None and digest != wanted:
        log.warning("%s: its marker says %s, but %s is wanted; fetching it again.", folder, digest, wanted)
        return None
    if files == _sizes_and_times(folder):
        return digest
    if digest_of(folder) != digest:
        log.warning("%s: its files are not what they were when it was fetched; fetching it again.", folder)
        return None
    with suppress(OSError):  # a cache that is only read now
        _write_marker(folder, digest)
    return digest


def arriving_beside(folder: Path) -> Path:
    """A folder for the files until they are whole."""
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")


def appear(arriving: Path, folder: Path, digest: str) -> None:
    """Gives a whole folder its name, in place of one that is there, unless another process was quicker."""
    _write_marker(arriving, digest)
    former = arriving_beside(folder)
    with suppress(FileNotFoundError):
        folder.rename(former)
    try:
        arriving.rename(folder)
    except OSError:
        if _read_marker(folder) is None:
            raise
    finally:
        shutil.rmtree(former, ignore_errors=True)


def sweep(cache: Path) -> None:
    """Deletes what fetches that were killed have left behind."""
    if not cache.is_dir():
        return
    for path in cache.iterdir():
        if path.name.startswith(".") and path.is_dir() and time.time() - _last_written(path) > LEFT_BEHIND_SECONDS:
            log.info("Deleting %s, which a fetch that ended early left behind.", path)
            shutil.rmtree(path, ignore_errors=True)


def free_space(folder: Path) -> str:
    """For a message: how much is free where `folder` is, or is to be."""
    there = next((each for each in (folder, *folder.parents) if each.is_dir()), Path("/"))
    return f"{shutil.disk_usage(there).free / 2**20:.0f} MiB free"


def _last_written(folder: Path) -> float:
    moments = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            moments.append(path.stat().st_mtime)
    return max(moments)


def _read_marker(folder: Path) -> tuple[str, dict[str, list[int]]] | None:
    try:
        content = json.loads((folder / MARKER_NAME).read_text())
        digest, files = content["digest"], content["files"]
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return None
    return (digest, files) if isinstance(digest, str) and SHA256_TEXT.fullmatch(digest) else None


def _write_marker(folder: Path, digest: str) -> None:
    """All of it or nothing."""
    path = folder / f"{MARKER_NAME}.{secrets.token_hex(4)}"
    try:
        with path.open("x") as file:
            json.dump({"digest": digest, "files": _sizes_and_times(folder)}, file)
            file.flush()
            os.fsync(file.fileno())
        path.replace(folder / MARKER_NAME)
    finally:
        path.unlink(missing_ok=True)


def _sizes_and_times(folder: Path) -> dict[str, list[int]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(MARKER_NAME):
            status = path.stat()
            found[name] = [status.st_size, status.st_mtime_ns]
    return found
