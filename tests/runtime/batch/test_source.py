"""Each kind of manifest, and what is wrong with lines and files."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness_runtime.batch import source
from likeness_runtime.batch.source import Row, read_rows, rows_below
from likeness_runtime.batch.subject_line import Quarantined, SubjectLine, read_subject_line
from likeness_runtime.failure import RunError

TEAPOT = b'{"id": "teapot", "images": ["s3://catalogue/teapot.jpg"], "metadata": {"price": 3}}\n'


def rows(path: Path, data: bytes) -> list[Row | Quarantined]:
    path.write_bytes(data)
    return list(read_rows(path, f"s3://catalogue/{path.name}"))


@pytest.mark.parametrize(("name", "packed"), [("a.jsonl", False), ("a.jsonl.gz", True), ("A.JSONL", False)])
def test_json_lines(tmp_path: Path, name: str, packed: bool) -> None:
    data = TEAPOT + b"\n" + TEAPOT.replace(b"teapot", b"mug").rstrip()
    found = rows(tmp_path / name, gzip.compress(data) if packed else data)
    assert [(row.number, row.document["id"]) for row in found if isinstance(row, Row)] == [(1, "teapot"), (3, "mug")]


def test_csv_has_a_column_for_each_picture_and_the_rest_is_metadata(tmp_path: Path) -> None:
    text = '\ufeffid,image,image2,token,price\npot,s3://c/1.jpg,s3://c/2.jpg,<pot>,3\n"a, b",s3://c/3.jpg,,,\nshort\n'
    first, second, third = rows(tmp_path / "a.csv", text.encode())
    assert isinstance(first, Row)
    assert first.document == {
        "id": "pot",
        "images": ["s3://c/1.jpg", "s3://c/2.jpg"],
        "token": "<pot>",
        "metadata": {"price": "3"},
    }
    assert isinstance(second, Row)
    assert (second.number, second.document["id"], second.document["images"]) == (3, "a, b", ["s3://c/3.jpg"])
    assert isinstance(third, Quarantined)
    assert third.number == 4


def test_the_folders_below_a_prefix_are_subjects() -> None:
    found = ["s3://c/a/1.jpg", "s3://c/a/2.PNG", "s3://c/a/notes.txt", "s3://c/b/deep/1.webp", "s3://c/loose.jpg"]
    assert [row.document for row in rows_below("s3://c/", found)] == [
        {"id": "a", "images": ["s3://c/a/1.jpg", "s3://c/a/2.PNG"]},
        {"id": "b", "images": ["s3://c/b/deep/1.webp"]},
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1",
        b'{"id": "a", "id": "b"}',
        b'{"id": NaN}',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"id": ' + b"9" * 5000 + b"}",
        b'"' + b"x" * source.MOST_LINE_BYTES + b'"',
    ],
    ids=["cut", "list", "twice", "nan", "utf-16", "deep", "huge number", "too long"],
)
def test_a_line_that_cannot_be_read_is_told_and_the_next_one_is_read(tmp_path: Path, line: bytes) -> None:
    bad, good = rows(tmp_path / "a.jsonl", line + b"\n" + TEAPOT)
    assert isinstance(bad, Quarantined)
    assert (bad.number, bad.reason) == (1, "InvalidLine")
    assert len(bad.message) < 300
    assert isinstance(good, Row)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (["teapot"], "expected an object"),
        ({}, "id"),
        ({"id": "", "images": ["s3://c/1.jpg"]}, "id"),
        ({"id": "a\nb", "images": ["s3://c/1.jpg"]}, "id"),
        ({"id": "é" * 129, "images": ["s3://c/1.jpg"]}, "at most 256"),
        ({"id": "a", "images": []}, "images"),
        ({"id": "a", "images": "s3://c/1.jpg"}, "list of addresses"),
        ({"id": "a", "images": ["s3://c/1.jpg"] * 9}, "images"),
        ({"id": "a", "images": ["https://c/1.jpg"]}, "images"),
        ({"id": "a", "images": ["s3://c/../1.jpg"]}, "path segment"),
        ({"id": "a", "images": ["s3://c/1.jpg"], "colour": "red"}, "colour"),
        ({"id": "a", "images": ["s3://c/1.jpg"], "token": "pot"}, "token"),
        ({"id": "a", "images": ["s3://c/1.jpg"], "metadata": {"x": "y" * 5000}}, "at most 4096"),
    ],
)
def test_a_line_that_says_no_subject_names_its_field(document: Any, words: str) -> None:
    found = read_subject_line(document, 7)
    assert isinstance(found, Quarantined)
    assert (found.number, found.reason) == (7, "InvalidLine")
    assert words in found.message


def test_a_line_of_failed_jsonl_is_a_line_of_a_manifest() -> None:
    found = read_subject_line({"id": "a", "images": ["s3://c/1.jpg"], "failure": {"reason": "ImageUnreadable"}}, 1)
    assert isinstance(found, SubjectLine)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", b"", ".jsonl"),
        ("a.jsonl.gz", gzip.compress(TEAPOT)[:-6], "a.jsonl.gz"),
        ("a.csv", b"", "none; expected id and image"),
        ("a.csv", b"name,picture\n", "name, picture; expected id and image"),
        ("a.csv", b'id,image\n"open,x\n', "a.csv"),
    ],
    ids=["ending", "cut", "empty", "columns", "quote"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    with pytest.raises(RunError, match=r"spec\.source\.manifest") as caught:
        rows(tmp_path / name, data)
    assert words in caught.value.message


def test_a_manifest_that_never_ends_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MOST_MANIFEST_BYTES", 3 * source.MOST_LINE_BYTES)
    bomb: Callable[[], bytes] = lambda: gzip.compress(b"x" * 8 * source.MOST_LINE_BYTES)  # noqa: E731
    with pytest.raises(RunError, match="GiB unpacked"):
        rows(tmp_path / "a.jsonl.gz", bomb())


def test_parquet_without_its_library_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RunError, match=r"pip install 'likeness-tuner\[parquet\]'"):
        rows(tmp_path / "a.parquet", b"PAR1")
