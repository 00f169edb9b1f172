"""Reads a catalogue's manifest as a stream: JSON lines (also gzipped), CSV or Parquet; one document a subject.

Memory does not grow with the catalogue. What a line cannot be read as is told with its number; what the whole file
cannot be read as is a `RunError`.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from likeness_api.reason import Reason
from likeness_api.tuning import MAX_IMAGES
from likeness_runtime.batch.subject_line import Quarantined
from likeness_runtime.failure import RunError

MOST_LINE_BYTES = 65_536
MOST_MANIFEST_BYTES = 8 * 2**30
"""Of a manifest, unpacked: a million lines of eight thousand bytes."""
TABLE_ROWS = 1000
MANIFEST_FORMATS = ".jsonl, .jsonl.gz, .csv or .parquet"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp", ".gif")
IMAGE_COLUMNS = ("image", *(f"image{number}" for number in range(2, MAX_IMAGES + 1)))
"""A CSV file has a column for each picture of a subject."""


@dataclass(frozen=True)
class Row:
    """One line of a source, parsed but not checked."""

    number: int
    document: Any


def read_rows(path: Path, uri: str) -> Iterator[Row | Quarantined]:
    """The rows of the manifest that was fetched from `uri` to `path`. Raises `RunError`."""
    reader = _reader(uri.lower())
    if reader is None:
        raise RunError(
            Reason.INVALID_SPEC, f"spec.source.manifest is {uri}; expected a file that ends in {MANIFEST_FORMATS}"
        )
    with _told(uri):
        yield from reader(path)


def rows_below(prefix: str, uris: Iterable[str]) -> Iterator[Row]:
    """A row for each folder below `prefix` (with its closing slash) that holds pictures: its name is the id."""
    pictures = (uri for uri in uris if uri.lower().endswith(PICTURES) and "/" in uri.removeprefix(prefix))
    by_folder = groupby(pictures, lambda uri: uri.removeprefix(prefix).split("/", 1)[0])
    for number, (folder, images) in enumerate(by_folder, start=1):
        yield Row(number, {"id": folder, "images": list(images)})


def _reader(name: str) -> Callable[[Path], Iterator[Row | Quarantined]] | None:
    if name.endswith((".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")):
        return _json_lines
    if name.endswith((".csv", ".csv.gz")):
        return _csv
    return _parquet if name.endswith(".parquet") else None


def _json_lines(path: Path) -> Iterator[Row | Quarantined]:
    with _opened(path) as file:
        for number, line in _lines(file):
            if line is None:
                yield _too_long(number)
            elif line.strip():
                yield _parsed(number, line)


def _parsed(number: int, line: bytes) -> Row | Quarantined:
    try:
        text = line.decode()
        return Row(number, json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        return Quarantined(number, Reason.INVALID_LINE, f"it is no JSON object in UTF-8 ({problem:.200})")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a field is given twice")
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _csv(path: Path) -> Iterator[Row | Quarantined]:
    """With a header: id, image, image2 and so on, token; every other column is metadata."""
    too_long: list[int] = []

    def lines(file: IO[bytes]) -> Iterator[str]:
        for number, line in _lines(file):
            if line is None:
                too_long.append(number)
            yield "" if line is None else line.decode("utf-8-sig" if number == 1 else "utf-8")

    with _opened(path) as file:
        reader = csv.DictReader(lines(file), strict=True)
        if reader.fieldnames is None or not {"id", "image"} <= set(reader.fieldnames):
            found = ", ".join(reader.fieldnames or ()) or "none"
            raise ValueError(f"its columns are {found:.200}; expected id and image among them")
        for cells in reader:
            while too_long:
                yield _too_long(too_long.pop(0))
            if None in cells or None in cells.values():
                yield Quarantined(reader.line_num, Reason.INVALID_LINE, "it has more or fewer cells than the header")
            else:
                yield Row(reader.line_num, _document(cells))
    for number in too_long:
        yield _too_long(number)


def _too_long(number: int) -> Quarantined:
    return Quarantined(number, Reason.INVALID_LINE, f"it is longer than {MOST_LINE_BYTES} bytes")


def _document(cells: dict[str, str]) -> dict[str, Any]:
    named = {"id": cells["id"], "images": [cells[name] for name in IMAGE_COLUMNS if cells.get(name)]}
    if cells.get("token"):
        named["token"] = cells["token"]
    others = {name: cell for name, cell in cells.items() if name not in ("id", "token", *IMAGE_COLUMNS)}
    return named | ({"metadata": others} if others else {})


def _parquet(path: Path) -> Iterator[Row]:
    """Columns id, images (text or a list of it), token, metadata (a struct); every other column is metadata."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError("pyarrow is missing; expected: pip install 'likeness-tuner[parquet]'") from None
    number = 0
    for table in parquet.ParquetFile(path).iter_batches(batch_size=TABLE_ROWS):
        for cells in table.to_pylist():
            number += 1
            yield Row(number, _from_columns(cells))


def _from_columns(cells: dict[str, Any]) -> dict[str, Any]:
    given = {name: cell for name, cell in cells.items() if cell is not None}
    images = given.get("images", given.get("image", []))
    named = {"id": given.get("id"), "images": [images] if isinstance(images, str) else images}
    if "token" in given:
        named["token"] = given["token"]
    others = {name: cell for name, cell in given.items() if name not in ("id", "images", "image", "token", "metadata")}
    metadata = given.get("metadata", {}) | others
    return named | ({"metadata": metadata} if metadata else {})


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number; None for one that is too long, which is read over."""
    number = read = 0
    while line := file.readline(MOST_LINE_BYTES + 1):
        number, read = number + 1, read + len(line)
        whole = len(line) <= MOST_LINE_BYTES
        while not line.endswith(b"\n") and (rest := file.readline(MOST_LINE_BYTES)):
            line, read, whole = rest, read + len(rest), False
            if read > MOST_MANIFEST_BYTES:
                break
        if read > MOST_MANIFEST_BYTES:
            raise ValueError(f"it has more than {MOST_MANIFEST_BYTES / 2**30:.0f} GiB unpacked")
        yield number, line if whole else None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Unpacked where it is gzipped, by its content: its name may say either."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if packed:
            with gzip.open(file) as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            yield file


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Raises `RunError` in place of what a library says about the whole file."""
    try:
        yield
    except (ValueError, csv.Error, EOFError, zlib.error, OSError) as error:
        problem = " ".join(str(error).split())
        raise RunError(Reason.SOURCE_UNREADABLE, f"spec.source.manifest {uri}: {problem:.500}") from None
