"""From segments to results: one line a subject, in the source's order, also of what is not there yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from likeness_api.personalization_batch import MOST_FAILURES
from likeness_runtime.batch.batch_folder import RESULTS_NAME, BatchFolder, segment_name
from likeness_runtime.batch.collect import Tally, all_results, collect, missing_shards
from likeness_runtime.batch.plan import BatchPlan
from likeness_runtime.batch.result_line import Outcome, ResultLine
from likeness_runtime.storage.local import LocalStore

MODEL = "c" * 64


def succeeded(number: int, steps: int = 12) -> ResultLine:
    return ResultLine(
        line=number,
        id=f"sku {number}",
        outcome=Outcome.SUCCEEDED,
        reason="Tuned",
        message=f"tuned in {steps} steps",
        steps=steps,
        digest=f"{number:064x}",
        folder=f"s3://artifacts/shop/sku_20{number}/{number:064x}/",
        metadata={"row": number},
    )


def failed(number: int, reason: str = "ImageUnreadable", subject: dict[str, Any] | None = None) -> ResultLine:
    return ResultLine(
        line=number, id=f"sku {number}", outcome=Outcome.FAILED, reason=reason, message="broken", subject=subject
    )


class Books:
    def __init__(self, home: Path, scratch: Path) -> None:
        self.home = home
        self.scratch = scratch
        self.folder = BatchFolder(LocalStore(), f"file://{home}/", 1)
        self.broken([])
        self.skipped([])

    def _write(self, name: str, lines: list[ResultLine]) -> None:
        self.folder.write(name, b"".join(line.encode() for line in lines))

    def broken(self, lines: list[ResultLine]) -> None:
        self._write("quarantined.jsonl", lines)

    def skipped(self, lines: list[ResultLine]) -> None:
        self._write("skipped.jsonl", lines)

    def segment(self, index: int, *lines: ResultLine, which_pass: int = 0) -> None:
        self._write(segment_name(which_pass, index), list(lines))

    def collect(self, plans: list[BatchPlan], steps: list[int]) -> Tally:
        return collect(plans, self.folder, steps, self.scratch)[0]

    def read(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.home / "1" / name).read_text().splitlines()]


@pytest.fixture
def books(tmp_path: Path) -> Books:
    (tmp_path / "scratch").mkdir()
    return Books(tmp_path / "home", tmp_path / "scratch")


def a_plan(*shards: int, lines: int = 0) -> BatchPlan:
    return BatchPlan(
        basis="b" * 64, model=MODEL, lines=lines or sum(shards), quarantined=0, skipped=0, shards=list(shards)
    )


def test_every_line_is_there_once_in_the_sources_order(books: Books) -> None:
    books.broken([failed(2, "InvalidLine"), failed(6, "DuplicateId")])
    books.skipped([succeeded(4).model_copy(update={"outcome": Outcome.SKIPPED})])
    books.segment(0, succeeded(5), succeeded(1), failed(3))
    books.segment(1, succeeded(7))
    tally = books.collect([a_plan(3, 1, lines=7)], [12])
    assert [line["line"] for line in books.read(RESULTS_NAME)] == [1, 2, 3, 4, 5, 6, 7]
    counts = tally.counts(7)
    assert (counts.total, counts.succeeded, counts.skipped, counts.failed, counts.pending) == (7, 3, 1, 3, 0)


def test_what_is_served_is_in_the_index_and_what_failed_is_a_manifest(books: Books) -> None:
    line = {"id": "sku 3", "images": ["s3://c/3.png"]}
    books.broken([failed(2, "InvalidLine")])
    books.skipped([succeeded(4).model_copy(update={"outcome": Outcome.SKIPPED})])
    books.segment(0, succeeded(1), failed(3, subject=line))
    books.collect([a_plan(2)], [12])
    assert [(each["id"], each["model"], each["metadata"]) for each in books.read("index.jsonl")] == [
        ("sku 1", MODEL, {"row": 1}),
        ("sku 4", MODEL, {"row": 4}),
    ]
    assert books.read("failed.jsonl") == [
        line | {"failure": {"line": 3, "reason": "ImageUnreadable", "message": "broken"}}
    ]


def test_collected_again_it_is_the_same(books: Books) -> None:
    books.segment(0, succeeded(1), failed(2))
    books.collect([a_plan(2)], [12])
    names = (RESULTS_NAME, "index.jsonl", "failed.jsonl")
    before = [(books.home / "1" / name).read_bytes() for name in names]
    books.collect([a_plan(2)], [12])
    assert [(books.home / "1" / name).read_bytes() for name in names] == before


def test_the_results_are_written_last(books: Books) -> None:
    """They say that the revision came to its end."""
    written: list[str] = []

    class Noting(LocalStore):
        def upload(self, path: Path, uri: str, media_type: str) -> None:
            written.append(uri.rpartition("/")[2])
            super().upload(path, uri, media_type)

    books.segment(0, succeeded(1))
    collect([a_plan(1)], BatchFolder(Noting(), books.folder.home, 1), [12], books.scratch)
    assert sorted(written) == ["failed.jsonl", "index.jsonl", RESULTS_NAME]
    assert written[-1] == RESULTS_NAME


# Shards that are not done.


def test_a_shard_is_missing_where_its_segment_does_not_account_for_all(books: Books) -> None:
    books.segment(0, succeeded(1), failed(2))
    books.segment(1, succeeded(3))
    books.segment(3, succeeded(5), succeeded(5))
    books.segment(4)
    plan = a_plan(2, 2, 1, 2, 1)
    assert missing_shards(plan, books.folder, 0) == [1, 2, 3, 4]
    assert missing_shards(plan, books.folder, 1) == [0, 1, 2, 3, 4]
    books.segment(0, succeeded(1), succeeded(2), which_pass=1)
    assert missing_shards(plan, books.folder, 1) == [1, 2, 3, 4]
    assert missing_shards(a_plan(), books.folder, 0) == []


def test_collected_unfinished_the_others_are_pending(books: Books) -> None:
    books.segment(1, succeeded(3))
    tally = books.collect([a_plan(2, 2, lines=4)], [12])
    assert [line["line"] for line in books.read(RESULTS_NAME)] == [3]
    assert (tally.counts(4).succeeded, tally.counts(4).pending) == (1, 3)


# Several passes.


def test_of_two_passes_each_subject_has_one_line_of_the_later_one(books: Books) -> None:
    books.segment(0, succeeded(1, 0), succeeded(2, 0))
    books.segment(1, succeeded(3, 0), failed(4))
    books.segment(0, failed(3), succeeded(1, 12), which_pass=1)
    books.segment(1, succeeded(2, 12), which_pass=1)
    tally = books.collect([a_plan(2, 2), a_plan(2, 1)], [0, 12])
    lines = books.read(RESULTS_NAME)
    assert [(line["line"], line.get("steps")) for line in lines] == [(1, 12), (2, 12), (3, 0), (4, None)]
    assert all("not reached" not in line["message"] for line in lines)
    assert (tally.counts(4).succeeded, tally.counts(4).failed) == (3, 1)
    assert [entry["steps"] for entry in books.read("index.jsonl")] == [12, 12, 0]


def test_what_the_last_pass_did_not_reach_says_so_and_counts(books: Books) -> None:
    books.broken([failed(3, "InvalidLine")])
    books.skipped([succeeded(4).model_copy(update={"outcome": Outcome.SKIPPED})])
    books.segment(0, succeeded(1, 0), succeeded(2, 0), failed(5))
    books.segment(0, succeeded(2, 12), which_pass=1)
    tally = books.collect([a_plan(3), a_plan(2)], [0, 12])
    assert [line["message"] for line in books.read(RESULTS_NAME)] == [
        "tuned in 0 steps; not reached by the pass of 12 steps before completeBy",
        "tuned in 12 steps",
        "broken",
        "tuned in 12 steps",
        "broken",
    ]
    assert tally.counts(5).succeeded == 2


def test_a_pass_that_was_not_begun_is_no_matter(books: Books) -> None:
    books.segment(0, succeeded(1, 0))
    books.segment(0, succeeded(1, 12), which_pass=1)  # of a plan that is not there
    assert [line.steps for line in all_results([a_plan(1)], books.folder, [0], books.scratch)] == [0]


# The tally.


def test_the_most_frequent_failures_are_told_with_their_first_lines() -> None:
    tally = Tally()
    for number, reason in enumerate(["A", "B", "B", "C", "B", "C"]):
        tally.add(failed(number, reason))
    assert [(each.reason, each.count, each.id) for each in tally.failures()] == [
        ("B", 3, "sku 1"),
        ("C", 2, "sku 3"),
        ("A", 1, "sku 0"),
    ]


def test_of_many_reasons_only_some_are_told() -> None:
    tally = Tally()
    for number in range(3 * MOST_FAILURES):
        tally.add(failed(number, f"Reason{number}"))
    assert len(tally.failures()) == MOST_FAILURES
    assert tally.counts(0).pending == 0
