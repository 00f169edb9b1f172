"""What goes when a batch is erased, and what stays; stopped anywhere and run again, it goes as well."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from likeness_api.order import BatchEraseOrder, OrderStorage
from likeness_api.reason import Reason
from likeness_api.subject_id import folder_name
from likeness_runtime.batch.batch_folder import PLAN_NAME, BatchFolder, shard_name
from likeness_runtime.batch.erase import erase_batch, erase_removed, planned_ids
from likeness_runtime.batch.plan import PlannedSubject
from likeness_runtime.batch.result_line import Outcome, ResultLine
from likeness_runtime.batch.subject_line import SubjectLine
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.storage.local import LocalStore
from likeness_runtime.storage.object_store import ObjectStore
from likeness_runtime.storage.stores import Stores

DIGEST, OTHER_DIGEST = "a" * 64, "b" * 64
FIRST, SECOND = ["sku/1", "茶 2", "both"], ["both", "new", "never published"]
"""What the two revisions list."""
MINE = [
    f"{DIGEST}/manifest.json",
    f"{DIGEST}/previews/00.png",
    f"{OTHER_DIGEST}/left-by-a-killed-run.safetensors",
    "latest.json",
]
BOOKS = ["shop/.batches/autumn-2/1/plan.json", "shop/.batches/spring/1/shards/0-00000.jsonl"]
OTHERS = [
    f"shop/sku/{DIGEST}/manifest.json",
    f"shop/new-2/{DIGEST}/manifest.json",
    "shop/new-2/latest.json",
    f"studio/new/{DIGEST}/manifest.json",
    f"shop/new/nested/{DIGEST}/manifest.json",
    "shop/new/notes.txt",
    *BOOKS,
]


class Shop:
    """A folder with what a batch of two revisions published, and what others did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for subject_id in {*FIRST, *SECOND} - {"never published"}:
            for name in MINE:
                self.write(f"shop/{folder_name(subject_id)}/{name}")
        for name in OTHERS:
            self.write(name)
        self.plan(1, [FIRST[:2], FIRST[2:]])
        self.plan(2, [SECOND])

    def write(self, name: str, data: bytes = b"bytes") -> None:
        LocalStore().write(f"file://{self.path}/{name}", data, "")

    def plan(self, revision: int, shards: list[list[str]]) -> None:
        folder = self.books.of_revision(revision)
        for index, ids in enumerate(shards):
            planned = [
                PlannedSubject(number, SubjectLine.model_validate({"id": each, "images": ["s3://c/1.png"]}), "f" * 64)
                for number, each in enumerate(ids)
            ]
            folder.write(shard_name(0, index), b"".join(each.encode() for each in planned))
        folder.write(PLAN_NAME, b"{}")
        folder.write("segments/0-00000.jsonl", b"")

    @property
    def books(self) -> BatchFolder:
        return BatchFolder(LocalStore(), f"file://{self.path}/shop/.batches/autumn/", 1)

    @property
    def order(self) -> BatchEraseOrder:
        storage = OrderStorage(source_prefixes=[], output_prefixes=[f"file://{self.path}"])
        return BatchEraseOrder(namespace="shop", name="autumn", output=f"file://{self.path}/", storage=storage)

    def erase(self, check: Callable[[], None] = lambda: None, stores: Stores | None = None) -> str:
        stores = stores or Stores(self.order.storage, lambda _seconds: None)
        result = erase_batch(self.order, stores, check)
        assert result.reason is Reason.ERASED
        return result.message

    @property
    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_all_that_was_published_goes_with_its_books_and_everything_else_stays(shop: Shop) -> None:
    message = shop.erase()
    assert shop.files == sorted(OTHERS)
    assert message.endswith(f"and file://{shop.path}/shop/.batches/autumn/")


def test_a_subject_of_several_revisions_is_one_subject(shop: Shop) -> None:
    asked: list[str] = []

    class Noting(LocalStore):
        def list(self, prefix: str) -> list[str]:
            asked.append(prefix)
            return [*super().list(prefix)]

    message = shop.erase(stores=only(Noting(), shop))
    assert "16 objects of 5 subjects" in message
    assert asked.count(f"file://{shop.path}/shop/both/") == 2  # before and after


def only(store: ObjectStore, shop: Shop) -> Stores:
    class Only(Stores):
        def of(self, uri: str) -> ObjectStore:  # noqa: ARG002
            return store

    return Only(shop.order.storage, lambda _seconds: None)


def test_erased_again_there_is_nothing_to_do(shop: Shop) -> None:
    shop.erase()
    assert shop.erase().startswith("erased 0 objects of 0 subjects")
    assert shop.files == sorted(OTHERS)


def test_a_batch_that_never_planned_has_nothing(shop: Shop) -> None:
    empty = shop.order.model_copy(update={"name": "winter"})
    before = shop.files
    result = erase_batch(empty, Stores(empty.storage, lambda _seconds: None), lambda: None)
    assert result.message.startswith("erased 0 objects of 0 subjects")
    assert shop.files == before


def stops_after(calls: int) -> Callable[[], None]:
    called = count()

    def check() -> None:
        if next(called) >= calls:
            raise InterruptedRunError

    return check


def test_stopped_anywhere_and_run_again_all_of_it_goes(tmp_path: Path) -> None:
    """As long as anything that was published is left, the books say of whom."""
    stops = 0
    for calls in count():
        shop = Shop(tmp_path / str(calls))
        try:
            shop.erase(stops_after(calls))
        except InterruptedRunError:
            stops += 1
            assert _told_by_the_books(shop)
            shop.erase()
            assert shop.files == sorted(OTHERS)
        else:
            break
    assert stops > 16


def _told_by_the_books(shop: Shop) -> bool:
    listed = {folder_name(each) for each in planned_ids(LocalStore(), shop.books)}
    left = {name.split("/")[1] for name in shop.files if name not in OTHERS and "/.batches/" not in name}
    return left <= listed


def test_what_cannot_be_deleted_keeps_the_books(shop: Shop) -> None:
    class Refusing(LocalStore):
        def delete(self, uri: str) -> bool:
            if "/both/" in uri:
                raise RunError(Reason.ACCESS_DENIED, f"{uri}: not yours")
            return super().delete(uri)

    before = [name for name in shop.files if "/.batches/" in name]
    with pytest.raises(RunError, match="not yours"):
        shop.erase(stores=only(Refusing(), shop))
    assert [name for name in shop.files if "/.batches/" in name] == before
    shop.erase()
    assert shop.files == sorted(OTHERS)


def test_outside_of_the_allowed_prefixes_nothing_is_even_listed(shop: Shop) -> None:
    before = shop.files
    storage = OrderStorage(source_prefixes=[], output_prefixes=["file:///elsewhere"])
    order = shop.order.model_copy(update={"storage": storage})
    with pytest.raises(RunError, match=r"order.output is .*; this run may use file:///elsewhere") as failed:
        erase_batch(order, only(LocalStore(), shop), lambda: None)
    assert failed.value.reason is Reason.BUCKET_NOT_ALLOWED
    assert shop.files == before


def test_only_shards_of_the_first_pass_of_a_revision_are_read(shop: Shop) -> None:
    """Later passes list nobody else; what else is there is none of ours."""
    for name in ("1/shards/1-00000.jsonl", "x/shards/0-00000.jsonl", "shards/0-00000.jsonl"):
        shop.write(f"shop/.batches/autumn/{name}", b"no subject")
    assert sorted(planned_ids(LocalStore(), shop.books)) == sorted({*FIRST, *SECOND})


# Those that a new revision lists no more.


def removed(path: Path, ids: list[str | None]) -> Path:
    lines = [
        ResultLine(line=number, id=each, outcome=Outcome.SUCCEEDED, reason="Tuned", message="tuned")
        for number, each in enumerate(ids)
    ]
    path.write_bytes(b"".join(line.encode() for line in lines))
    return path


def test_who_was_removed_goes_and_the_others_stay(shop: Shop, tmp_path: Path) -> None:
    stores = only(LocalStore(), shop)
    before = shop.files
    gone = removed(tmp_path / "removed", ["sku/1", None, "茶 2"])
    assert erase_removed(gone, f"file://{shop.path}", "shop", stores, lambda: None) == 2
    gone.unlink()
    mine = {f"shop/{folder_name(each)}/{name}" for each in ("sku/1", "茶 2") for name in MINE}
    assert shop.files == sorted(set(before) - mine)


def test_where_nobody_was_removed_nothing_goes(shop: Shop, tmp_path: Path) -> None:
    nobody = removed(tmp_path.parent / f"{tmp_path.name}-removed", [])
    before = shop.files
    assert erase_removed(nobody, f"file://{shop.path}", "shop", only(LocalStore(), shop), lambda: None) == 0
    assert shop.files == before
