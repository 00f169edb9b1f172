"""Publishing: the files first, the manifest last and only once. Publishes all or
nothing: what a manifest names is there.

Several runs of one order may race (a pod thought dead that is not). The first manifest stands. Until there is one,
equal files are left alone and different ones (leftovers of a run that ended early, on a device whose sums differ in
the last bit) are replaced.
"""

from __future__ import annotations

import hashlib

from likeness_api.reason import Reason
from likeness_runtime.export.file import File
from likeness_runtime.failure import RunError, StorageMissingError
from likeness_runtime.order.manifest import MANIFEST_NAME, ArtifactManifest
from likeness_runtime.storage.object_store import ObjectStore, ObjectTooLargeError

MANIFEST_LIMIT_BYTES = 2**20


def standing(store: ObjectStore, folder: str) -> tuple[ArtifactManifest, bytes] | None:
    """The manifest that is already published in `folder`, and its bytes. None where nothing is."""
    uri = folder + MANIFEST_NAME
    try:
        data = store.read(uri, MANIFEST_LIMIT_BYTES)
        return ArtifactManifest.decode(data), data
    except StorageMissingError:
        return None
    except (ValueError, ObjectTooLargeError) as error:
        raise RunError(Reason.DIGEST_MISMATCH, f"{uri} is not a manifest of ours: {error}") from None


def publish(
    store: ObjectStore, folder: str, files: list[File], manifest: ArtifactManifest
) -> tuple[ArtifactManifest, bytes]:
    """Writes everything; the manifest that stands afterwards, ours or that of a quicker run of the same order."""
    try:
        for file in files:
            _place(store, folder, file)
        data = manifest.encode()
        written = store.write_if_absent(folder + MANIFEST_NAME, data, "application/json")
    except StorageMissingError as missing:
        raise RunError(Reason.OUTPUT_NOT_FOUND, f"order.output: {missing.message}") from None
    # Read back also where it was written: some servers take If-None-Match and ignore it.
    found = standing(store, folder)
    if found is None:
        raise RunError(
            Reason.STORAGE_UNAVAILABLE, f"{folder}{MANIFEST_NAME} was written and is not there; expected to read it"
        )
    if written and found[1] == data:
        _mend(store, folder, files)
    return found


def _place(store: ObjectStore, folder: str, file: File) -> None:
    uri = folder + file.name
    if store.write_if_absent(uri, file.data, file.media_type):
        return
    if _stored_sha256(store, uri, file) != file.sha256 and standing(store, folder) is None:
        store.write(uri, file.data, file.media_type)


def _mend(store: ObjectStore, folder: str, files: list[File]) -> None:
    """A racing run may have replaced one of our files before it could see our manifest."""
    for file in files:
        if _stored_sha256(store, folder + file.name, file) != file.sha256:
            store.write(folder + file.name, file.data, file.media_type)


def _stored_sha256(store: ObjectStore, uri: str, file: File) -> str | None:
    """None where the object is gone or cannot be the same."""
    try:
        return hashlib.sha256(store.read(uri, len(file.data))).hexdigest()
    except (StorageMissingError, ObjectTooLargeError):
        return None
