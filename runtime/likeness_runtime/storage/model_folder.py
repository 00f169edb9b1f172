"""From a model's address to a folder on disk whose content is known: found, fetched into the cache, digested.

Only what a pipeline loads counts: `model_index.json` and the .json, .txt, .model and .safetensors files of the
components that it names. Pickled weights beside them are neither fetched nor read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from likeness_api.order import OrderModel
from likeness_api.reason import Reason
from likeness_runtime.failure import RunError, StorageMissingError
from likeness_runtime.storage.cache_folder import appear, arriving_beside, free_space, known_digest, sweep
from likeness_runtime.storage.local import path_of
from likeness_runtime.storage.object_store import ObjectStore
from likeness_runtime.storage.stores import Stores

INDEX = "model_index.json"
MODEL_SUFFIXES = (".json", ".txt", ".model", ".safetensors")
POCKET_URI = "builtin://pocket"
INDEX_LIMIT_BYTES = 2**20
LAYOUT = f"expected a folder in diffusers layout, with {INDEX} and its components' folders"


def locate(model: OrderModel, stores: Stores, field: str = "model") -> tuple[Path, str]:
    """The folder of the order's model or encoder (`field`), and its digest.

    Raises `RunError` with ModelNotFound, DigestMismatch or a storage reason.
    """
    if model.uri.startswith("s3://"):
        folder, digest = _cached(model, stores.of(model.uri), field)
    else:
        folder = _builtin(model.uri, field) if model.uri.startswith("builtin://") else path_of(model.uri)
        if not (folder / INDEX).is_file():
            raise RunError(Reason.MODEL_NOT_FOUND, f"{field}.uri {model.uri}: {INDEX} is not there; {LAYOUT}")
        digest = folder_digest(folder)
    if model.digest and model.digest != digest:
        raise RunError(
            Reason.DIGEST_MISMATCH, f"{field}.digest is {model.digest}, but the files of {model.uri} have {digest}"
        )
    return folder, digest


def folder_digest(folder: Path) -> str:
    """SHA-256 over the sorted lines `<relative path> <SHA-256 of the file>` of all files that count."""
    components = components_of((folder / INDEX).read_bytes(), str(folder))
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and counts(path.relative_to(folder).as_posix(), components)
    )
    lines = [f"{name} {_file_digest(folder / name)}\n" for name in names]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def components_of(index: bytes, where: str) -> frozenset[str]:
    """The component folders that a `model_index.json` names."""
    try:
        content = json.loads(index)
    except ValueError as error:
        raise RunError(Reason.MODEL_NOT_FOUND, f"{where}: {INDEX} is no JSON ({error}); {LAYOUT}") from None
    if not isinstance(content, dict):
        raise RunError(Reason.MODEL_NOT_FOUND, f"{where}: {INDEX} is no JSON object; {LAYOUT}")
    named = {name for name, value in content.items() if isinstance(value, list) and value and value[0]}
    odd = sorted(name for name in named if not name.isidentifier())
    if odd:  # such as "..", which would let an object's key lead out of the cache
        raise RunError(Reason.MODEL_NOT_FOUND, f"{where}: {INDEX} names a component {odd[0]!r}; expected a plain name")
    return frozenset(named - {"safety_checker", "feature_extractor"})


def counts(name: str, components: Iterable[str]) -> bool:
    path = PurePosixPath(name)
    return name == INDEX or (len(path.parts) == 2 and path.parts[0] in components and path.suffix in MODEL_SUFFIXES)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _builtin(uri: str, field: str) -> Path:
    if uri != POCKET_URI:
        raise RunError(Reason.MODEL_NOT_FOUND, f"{field}.uri is {uri}; the only built-in one is {POCKET_URI}")
    from likeness_runtime.pocket import MODEL_PATH

    return MODEL_PATH if field == "model" else MODEL_PATH.parent / "encoder"


def _cached(model: OrderModel, store: ObjectStore, field: str) -> tuple[Path, str]:
    """An `s3://` model, fetched once into the cache. Give a digest where the objects may change under one address."""
    cache = Path(model.cache) if model.cache else Path.home() / ".cache" / "likeness" / "models"
    folder = cache / hashlib.sha256(f"{model.uri} {model.digest or ''}".encode()).hexdigest()[:16]
    try:
        known = known_digest(folder, model.digest, folder_digest)
        if known is not None:
            return folder, known
        sweep(cache)
        arriving = arriving_beside(folder)
        try:
            _fetch(model.uri.rstrip("/") + "/", arriving, store, field)
            digest = folder_digest(arriving)
            if model.digest in (None, digest):
                appear(arriving, folder, digest)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
    except OSError as error:
        message = f"{field}.cache {cache}: {error.strerror} ({free_space(cache)}); expected a writable folder with room"
        raise RunError(Reason.MODEL_CACHE_UNAVAILABLE, f"{message} for {model.uri}") from None
    return folder, digest


def _fetch(prefix: str, folder: Path, store: ObjectStore, field: str) -> None:
    try:
        index = store.read(prefix + INDEX, INDEX_LIMIT_BYTES)
    except StorageMissingError as missing:
        raise RunError(Reason.MODEL_NOT_FOUND, f"{field}.uri: {missing.message}; {LAYOUT}") from None
    components = components_of(index, prefix)
    for uri in store.list(prefix):
        name = uri.removeprefix(prefix)
        if counts(name, components):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download(uri, path)
