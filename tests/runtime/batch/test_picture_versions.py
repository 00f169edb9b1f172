from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from likeness_api.order import OrderStorage
from likeness_runtime.batch.picture_versions import picture_versions
from likeness_runtime.storage.s3 import S3Store
from likeness_runtime.storage.stores import Stores
from seaweed import TENANT, Seaweed

COUNT = 1500
FOLDER = "s3://catalogue/listed/"


@pytest.fixture(scope="module")
def pictures(seaweed: Seaweed) -> list[str]:
    client = seaweed.client()
    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(
            lambda number: client.put_object(Bucket="catalogue", Key=f"listed/{number:05}.png", Body=b"%d" % number),
            range(COUNT),
        ):
            pass
    return [f"{FOLDER}{number:05}.png" for number in range(COUNT)]


class Asked:
    """Counts requests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages = self.singles = 0
        page, version = S3Store.page, S3Store.version

        def counted_page(store: S3Store, folder: str, after: str) -> object:
            self.pages += 1
            return page(store, folder, after)

        def counted_version(store: S3Store, uri: str) -> object:
            self.singles += 1
            return version(store, uri)

        monkeypatch.setattr(S3Store, "page", counted_page)
        monkeypatch.setattr(S3Store, "version", counted_version)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


@pytest.fixture
def stores(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Stores:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", TENANT.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", TENANT.secret_key)
    settings = OrderStorage(
        endpoint=seaweed.endpoint, path_style=True, source_prefixes=["s3://catalogue"], output_prefixes=[]
    )
    return Stores(settings, lambda _seconds: None)


def test_a_listing_says_of_each_picture_what_a_request_for_it_alone_says(
    pictures: list[str], stores: Stores, asked: Asked
) -> None:
    found = picture_versions(pictures, stores)
    assert (asked.pages, asked.singles) == (2, 0)
    assert {uri: found[uri] for uri in pictures[::100]} == {uri: stores.of(uri).version(uri) for uri in pictures[::100]}
    assert len(set(found.values())) == COUNT


def test_one_that_is_not_there_has_none(pictures: list[str], stores: Stores, asked: Asked) -> None:
    gone = [f"{FOLDER}00010-gone.png", f"{FOLDER}zzz.png", "s3://not-made/a.png"]
    found = picture_versions([*pictures[:100], *gone], stores)
    assert [found[uri] for uri in gone] == [None] * 3
    assert asked.singles == 2  # what the page did not reach, and that of the other bucket
    assert None not in [found[uri] for uri in pictures[:100]]


def test_few_among_many_are_asked_for_one_by_one(pictures: list[str], stores: Stores, asked: Asked) -> None:
    sparse = pictures[::75]
    found = picture_versions(sparse, stores)
    assert len(found) == len(sparse) == 20
    assert (asked.pages, asked.singles) == (1, 6)
    assert picture_versions(pictures[:19], stores).keys() == set(pictures[:19])
    assert asked.pages == 1


def test_where_nothing_may_be_listed_each_one_is_asked_for(
    pictures: list[str], stores: Stores, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(S3Store, "page", lambda *_, **__: None)
    assert None not in picture_versions(pictures[:50], stores).values()
    assert asked.singles == 50


def test_in_a_bucket_that_is_not_there_is_none_of_them(stores: Stores) -> None:
    gone = [f"s3://not-made/{number}.png" for number in range(30)]
    assert picture_versions(gone, stores) == dict.fromkeys(gone)


def test_a_file_is_asked_for_alone(stores: Stores, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(30)]
    for path in paths[1:]:
        path.write_bytes(b"x")
    found = picture_versions([f"file://{path}" for path in paths], stores)
    assert [found[f"file://{path}"] is None for path in paths] == [True, *[False] * 29]
