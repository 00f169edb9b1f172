"""Erasing what was published for one subject, and nothing else.

Only the artifact folders go, which are named by a digest: whatever else lies below the same prefix (another subject
whose output was chosen to be there) has no such name and stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from likeness_api.order import EraseOrder
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_runtime.failure import RunError, StorageMissingError
from likeness_runtime.order.allowed import check_allowed
from likeness_runtime.order.manifest import MANIFEST_NAME, home_of
from likeness_runtime.storage.object_store import ObjectStore
from likeness_runtime.storage.stores import Stores

IN_AN_ARTIFACT_FOLDER = re.compile(r"[0-9a-f]{64}/.+")


def erase_artifacts(order: EraseOrder, stores: Stores, check: Callable[[], None]) -> Result:
    """Deletes every artifact folder of the subject; the result is `Erased` where a second listing finds none left.

    Raises `RunError` and whatever `check` does; may be called again at any time.
    """
    check_allowed(order)
    home = home_of(order)
    store = stores.of(home)
    found = _published(store, home)
    # Manifests first: what one names is there.
    for uri in sorted(found, key=lambda uri: (not uri.endswith(f"/{MANIFEST_NAME}"), uri)):
        check()
        store.delete(uri)
    left = _published(store, home)
    if left:
        raise RunError(
            Reason.STORAGE_UNAVAILABLE,
            f"{len(left)} of {len(found)} objects below {home} are still listed after they were deleted, such as"
            f" {left[0]}; expected none",
        )
    return Result(reason=Reason.ERASED, message=f"erased {len(found)} objects below {home}")


def _published(store: ObjectStore, home: str) -> list[str]:
    try:
        return [uri for uri in store.list(home) if IN_AN_ARTIFACT_FOLDER.fullmatch(uri.removeprefix(home))]
    except StorageMissingError as missing:
        raise RunError(Reason.OUTPUT_NOT_FOUND, f"order.output: {missing.message}") from None
