"""latest.json: which of a subject's folders is the present one, whoever writes it and in whatever order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness_api.published import Ordered
from likeness_runtime.order.latest import MOST_LATEST_BYTES, Latest, write_latest
from likeness_runtime.order.publish import Place
from likeness_runtime.storage.local import LocalStore
from likeness_runtime.storage.object_store import ObjectStore
from races import MemoryStore, Publisher, Turns, race

SINGLE = 0
"""The revision that a Personalization of its own has."""
HOME = "s3://artifacts/shop/shop/x/"
RACES = 200


def place(store: ObjectStore, home: str, digest: str) -> Place:
    ordered = Ordered(home=home, namespace="shop", name="x", token="<x>", images=1, previews=1)
    return Place(store, f"{home}{digest}/", ordered)


class Subject:
    """One subject's folder on this machine."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "latest.json"
        self.home = f"file://{folder}/"

    def publish(self, digit: str, revision: int, store: ObjectStore | None = None) -> None:
        write_latest(place(store or LocalStore(), self.home, digit * 64), digit * 64, revision)

    @property
    def latest(self) -> Latest:
        return Latest.model_validate_json(self.path.read_bytes())


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject(tmp_path)


def test_the_first_one_is_named_with_its_manifest(subject: Subject) -> None:
    write_latest(place(LocalStore(), subject.home, "a" * 64), "b" * 64, 3)
    assert json.loads(subject.path.read_text()) == {
        "version": 1,
        "digest": "a" * 64,
        "manifestSha256": "b" * 64,
        "revision": 3,
    }


@pytest.mark.parametrize(
    ("first", "second", "stands"),
    [
        pytest.param(1, 2, "b", id="a newer revision replaces an older one"),
        pytest.param(2, 1, "a", id="an older revision leaves a newer one"),
        pytest.param(2, 2, "b", id="a later pass replaces an earlier one"),
        pytest.param(5, SINGLE, "b", id="a single one replaces a batch's"),
        pytest.param(SINGLE, 1, "b", id="a batch's replaces a single one"),
        pytest.param(SINGLE, SINGLE, "b", id="a single one replaces a single one"),
    ],
)
def test_who_replaces_whom(subject: Subject, first: int, second: int, stands: str) -> None:
    subject.publish("a", first)
    subject.publish("b", second)
    assert subject.latest.digest == stands * 64
    assert subject.latest.manifest_sha256 == stands * 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 1}',
        '{"version": 1, "digest": "short", "manifestSha256": "short", "revision": 9}',
        json.dumps({"version": 2, "digest": "a" * 64, "manifestSha256": "a" * 64, "revision": 9}),
        json.dumps({"version": 1, "digest": "a" * 64, "manifestSha256": "a" * 64, "revision": -9}),
        json.dumps({"version": 1, "digest": "a" * 64, "manifestSha256": "a" * 64, "revision": 9, "x": "x" * 5000}),
        "\x00" * (MOST_LATEST_BYTES + 1),
    ],
    ids=["empty", "cut", "a list", "fields missing", "no digests", "another version", "below zero", "long", "zeros"],
)
def test_what_cannot_be_read_is_replaced(subject: Subject, text: str) -> None:
    subject.path.write_text(text)
    subject.publish("b", 1)
    assert (subject.latest.digest, subject.latest.revision) == ("b" * 64, 1)


def test_fields_that_a_later_release_adds_are_passed_over(subject: Subject) -> None:
    said: dict[str, Any] = {"version": 1, "digest": "a" * 64, "manifestSha256": "a" * 64, "revision": 2, "more": [1]}
    subject.path.write_text(json.dumps(said))
    subject.publish("b", 1)
    assert subject.latest.digest == "a" * 64


def test_the_same_again_is_not_written_again(subject: Subject) -> None:
    over: list[str] = []

    class Noting(LocalStore):
        def write(self, uri: str, data: bytes, media_type: str) -> None:
            over.append(uri)
            super().write(uri, data, media_type)

    for digit in "aab":
        subject.publish(digit, 1, Noting())
    assert over == [f"{subject.home}latest.json"]


def test_one_that_goes_while_it_is_looked_at_is_written_anew(subject: Subject) -> None:
    class Going(LocalStore):
        def read(self, uri: str, limit_bytes: int) -> bytes:
            self.delete(uri)
            return super().read(uri, limit_bytes)

    subject.publish("a", 9)
    subject.publish("b", 1, Going())
    assert subject.latest.digest == "b" * 64


def writer(revision: int) -> Callable[[Publisher], object]:
    digest = str(revision) * 64
    return lambda store: write_latest(place(store, HOME, digest), digest, revision)


def what_stands(shared: MemoryStore) -> int:
    return Latest.model_validate_json(shared.objects[f"{HOME}latest.json"]).revision


def test_of_two_that_race_for_the_first_one_the_newer_one_stands() -> None:
    for seed in range(RACES):
        assert what_stands(race([writer(1), writer(2)], seed, careless=False)) == 2, seed


def test_of_any_number_that_race_the_newest_one_stands() -> None:
    for seed in range(RACES):
        assert what_stands(race([writer(1), writer(2), writer(3)], seed, careless=False)) == 3, seed


def test_an_older_revision_leaves_a_newer_one_on_a_server_that_ignores_if_none_match() -> None:
    shared = MemoryStore()
    for revision in (2, 1):
        writer(revision)(Publisher(shared, Turns(1, 0), 0, careless=True, kill_at=None))
    assert what_stands(shared) == 2
