"""Publishing: the files first, the manifest last. What a manifest names is there, with its size and its hash.

Several runs of one order may race (a pod thought dead that is not), with different bytes (a device whose sums differ in
the last bit), on a server that honours If-None-Match or on one that takes it and ignores it. So whoever has written
anything looks at the whole folder afterwards, and ends only when it agrees with the manifest that stands there; where
it does not, and nobody else mends it, its own files and manifest are put over all of it. The last one to write
anything, then, has seen it agree.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from likeness_api.published import Ordered, contradiction
from likeness_api.reason import Reason
from likeness_runtime.export.file import File
from likeness_runtime.failure import RunError, StorageMissingError
from likeness_runtime.order.manifest import MANIFEST_NAME, ArtifactManifest, result_of
from likeness_runtime.storage.object_store import ObjectStore, ObjectTooLargeError

MANIFEST_LIMIT_BYTES = 2**20
MOST_ROUNDS = 8
PAUSE_SECONDS = 0.5
"""Before what was written twice is written again, and twice as long each further time; spread, so that two do not keep
step."""
LARGEST_FILE_BYTES = 2**31
"""What a manifest names is read to be hashed; more than this, none of ours has."""


@dataclass(frozen=True)
class Place:
    """Where a subject is published, and what has to be there."""

    store: ObjectStore
    folder: str
    """An address with its closing slash; its last segment is the digest."""
    ordered: Ordered


@dataclass(frozen=True)
class Standing:
    """A manifest that is published, and holds: what it names is there and as ordered."""

    manifest: ArtifactManifest
    data: bytes
    """The manifest's file as it is stored."""

    @property
    def sha256(self) -> str:
        """Of the manifest's file."""
        return hashlib.sha256(self.data).hexdigest()


def standing(place: Place) -> Standing | str | None:
    """What is published there: a manifest that holds; what is wrong with the one that is there; None without one."""
    try:
        data = place.store.read(place.folder + MANIFEST_NAME, MANIFEST_LIMIT_BYTES)
        manifest = ArtifactManifest.decode(data)
    except StorageMissingError:
        return None
    except ObjectTooLargeError as error:
        return f"{MANIFEST_NAME} has {error.size} bytes; expected at most {MANIFEST_LIMIT_BYTES}"
    except ValueError as error:
        return str(error)
    problem = _not_as_ordered(manifest, data, place) or _not_there(manifest, place)
    return problem or Standing(manifest, data)


def publish(place: Place, files: list[File], manifest: ArtifactManifest, sleep: Callable[[float], None]) -> Standing:
    """Writes everything; what stands and holds afterwards, ours or that of another run of the same order.

    Raises `RunError`: OutputNotFound without a bucket, StorageUnavailable where the folder never agrees.
    """
    data = manifest.encode()
    problem = ""
    for number in range(MOST_ROUNDS):
        found = standing(place)
        if number > 1 and not isinstance(found, Standing):
            sleep(PAUSE_SECONDS * 2 ** (number - 2) * random.uniform(0.5, 1.5))  # noqa: S311 - only spreads
            found = standing(place)
        if isinstance(found, Standing):
            return found
        problem = found or f"{MANIFEST_NAME} is not there"
        try:
            _write(place, files, data, over=found is not None)
        except StorageMissingError as missing:
            raise RunError(Reason.OUTPUT_NOT_FOUND, f"order.output: {missing.message}") from None
    found = standing(place)
    if isinstance(found, Standing):
        return found
    raise RunError(
        Reason.STORAGE_UNAVAILABLE,
        f"{place.folder} was written {MOST_ROUNDS} times and still is not what its manifest says ({found or problem});"
        " expected nobody else to write there",
    )


def _write(place: Place, files: list[File], manifest: bytes, *, over: bool) -> None:
    """`over`: there is a manifest already, which does not hold."""
    store, folder = place.store, place.folder
    for file in files:
        uri = folder + file.name
        if store.write_if_absent(uri, file.data, file.media_type):
            continue
        if _stored_sha256(store, uri, len(file.data)) != file.sha256:
            store.write(uri, file.data, file.media_type)
    uri = folder + MANIFEST_NAME
    if over:
        store.write(uri, manifest, "application/json")
    else:
        store.write_if_absent(uri, manifest, "application/json")


def _not_as_ordered(manifest: ArtifactManifest, data: bytes, place: Place) -> str | None:
    folder, ordered = place.folder, place.ordered
    digest = folder.rstrip("/").rsplit("/", 1)[-1]
    if manifest.digest != digest:
        return f"{MANIFEST_NAME}: digest is {manifest.digest}; expected {digest}"
    if (manifest.namespace, manifest.name) != (ordered.namespace, ordered.name):
        expected = f"{ordered.namespace}/{ordered.name}"
        return f"{MANIFEST_NAME}: it is of {manifest.namespace}/{manifest.name}; expected {expected}"
    try:
        result = result_of(manifest, data, folder, Reason.ALREADY_PUBLISHED, "")
    except ValueError as error:
        return f"{MANIFEST_NAME}: {' '.join(str(error).split())[:300]}"
    return contradiction(result, ordered)


def _not_there(manifest: ArtifactManifest, place: Place) -> str | None:
    """One listing for names and sizes, then each file's hash: a lifecycle rule or a person may have been there."""
    sizes = place.store.sizes(place.folder)
    for file in manifest.files:
        if file.name not in sizes:
            return f"{file.name} is gone"
        if sizes[file.name] != file.bytes:
            return f"{file.name} has {sizes[file.name]} bytes; expected {file.bytes}"
    for file in manifest.files:
        if _stored_sha256(place.store, place.folder + file.name, min(file.bytes, LARGEST_FILE_BYTES)) != file.sha256:
            return f"{file.name} is not what its SHA-256 says"
    return None


def _stored_sha256(store: ObjectStore, uri: str, limit_bytes: int) -> str | None:
    """None where the object is gone or cannot be the same."""
    try:
        return hashlib.sha256(store.read(uri, limit_bytes)).hexdigest()
    except (StorageMissingError, ObjectTooLargeError):
        return None
