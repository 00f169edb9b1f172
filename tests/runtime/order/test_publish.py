import hashlib
import json
from pathlib import Path

import pytest

from likeness_api.reason import Reason
from likeness_runtime.export.file import File
from likeness_runtime.failure import InterruptedRunError, RunError, StorageMissingError
from likeness_runtime.order.manifest import MANIFEST_NAME, ArtifactManifest, ManifestFile
from likeness_runtime.order.publish import publish, standing
from likeness_runtime.storage.local import LocalStore
from likeness_runtime.storage.object_store import ObjectStore

HASH = "0" * 64


def files(*contents: bytes) -> list[File]:
    return [File(f"{number}.bin", "test", "text/plain", data) for number, data in enumerate(contents)]


def manifest_of(published: list[File]) -> ArtifactManifest:
    return ArtifactManifest.model_validate(
        {
            "digest": HASH,
            "namespace": "shop",
            "name": "x",
            "token": "<x>",
            "nearest_word": "object",
            "steps": 1,
            "images": [{"name": "x.png", "sha256": HASH, "captionSource": "NoContexts"}],
            "model": {"name": "tiny", "sha256": HASH},
            "metrics": [],
            "files": [
                ManifestFile(name=f.name, format=f.format, sha256=f.sha256, bytes=len(f.data), media_type=f.media_type)
                for f in published
            ],
        }
    )


def assert_whole(folder: Path) -> None:
    """Every file that the manifest names is there with its hash."""
    for file in ArtifactManifest.decode((folder / MANIFEST_NAME).read_bytes()).files:
        assert hashlib.sha256((folder / file.name).read_bytes()).hexdigest() == file.sha256


class Recording(LocalStore):
    """A real store that remembers the order of what appeared, and can be told to fail."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.written: list[str] = []
        self.stop_at = stop_at

    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:
        if len(self.written) == self.stop_at:
            raise InterruptedRunError
        appeared = super().write_if_absent(uri, data, media_type)
        self.written.append(uri.rsplit("/", 1)[1])
        return appeared


class Careless(LocalStore):
    """As some S3-compatible servers: takes If-None-Match and ignores it."""

    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:
        self.write(uri, data, media_type)
        return True


def address(folder: Path) -> str:
    return f"file://{folder}/"


def test_a_manifest_round_trips() -> None:
    manifest = manifest_of(files(b"a"))
    assert ArtifactManifest.decode(manifest.encode()) == manifest


@pytest.mark.parametrize("place", [(), ("images", 0), ("files", 0)])
def test_a_manifest_with_an_unknown_field_is_refused_at_every_level(place: tuple[str | int, ...]) -> None:
    document = json.loads(manifest_of(files(b"one")).encode())
    inner = document
    for step in place:
        inner = inner[step]
    inner["more"] = 1
    with pytest.raises(ValueError, match="more: Extra inputs are not permitted"):
        ArtifactManifest.decode(json.dumps(document).encode())


def test_the_manifest_comes_last(tmp_path: Path) -> None:
    store = Recording()
    ours = files(b"a", b"b")
    publish(store, address(tmp_path), ours, manifest_of(ours))
    assert store.written == ["0.bin", "1.bin", MANIFEST_NAME]
    assert_whole(tmp_path)


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_an_interruption_anywhere_publishes_nothing_and_the_next_run_everything(tmp_path: Path, stop_at: int) -> None:
    ours = files(b"a", b"b")
    with pytest.raises(InterruptedRunError):
        publish(Recording(stop_at), address(tmp_path), ours, manifest_of(ours))
    assert standing(LocalStore(), address(tmp_path)) is None
    publish(LocalStore(), address(tmp_path), ours, manifest_of(ours))
    assert_whole(tmp_path)


def test_leftovers_of_a_run_that_ended_early_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "0.bin").write_bytes(b"another last bit")
    ours = files(b"a", b"b")
    publish(LocalStore(), address(tmp_path), ours, manifest_of(ours))
    assert_whole(tmp_path)


@pytest.mark.parametrize("store", [LocalStore(), Careless()], ids=["careful", "careless"])
def test_publishing_twice_changes_nothing(tmp_path: Path, store: ObjectStore) -> None:
    ours = files(b"a", b"b")
    first = publish(store, address(tmp_path), ours, manifest_of(ours))
    again = publish(store, address(tmp_path), ours, manifest_of(ours))
    assert first == again
    assert_whole(tmp_path)


def test_the_quicker_of_two_runs_stands(tmp_path: Path) -> None:
    theirs, ours = files(b"a", b"theirs"), files(b"a", b"ours")
    publish(LocalStore(), address(tmp_path), theirs, manifest_of(theirs))
    stands, _ = publish(LocalStore(), address(tmp_path), ours, manifest_of(ours))
    assert stands == manifest_of(theirs)
    assert_whole(tmp_path)


class Racing(LocalStore):
    """Another run of the same order replaces a file between our last file and our manifest."""

    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:
        if uri.endswith(MANIFEST_NAME):
            super().write(uri.replace(MANIFEST_NAME, "1.bin"), b"theirs", media_type)
        return super().write_if_absent(uri, data, media_type)


def test_what_a_slower_run_replaced_is_mended(tmp_path: Path) -> None:
    ours = files(b"a", b"ours")
    publish(Racing(), address(tmp_path), ours, manifest_of(ours))
    assert_whole(tmp_path)


def test_a_foreign_manifest_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text('{"kind": "Recipe"}')
    with pytest.raises(RunError, match="not a manifest of ours") as caught:
        standing(LocalStore(), address(tmp_path))
    assert caught.value.reason == Reason.DIGEST_MISMATCH


class NoBucket(LocalStore):
    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:  # noqa: ARG002
        raise StorageMissingError(f"{uri}: there is no bucket")


def test_a_missing_output_bucket_is_not_a_missing_source(tmp_path: Path) -> None:
    ours = files(b"a")
    with pytest.raises(RunError, match=r"order\.output") as caught:
        publish(NoBucket(), address(tmp_path), ours, manifest_of(ours))
    assert caught.value.reason == Reason.OUTPUT_NOT_FOUND
