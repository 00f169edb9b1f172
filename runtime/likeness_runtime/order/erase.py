"""Erasing what was published for one subject, and nothing else.

Only the artifact folders go, which are named by a digest, and latest.json, which names one: whatever else lies below
the same prefix (another subject whose output was chosen to be there) has no such name and stays. A bucket with
versioning only hides what is deleted, so there every version goes, or it is said that some did not.
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
from likeness_runtime.storage.object_store import ObjectStore, ObjectVersion
from likeness_runtime.storage.stores import Stores

PUBLISHED = re.compile(r"[0-9a-f]{64}/.*|latest\.json", re.DOTALL)
NOBODYS = f"{'0' * 64}/{MANIFEST_NAME}"
"""Deleted to see whether a bucket keeps versions, where it says so in no other way."""
RIGHTS = "expected the rights s3:ListBucketVersions and s3:DeleteObjectVersion, and no Object Lock or MFA delete"


def erase_artifacts(order: EraseOrder, stores: Stores, check: Callable[[], None]) -> Result:
    """Deletes every artifact folder of the subject; the result is `Erased` where a second look finds none left, old
    versions included.

    Raises `RunError` and whatever `check` does; may be called again at any time.
    """
    check_allowed(order)
    home = home_of(order)
    objects, versions = erase_home(stores.of(home), home, check)
    old = f" and {versions} versions and markers" if versions else ""
    return Result(reason=Reason.ERASED, message=f"erased {objects} objects{old} below {home}")


def erase_home(store: ObjectStore, home: str, check: Callable[[], None]) -> tuple[int, int]:
    """The same for one subject's folder: how many objects went, and how many of their versions and markers."""
    return erase_below(store, home, check, _is_published)


def erase_below(
    store: ObjectStore, home: str, check: Callable[[], None], is_ours: Callable[[str, str], bool]
) -> tuple[int, int]:
    """Deletes what `is_ours` says of an address and `home`. Raises as `erase_artifacts` does."""
    found = _listed(store, home, is_ours)
    keeps_versions = False
    # Manifests first: what one names is there.
    for uri in sorted(found, key=lambda uri: (not uri.endswith(f"/{MANIFEST_NAME}"), uri)):
        check()
        keeps_versions |= store.delete(uri)
    versions = _erase_versions(store, home, check, is_ours, keeps_versions=keeps_versions, deleted=bool(found))
    left = _listed(store, home, is_ours)
    if left:
        raise RunError(
            Reason.STORAGE_UNAVAILABLE,
            f"{len(left)} of {len(found)} objects below {home} are still listed after they were deleted, such as"
            f" {left[0]!r}; expected none",
        )
    return len(found), versions


def _erase_versions(
    store: ObjectStore, home: str, check: Callable[[], None], is_ours: Callable[[str, str], bool], *,
    keeps_versions: bool, deleted: bool,
) -> int:  # fmt: skip
    """Deletes all versions; how many there were."""
    found = _versions(store, home, is_ours)
    if found is None:
        if not deleted:
            keeps_versions = store.delete(home + NOBODYS)
        if not keeps_versions:
            return 0  # what is deleted there is gone
        raise RunError(
            Reason.VERSIONS_LEFT, f"the bucket of {home} keeps old versions, which cannot be listed; {RIGHTS}"
        )
    for version in found:
        check()
        try:
            store.delete_version(version)
        except RunError as error:
            if error.reason is not Reason.ACCESS_DENIED:
                raise
            raise RunError(Reason.VERSIONS_LEFT, f"an old version is left: {error.message}; {RIGHTS}") from None
    left = _versions(store, home, is_ours) if found else []
    if left:
        first = left[0].uri
        raise RunError(Reason.VERSIONS_LEFT, f"{len(left)} versions are left, such as of {first!r}; {RIGHTS}")
    return len(found)


def _versions(store: ObjectStore, home: str, is_ours: Callable[[str, str], bool]) -> list[ObjectVersion] | None:
    found = store.versions(home)
    return found and [version for version in found if is_ours(version.uri, home)]


def _listed(store: ObjectStore, home: str, is_ours: Callable[[str, str], bool]) -> list[str]:
    try:
        return [uri for uri in store.list(home) if is_ours(uri, home)]
    except StorageMissingError as missing:
        raise RunError(Reason.OUTPUT_NOT_FOUND, f"order.output: {missing.message}") from None


def _is_published(uri: str, home: str) -> bool:
    return PUBLISHED.fullmatch(uri.removeprefix(home)) is not None
