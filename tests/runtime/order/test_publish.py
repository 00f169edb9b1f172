import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostile import hostile_messages
from likeness_api.published import Ordered, contradiction
from likeness_api.reason import Reason
from likeness_runtime.export.file import File
from likeness_runtime.failure import InterruptedRunError, RunError, StorageMissingError
from likeness_runtime.order.manifest import MANIFEST_NAME, ArtifactManifest, ManifestFile, result_of
from likeness_runtime.order.publish import Place, Standing, publish, standing
from likeness_runtime.storage.local import LocalStore
from likeness_runtime.storage.object_store import ObjectStore

HASH = "0" * 64
ORDERED = Ordered(home="", namespace="shop", name="x", token="<x>", images=1, previews=1)


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


def place(folder: Path, store: ObjectStore | None = None) -> Place:
    """The folder that the digest names, below `folder`."""
    home = f"file://{folder}/shop/x/"
    return Place(store or LocalStore(), f"{home}{HASH}/", replace(ORDERED, home=home))


def at(folder: Path) -> Path:
    return folder / "shop" / "x" / HASH


def never(_seconds: float) -> None:
    raise AssertionError("nothing here is worth a pause")


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
    publish(place(tmp_path, store), ours, manifest_of(ours), never)
    assert store.written == ["0.bin", "1.bin", MANIFEST_NAME]
    assert_whole(at(tmp_path))


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_an_interruption_anywhere_publishes_nothing_and_the_next_run_everything(tmp_path: Path, stop_at: int) -> None:
    ours = files(b"a", b"b")
    with pytest.raises(InterruptedRunError):
        publish(place(tmp_path, Recording(stop_at)), ours, manifest_of(ours), never)
    assert standing(place(tmp_path)) is None
    publish(place(tmp_path), ours, manifest_of(ours), never)
    assert_whole(at(tmp_path))


def test_leftovers_of_a_run_that_ended_early_are_replaced(tmp_path: Path) -> None:
    at(tmp_path).mkdir(parents=True)
    (at(tmp_path) / "0.bin").write_bytes(b"another last bit")
    ours = files(b"a", b"b")
    publish(place(tmp_path), ours, manifest_of(ours), never)
    assert_whole(at(tmp_path))


@pytest.mark.parametrize("store", [LocalStore(), Careless()], ids=["careful", "careless"])
def test_publishing_twice_changes_nothing(tmp_path: Path, store: ObjectStore) -> None:
    ours = files(b"a", b"b")
    first = publish(place(tmp_path, store), ours, manifest_of(ours), never)
    again = publish(place(tmp_path, store), ours, manifest_of(ours), never)
    assert first == again
    assert_whole(at(tmp_path))


def test_the_quicker_of_two_runs_stands(tmp_path: Path) -> None:
    theirs, ours = files(b"a", b"theirs"), files(b"a", b"ours")
    publish(place(tmp_path), theirs, manifest_of(theirs), never)
    stands = publish(place(tmp_path), ours, manifest_of(ours), never)
    assert stands.manifest == manifest_of(theirs)
    assert_whole(at(tmp_path))


class Racing(LocalStore):
    """Another run of the same order replaces a file between our last file and our manifest."""

    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:
        if uri.endswith(MANIFEST_NAME):
            super().write(uri.replace(MANIFEST_NAME, "1.bin"), b"theirs", media_type)
        return super().write_if_absent(uri, data, media_type)


def test_what_a_slower_run_replaced_is_mended(tmp_path: Path) -> None:
    ours = files(b"a", b"ours")
    publish(place(tmp_path, Racing()), ours, manifest_of(ours), never)
    assert_whole(at(tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: {"kind": "Recipe"}, "manifest.json: "),
        (lambda document: document | {"digest": "1" * 64}, "digest is 1111"),
        (lambda document: document | {"name": "y"}, "of shop/y; expected shop/x"),
        (lambda document: document | {"namespace": "studio"}, "of studio/x; expected shop/x"),
        (lambda document: document | {"token": "<y>"}, "token is '<y>'; expected <x>"),
        (lambda document: document | {"files": [document["files"][0] | {"name": "../x"}]}, "plain relative name"),
        (lambda document: document | {"files": document["files"][:1] * 2}, "named twice"),
        (lambda document: document | {"files": document["files"][:1] * 100}, "files"),
        (lambda document: document | {"files": [document["files"][0] | {"sha256": HASH}]}, "0.bin is not what"),
        (lambda document: document | {"files": [document["files"][0] | {"bytes": 2**50}]}, "bytes; expected 1125"),
    ],
)
def test_a_manifest_that_is_not_as_ordered_is_replaced(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], words: str
) -> None:
    ours = files(b"a", b"b")
    publish(place(tmp_path), ours, manifest_of(ours), never)
    path = at(tmp_path) / MANIFEST_NAME
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    found = standing(place(tmp_path))
    assert isinstance(found, str)
    assert words in found
    publish(place(tmp_path), ours, manifest_of(ours), never)
    assert isinstance(standing(place(tmp_path)), Standing)
    assert_whole(at(tmp_path))


def test_no_hostile_manifest_is_believed(tmp_path: Path) -> None:
    """Written by whoever may write into the bucket, beside files that are there."""
    ours = files(b"a", b"b")
    publish(place(tmp_path), ours, manifest_of(ours), never)
    path = at(tmp_path) / MANIFEST_NAME
    good, believed = path.read_text(), 0
    for message in hostile_messages(good, 3000, seed=7):
        path.write_text(message)
        found = standing(place(tmp_path))
        assert found is not None
        if isinstance(found, Standing):
            believed += 1
            result = result_of(found.manifest, found.data, place(tmp_path).folder, Reason.ALREADY_PUBLISHED, "")
            assert contradiction(result, place(tmp_path).ordered) is None
            assert {file.name for file in found.manifest.files} <= {"0.bin", "1.bin"}
        else:
            assert 0 < len(found) < 2000
    assert believed < 300
    path.write_text(good)
    assert isinstance(standing(place(tmp_path)), Standing)


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"c"), lambda path: path.write_bytes(b"")]
)
def test_files_that_were_lost_or_changed_are_published_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    ours = files(b"a", b"b")
    publish(place(tmp_path), ours, manifest_of(ours), never)
    damage(at(tmp_path) / "1.bin")
    found = standing(place(tmp_path))
    assert isinstance(found, str)
    assert found.startswith("1.bin ")
    publish(place(tmp_path), ours, manifest_of(ours), never)
    assert_whole(at(tmp_path))


class NoBucket(LocalStore):
    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:  # noqa: ARG002
        raise StorageMissingError(f"{uri}: there is no bucket")


def test_a_missing_output_bucket_is_not_a_missing_source(tmp_path: Path) -> None:
    ours = files(b"a")
    with pytest.raises(RunError, match=r"order\.output") as caught:
        publish(place(tmp_path, NoBucket()), ours, manifest_of(ours), never)
    assert caught.value.reason == Reason.OUTPUT_NOT_FOUND
