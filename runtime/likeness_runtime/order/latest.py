"""latest.json beside a subject's artifact folders: which of them is the present one, for whoever serves."""

from __future__ import annotations

import json
import logging
from typing import Literal

from pydantic import Field, ValidationError

from likeness_api.field import Sha256, StatusModel
from likeness_runtime.failure import StorageMissingError
from likeness_runtime.order.publish import Place
from likeness_runtime.storage.object_store import ObjectTooLargeError

LATEST_NAME = "latest.json"
MOST_LATEST_BYTES = 4096
MOST_TRIES = 10
"""Where others write it at the same time."""

log = logging.getLogger(__name__)


class Latest(StatusModel):
    """What the file says. Whoever reads it passes over fields that it does not know."""

    version: Literal[1] = 1
    digest: Sha256
    """The name of the artifact folder."""
    manifest_sha256: Sha256
    revision: int = Field(default=0, ge=0)
    """Of the batch that published it; 0 for a single Personalization."""

    def encode(self) -> bytes:
        return (json.dumps(self.to_json(), sort_keys=True) + "\n").encode()


def write_latest(place: Place, manifest_sha256: str, revision: int) -> None:
    """Points to what is published at `place`, unless a later revision points elsewhere. Raises `RunError`."""
    home, digest = place.folder.rstrip("/").rsplit("/", 1)
    uri = f"{home}/{LATEST_NAME}"
    latest = Latest(digest=digest, manifest_sha256=manifest_sha256, revision=revision)
    for _ in range(MOST_TRIES):
        version = place.store.version(uri)
        if version is None:
            if place.store.write_if_absent(uri, latest.encode(), "application/json"):
                return
            continue
        before = _read(place, uri)
        if before == latest or (before is not None and before.revision > revision > 0):
            return
        if place.store.replace(uri, latest.encode(), "application/json", version):
            return
    log.warning("%s changed %d times while it was to be written; it is left as it is.", uri, MOST_TRIES)


def _read(place: Place, uri: str) -> Latest | None:
    """None where it says nothing that can be read."""
    try:
        return Latest.model_validate_json(place.store.read(uri, MOST_LATEST_BYTES))
    except (StorageMissingError, ObjectTooLargeError, ValidationError):
        return None
