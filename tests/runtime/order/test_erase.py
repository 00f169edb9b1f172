"""What goes when a subject's artifacts are erased, and what stays."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from likeness_api.order import EraseOrder, OrderStorage
from likeness_api.reason import Reason
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.order.erase import erase_artifacts
from likeness_runtime.storage.local import LocalStore
from likeness_runtime.storage.object_store import ObjectStore, ObjectVersion
from likeness_runtime.storage.stores import Stores
from seaweed import ADMIN, TENANT, Seaweed

NUMBERS = count(1)

DIGEST, OTHER_DIGEST = "a" * 64, "b" * 64
MINE = [
    f"shop/red-teapot/{DIGEST}/manifest.json",
    f"shop/red-teapot/{DIGEST}/previews/00.png",
    f"shop/red-teapot/{OTHER_DIGEST}/left-by-a-killed-run.safetensors",
]
OTHERS = [
    f"shop/red-teapot-2/{DIGEST}/manifest.json",
    f"shop/other/{DIGEST}/manifest.json",
    f"studio/red-teapot/{DIGEST}/manifest.json",
    f"shop/red-teapot/shop/nested/{DIGEST}/manifest.json",
    "shop/red-teapot/notes.txt",
]


def an_erase_order(output: str, prefix: str = "file://", endpoint: str | None = None) -> EraseOrder:
    storage = OrderStorage(source_prefixes=[], output_prefixes=[prefix], endpoint=endpoint, path_style=True)
    return EraseOrder(namespace="shop", name="red-teapot", output=output, storage=storage)


def stores(order: EraseOrder) -> Stores:
    return Stores(order.storage, lambda _seconds: None)


def nobody_stops() -> None:
    pass


def written(folder: Path) -> None:
    for key in [*MINE, *OTHERS]:
        LocalStore().write(f"file://{folder}/{key}", b"bytes", "text/plain")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_all_that_was_published_goes_and_everything_else_stays(tmp_path: Path) -> None:
    written(tmp_path)
    order = an_erase_order(f"file://{tmp_path}/")
    result = erase_artifacts(order, stores(order), nobody_stops)
    assert (result.reason, result.message) == (
        Reason.ERASED,
        f"erased 3 objects below file://{tmp_path}/shop/red-teapot/",
    )
    assert files(tmp_path) == sorted(OTHERS)


def test_erasing_again_finds_nothing_to_do(tmp_path: Path) -> None:
    written(tmp_path)
    order = an_erase_order(f"file://{tmp_path}")
    erase_artifacts(order, stores(order), nobody_stops)
    assert erase_artifacts(order, stores(order), nobody_stops).message.startswith("erased 0 objects")


def test_an_erase_that_is_stopped_leaves_no_manifest_of_half_a_result(tmp_path: Path) -> None:
    written(tmp_path)
    order = an_erase_order(f"file://{tmp_path}")
    allowed = iter([None])

    def stops_after_one() -> None:
        try:
            next(allowed)
        except StopIteration:
            raise InterruptedRunError from None

    with pytest.raises(InterruptedRunError):
        erase_artifacts(order, stores(order), stops_after_one)
    assert not (tmp_path / MINE[0]).exists()
    assert (tmp_path / MINE[1]).exists()


def test_what_is_listed_after_it_was_deleted_is_not_called_erased(tmp_path: Path) -> None:
    class Forgetful(LocalStore):
        def delete(self, uri: str) -> bool:  # noqa: ARG002
            return False

    class Only(Stores):
        def of(self, uri: str) -> Forgetful:  # noqa: ARG002
            return Forgetful()

    written(tmp_path)
    order = an_erase_order(f"file://{tmp_path}")
    with pytest.raises(RunError, match=r"3 of 3 objects .* still listed") as failed:
        erase_artifacts(order, Only(order.storage, lambda _seconds: None), nobody_stops)
    assert failed.value.reason == Reason.STORAGE_UNAVAILABLE


def test_outside_of_the_allowed_prefixes_nothing_is_even_listed(tmp_path: Path) -> None:
    written(tmp_path)
    order = an_erase_order(f"file://{tmp_path}", prefix="file:///elsewhere")
    with pytest.raises(RunError, match=r"order.output is .*; this run may use file:///elsewhere") as failed:
        erase_artifacts(order, stores(order), nobody_stops)
    assert failed.value.reason == Reason.BUCKET_NOT_ALLOWED
    assert files(tmp_path) == sorted([*MINE, *OTHERS])


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", TENANT.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", TENANT.secret_key)


def test_a_real_server_forgets_the_bytes_and_keeps_the_others(seaweed: Seaweed, credentials: None) -> None:
    for key in [*MINE, *OTHERS]:
        seaweed.client().put_object(Bucket="artifacts", Key=f"erase/{key}", Body=b"bytes")
    order = an_erase_order("s3://artifacts/erase", "s3://artifacts", seaweed.endpoint)
    assert erase_artifacts(order, stores(order), nobody_stops).message.startswith("erased 3 objects")
    assert set(seaweed.keys("artifacts", "erase/")) == {f"erase/{key}" for key in OTHERS}


def test_a_bucket_that_is_not_there_is_told(seaweed: Seaweed, credentials: None) -> None:
    order = an_erase_order("s3://not-made/erase", "s3://not-made", seaweed.endpoint)
    with pytest.raises(RunError, match="there is no bucket 'not-made'") as failed:
        erase_artifacts(order, stores(order), nobody_stops)
    assert failed.value.reason == Reason.OUTPUT_NOT_FOUND


ODD = ["a b", "a+b", "a#b?c", "a%20b", "é", "茶", "a\tb", "a&b<c>", "..", "a'b\"c", "~", "a\\b"]


def test_keys_of_any_kind_go(seaweed: Seaweed, credentials: None) -> None:
    client, home = seaweed.client(), "odd/shop/red-teapot"
    for name in ODD:
        client.put_object(Bucket="artifacts", Key=f"{home}/{DIGEST}/x{name}y", Body=b"bytes")
    client.put_object(Bucket="artifacts", Key=f"{home}/notes#1?.txt", Body=b"stays")
    order = an_erase_order("s3://artifacts/odd", "s3://artifacts", seaweed.endpoint)
    assert erase_artifacts(order, stores(order), nobody_stops).message.startswith(f"erased {len(ODD)} objects")
    assert seaweed.keys("artifacts", "odd/") == [f"{home}/notes#1?.txt"]


def test_file_names_of_any_kind_go(tmp_path: Path) -> None:
    folder = tmp_path / "shop" / "red-teapot" / DIGEST
    for name in [*ODD, "new\nline", "?"]:
        if name != "..":
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"x{name}").write_bytes(b"bytes")
    order = an_erase_order(f"file://{tmp_path}")
    erase_artifacts(order, stores(order), nobody_stops)
    assert files(tmp_path) == []


@pytest.fixture
def versioned(seaweed: Seaweed) -> str:
    """A bucket that keeps versions, with two of each object."""
    client, bucket = seaweed.client(), f"versioned-{next(NUMBERS)}"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in [*MINE, *OTHERS, *MINE]:
        client.put_object(Bucket=bucket, Key=key, Body=f"bytes of {key}".encode())
    return bucket


def versions(seaweed: Seaweed, bucket: str) -> list[str]:
    found = seaweed.client().list_object_versions(Bucket=bucket)
    return sorted(each["Key"] for part in ("Versions", "DeleteMarkers") for each in found.get(part, []))


def as_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ADMIN.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ADMIN.secret_key)


def test_all_versions_go(seaweed: Seaweed, versioned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    as_admin(monkeypatch)
    order = an_erase_order(f"s3://{versioned}", f"s3://{versioned}", seaweed.endpoint)
    result = erase_artifacts(order, stores(order), nobody_stops)
    assert "versions and markers" in result.message
    assert versions(seaweed, versioned) == sorted(OTHERS)


def test_what_is_hidden_by_markers_alone_is_not_called_erased(
    seaweed: Seaweed, versioned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted by somebody before: nothing is listed, and every byte is there."""
    as_admin(monkeypatch)
    for key in MINE:
        seaweed.client().delete_object(Bucket=versioned, Key=key)
    order = an_erase_order(f"s3://{versioned}", f"s3://{versioned}", seaweed.endpoint)
    erase_artifacts(order, stores(order), nobody_stops)
    assert versions(seaweed, versioned) == sorted(OTHERS)


class Refusing(LocalStore):
    """A bucket of which the eraser may not ask for versions. `keeps` tells whether it has them."""

    def __init__(self, *, keeps: bool) -> None:
        self.keeps = keeps

    def delete(self, uri: str) -> bool:
        super().delete(uri)
        return self.keeps

    def versions(self, prefix: str) -> None:  # type: ignore[override]  # noqa: ARG002
        return None


class Locked(LocalStore):
    """A bucket whose versions may be listed, and not be deleted."""

    def versions(self, prefix: str) -> list[ObjectVersion]:
        return [ObjectVersion(f"{prefix}{DIGEST}/manifest.json", "v1"), ObjectVersion(f"{prefix}notes.txt", "v1")]

    def delete_version(self, version: ObjectVersion) -> None:
        raise RunError(Reason.ACCESS_DENIED, f"{version.uri}: the object store refused these credentials")


@pytest.mark.parametrize("written_before", [True, False])
@pytest.mark.parametrize(
    ("store", "words"),
    [
        (Refusing(keeps=False), None),
        (Refusing(keeps=True), "keeps old versions, which cannot be listed; expected the rights s3:ListBucketVersions"),
        (Locked(), "an old version is left"),
    ],
    ids=["none are kept", "not listed", "not deleted"],
)
def test_versions_that_stay_are_told(
    tmp_path: Path, store: LocalStore, words: str | None, written_before: bool
) -> None:
    class Only(Stores):
        def of(self, uri: str) -> ObjectStore:  # noqa: ARG002
            return store

    if written_before:
        written(tmp_path)
    order = an_erase_order(f"file://{tmp_path}")
    only = Only(order.storage, lambda _seconds: None)
    if words is None:
        assert erase_artifacts(order, only, nobody_stops).reason == Reason.ERASED
        return
    for _ in range(2):  # the second time, too, when nothing is listed any more
        with pytest.raises(RunError, match=words) as failed:
            erase_artifacts(order, only, nobody_stops)
        assert failed.value.reason == Reason.VERSIONS_LEFT
