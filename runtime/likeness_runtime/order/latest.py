"""latest.json beside a subject's artifact folders: which of them is the present one, for whoever serves."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field, ValidationError

from likeness_api.field import Sha256, StatusModel
from likeness_runtime.failure import StorageMissingError
from likeness_runtime.order.publish import Place
from likeness_runtime.storage.object_store import ObjectTooLargeError

LATEST_NAME = "latest.json"
MOST_LATEST_BYTES = 4096


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
    if place.store.write_if_absent(uri, latest.encode(), "application/json"):
        return
    before = _read(place, uri)
    if before == latest or (before is not None and before.revision > revision > 0):
        return
    place.store.write(uri, latest.encode(), "application/json")


def _read(place: Place, uri: str) -> Latest | None:
    """None where it says nothing that can be read."""
    try:
        return Latest.model_validate_json(place.store.read(uri, MOST_LATEST_BYTES))
    except (StorageMissingError, ObjectTooLargeError, ValidationError):
        return None
