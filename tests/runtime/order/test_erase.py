"""What goes when a subject's artifacts are erased, and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from likeness_api.order import EraseOrder, OrderStorage
from likeness_api.reason import Reason
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.order.erase import erase_artifacts
from likeness_runtime.storage.local import LocalStore
from likeness_runtime.storage.stores import Stores
from seaweed import TENANT, Seaweed

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
        def delete(self, uri: str) -> None:
            pass

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
