"""What storage says that each of many pictures is now, in as few requests as it takes: a listing where many of them
lie side by side, one request for each of the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from likeness_runtime.failure import StorageMissingError
from likeness_runtime.storage.object_store import VersionsPage
from likeness_runtime.storage.stores import Stores

ASKED_AT_ONCE = 16
"""Requests for single pictures."""
WORTH_A_LISTING = 20
"""Pictures that a page of a thousand objects must cover: it costs about as much as so many requests."""


def picture_versions(uris: Iterable[str], stores: Stores) -> dict[str, str | None]:
    """By address, as `ObjectStore.version` says it; None where there is no such object. Raises `RunError`."""
    folders: dict[str, list[str]] = defaultdict(list)
    for uri in sorted(set(uris)):
        folders[uri.rpartition("/")[0] + "/"].append(uri)
    found: dict[str, str | None] = {}
    alone: list[str] = []
    for folder, inside in folders.items():
        alone += _listed(folder, inside, stores, found)
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        found.update(zip(alone, threads.map(lambda uri: stores.of(uri).version(uri), alone), strict=True))
    return found


def _listed(folder: str, wanted: list[str], stores: Stores, found: dict[str, str | None]) -> list[str]:
    """Puts into `found` what listings of `folder` say, from the first wanted one on; returns those that are left."""
    while len(wanted) >= WORTH_A_LISTING:
        try:
            page = stores.of(folder).page(folder, after=wanted[0][:-1])
        except StorageMissingError:
            page = VersionsPage({}, None)
        if page is None:
            return wanted
        covered = len(wanted) if page.last is None else sum(uri <= page.last for uri in wanted)
        found.update((uri, page.versions.get(uri)) for uri in wanted[:covered])
        wanted = wanted[covered:]
        if covered < WORTH_A_LISTING:
            return wanted
    return wanted
