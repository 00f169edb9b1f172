"""Erasing what was published for the subjects of a batch: those that a new revision lists no more, or all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from likeness_api.order import BatchEraseOrder
from likeness_api.published import batch_home, subject_home
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_api.subject_id import folder_name
from likeness_runtime.batch.batch_folder import BatchFolder
from likeness_runtime.batch.plan import PlannedSubject, short_hash
from likeness_runtime.batch.result_line import ResultLine
from likeness_runtime.order.allowed import check_erase_allowed
from likeness_runtime.order.erase import erase_below, erase_home
from likeness_runtime.storage.object_store import ObjectStore
from likeness_runtime.storage.stores import Stores

AT_ONCE = 16
"""Folders that are listed at the same time: each one costs two requests though it may be empty."""


def erase_batch(order: BatchEraseOrder, stores: Stores, check: Callable[[], None]) -> Result:
    """Deletes every artifact folder of every subject that any revision planned, then the batch's books, which list
    them. May be called again at any time.

    Raises `RunError` and whatever `check` does.
    """
    check_erase_allowed(order.output, order.storage, order.namespace)
    home = batch_home(order.output, order.namespace, order.name)
    store = stores.of(home)
    folder = BatchFolder(store, home, 1)
    homes = (subject_home(order.output, order.namespace, folder_name(each)) for each in planned_ids(store, folder))
    subjects, objects = erase_homes(stores, homes, check)
    erase_below(store, home, check, lambda _uri, _home: True)
    return Result(reason=Reason.ERASED, message=f"erased {objects} objects of {subjects} subjects, and {home}")


def erase_removed(removed: Path, output: str, namespace: str, stores: Stores, check: Callable[[], None]) -> int:
    """Deletes what was published for those that the file `removed` lists, in the form of removed.jsonl: how many."""
    with removed.open("rb") as lines:
        ids = (subject_id for line in lines if (subject_id := ResultLine.decode(line).id) is not None)
        homes = (subject_home(output, namespace, folder_name(each)) for each in ids)
        return erase_homes(stores, homes, check)[0]


def erase_homes(stores: Stores, homes: Iterable[str], check: Callable[[], None]) -> tuple[int, int]:
    """How many folders of subjects there were, and how many objects in them."""
    folders = objects = 0

    def erase(home: str) -> int:
        return sum(erase_home(stores.of(home), home, check))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = iter(homes)
        while some := list(islice(waiting, AT_ONCE * 8)):
            check()
            folders += len(some)
            objects += sum(pool.map(erase, some))
    return folders, objects


def planned_ids(store: ObjectStore, folder: BatchFolder) -> Iterator[str]:
    """Ids of all subjects in shards, of all revisions, each once. Memory grows by some hundred bytes a subject."""
    seen: set[bytes] = set()
    for uri in store.list(folder.home):
        revision, _, name = uri.removeprefix(folder.home).partition("/")
        if revision.isdecimal() and name.startswith("shards/0-"):
            shard = folder.of_revision(int(revision)).read(name)
            for line in (shard or b"").splitlines():
                subject_id = PlannedSubject.decode(line).subject.id
                short = short_hash(subject_id)
                if short not in seen:
                    seen.add(short)
                    yield subject_id
