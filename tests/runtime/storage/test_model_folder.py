import errno
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from likeness_api.order import OrderModel, OrderStorage
from likeness_api.reason import ExitCode, Reason
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.failure import RunError
from likeness_runtime.storage.cache_folder import MARKER_NAME
from likeness_runtime.storage.local import LocalStore
from likeness_runtime.storage.model_folder import counts, folder_digest, locate
from likeness_runtime.storage.object_store import ObjectStore
from likeness_runtime.storage.stores import Stores


class Bucket(LocalStore):
    """A folder that answers to s3:// addresses, and counts its downloads."""

    def __init__(self, folder: Path) -> None:
        self.prefix = f"file://{folder}/"
        self.downloads: list[str] = []

    def read(self, uri: str, limit_bytes: int) -> bytes:
        return super().read(uri.replace("s3://models/", self.prefix), limit_bytes)

    def download(self, uri: str, path: Path) -> None:
        self.downloads.append(uri)
        super().download(uri.replace("s3://models/", self.prefix), path)

    def list(self, prefix: str) -> Iterable[str]:
        found = super().list(prefix.replace("s3://models/", self.prefix))
        return [uri.replace(self.prefix, "s3://models/") for uri in found]


class OneBucket(Stores):
    def __init__(self, bucket: Bucket) -> None:
        super().__init__(OrderStorage(source_prefixes=[], output_prefixes=[]), lambda _seconds: None)
        self.bucket = bucket

    def of(self, uri: str) -> ObjectStore:
        return self.bucket if uri.startswith("s3://") else super().of(uri)


@pytest.fixture
def bucket(tiny_folders: dict[TinyKind, Path], tmp_path: Path) -> Bucket:
    shutil.copytree(tiny_folders["sd15"], tmp_path / "models" / "tiny")
    (tmp_path / "models" / "tiny" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    return Bucket(tmp_path / "models")


def test_the_digest_is_that_of_the_content(tiny_folders: dict[TinyKind, Path], tmp_path: Path) -> None:
    folder = tiny_folders["sd15"]
    shutil.copytree(folder, tmp_path / "copy")
    assert folder_digest(tmp_path / "copy") == folder_digest(folder)
    (tmp_path / "copy" / "vae" / "config.json").write_text("{}")
    assert folder_digest(tmp_path / "copy") != folder_digest(folder)


def test_what_no_pipeline_loads_does_not_count(tiny_folders: dict[TinyKind, Path], tmp_path: Path) -> None:
    shutil.copytree(tiny_folders["sd15"], tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("hello")
    (tmp_path / "copy" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    assert folder_digest(tmp_path / "copy") == folder_digest(tiny_folders["sd15"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model_index.json", True),
        ("unet/diffusion_pytorch_model.safetensors", True),
        ("tokenizer/merges.txt", True),
        ("unet/diffusion_pytorch_model.bin", False),
        ("v1-5-pruned.safetensors", False),
        ("safety_checker/model.safetensors", False),
        ("unet/deeper/model.safetensors", False),
    ],
)
def test_only_the_components_files_count(name: str, expected: bool) -> None:
    assert counts(name, {"unet", "tokenizer"}) == expected


def test_a_model_is_fetched_once_and_without_its_pickles(bucket: Bucket, tmp_path: Path) -> None:
    model = OrderModel(uri="s3://models/tiny", cache=str(tmp_path / "cache"))
    first = locate(model, OneBucket(bucket))
    fetched = len(bucket.downloads)
    assert locate(model, OneBucket(bucket)) == first
    assert len(bucket.downloads) == fetched > 0
    assert not any(uri.endswith(".bin") for uri in bucket.downloads)
    assert first[1] == folder_digest(first[0]) == folder_digest(tmp_path / "models" / "tiny")


class Cut(Bucket):
    def download(self, uri: str, path: Path) -> None:
        if len(self.downloads) == 3:
            raise RunError(Reason.STORAGE_UNAVAILABLE, "cut")
        super().download(uri, path)


def test_half_a_model_is_never_used(bucket: Bucket, tmp_path: Path) -> None:
    model = OrderModel(uri="s3://models/tiny", cache=str(tmp_path / "cache"))
    with pytest.raises(RunError, match="cut"):
        locate(model, OneBucket(Cut(tmp_path / "models")))
    assert not list((tmp_path / "cache").iterdir())
    folder, digest = locate(model, OneBucket(bucket))
    assert folder_digest(folder) == digest


class Slower(Bucket):
    """Another pod finishes while we fetch into the same cache."""

    def __init__(self, folder: Path, quicker: Bucket, model: OrderModel) -> None:
        super().__init__(folder)
        self.quicker, self.model = quicker, model

    def download(self, uri: str, path: Path) -> None:
        super().download(uri, path)
        if len(self.downloads) == 1:
            locate(self.model, OneBucket(self.quicker))


def test_two_pods_may_fetch_at_the_same_time(bucket: Bucket, tmp_path: Path) -> None:
    model = OrderModel(uri="s3://models/tiny", cache=str(tmp_path / "cache"))
    folder, digest = locate(model, OneBucket(Slower(tmp_path / "models", bucket, model)))
    assert folder_digest(folder) == digest
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]
    assert (folder / MARKER_NAME).is_file()


@pytest.mark.parametrize("scheme", ["file", "s3"])
def test_a_wrong_digest_is_refused(bucket: Bucket, tmp_path: Path, scheme: str) -> None:
    uri = "s3://models/tiny" if scheme == "s3" else f"file://{tmp_path}/models/tiny"
    with pytest.raises(RunError, match=r"model\.digest is 0000") as caught:
        locate(OrderModel(uri=uri, digest="0" * 64, cache=str(tmp_path / "cache")), OneBucket(bucket))
    assert caught.value.reason == Reason.DIGEST_MISMATCH


@pytest.mark.parametrize("uri", ["s3://models/nothing", "file:///nothing", "builtin://nothing"])
def test_a_missing_model_is_no_missing_source(bucket: Bucket, tmp_path: Path, uri: str) -> None:
    with pytest.raises(RunError, match="nothing") as caught:
        locate(OrderModel(uri=uri, cache=str(tmp_path / "cache")), OneBucket(bucket))
    assert caught.value.reason == Reason.MODEL_NOT_FOUND


def test_a_cache_that_cannot_be_written_is_said(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"MiB free.*expected a writable folder") as caught:
        locate(OrderModel(uri="s3://models/tiny", cache=str(tmp_path / "file")), OneBucket(bucket))
    assert caught.value.reason == Reason.MODEL_CACHE_UNAVAILABLE
    assert caught.value.as_result().exit_code == ExitCode.TRANSIENT_ERROR


class Full(Bucket):
    def download(self, uri: str, path: Path) -> None:
        if len(self.downloads) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().download(uri, path)


def test_a_full_cache_is_said_and_nothing_is_left_in_it(bucket: Bucket, tmp_path: Path) -> None:
    model = OrderModel(uri="s3://models/tiny", cache=str(tmp_path / "cache"))
    with pytest.raises(RunError, match="No space left on device") as caught:
        locate(model, OneBucket(Full(tmp_path / "models")))
    assert caught.value.reason == Reason.MODEL_CACHE_UNAVAILABLE
    assert list((tmp_path / "cache").iterdir()) == []
    locate(model, OneBucket(bucket))


def test_a_hit_reads_no_file_until_one_has_changed(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OrderModel(uri="s3://models/tiny", cache=str(tmp_path / "cache"))
    folder, digest = locate(model, OneBucket(bucket))
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return folder_digest(path)

    monkeypatch.setattr("likeness_runtime.storage.model_folder.folder_digest", counted)
    assert locate(model, OneBucket(bucket)) == (folder, digest)
    assert read == []
    os.utime(folder / "model_index.json")
    assert locate(model, OneBucket(bucket)) == (folder, digest)
    assert read == [folder]
    assert locate(model, OneBucket(bucket)) == (folder, digest)
    assert read == [folder]


@pytest.mark.parametrize("pinned", [True, False])
def test_a_cached_model_that_was_changed_is_fetched_again(bucket: Bucket, tmp_path: Path, pinned: bool) -> None:
    wanted = folder_digest(tmp_path / "models" / "tiny") if pinned else None
    model = OrderModel(uri="s3://models/tiny", digest=wanted, cache=str(tmp_path / "cache"))
    folder, digest = locate(model, OneBucket(bucket))
    (folder / "vae" / "config.json").write_text("{}")
    assert locate(model, OneBucket(bucket)) == (folder, digest)
    assert folder_digest(folder) == digest
    (folder / "vae" / "config.json").unlink()
    assert locate(model, OneBucket(bucket)) == (folder, digest)
    assert folder_digest(folder) == digest
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]


@pytest.mark.parametrize(
    "content", ["", "0" * 64, "{}", '{"digest": "", "files": {}}', '{"digest": 7, "files": []}', "[]"]
)
def test_an_odd_marker_is_no_digest(bucket: Bucket, tmp_path: Path, content: str) -> None:
    model = OrderModel(uri="s3://models/tiny", cache=str(tmp_path / "cache"))
    folder, digest = locate(model, OneBucket(bucket))
    (folder / MARKER_NAME).write_text(content)
    assert locate(model, OneBucket(bucket)) == (folder, digest)
    assert json.loads((folder / MARKER_NAME).read_text())["digest"] == digest


def test_a_marker_with_another_digest_does_not_stand_against_the_pinned_one(bucket: Bucket, tmp_path: Path) -> None:
    digest = folder_digest(tmp_path / "models" / "tiny")
    model = OrderModel(uri="s3://models/tiny", digest=digest, cache=str(tmp_path / "cache"))
    folder, _ = locate(model, OneBucket(bucket))
    marker = json.loads((folder / MARKER_NAME).read_text())
    (folder / MARKER_NAME).write_text(json.dumps(marker | {"digest": "1" * 64}))
    assert locate(model, OneBucket(bucket)) == (folder, digest)


def test_what_killed_fetches_left_goes_and_what_is_being_fetched_stays(bucket: Bucket, tmp_path: Path) -> None:
    old, fresh = tmp_path / "cache" / ".aaaa.1111", tmp_path / "cache" / ".bbbb.2222"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"half")
    for path in (old / "weights", old):
        os.utime(path, (1, 1))
    locate(OrderModel(uri="s3://models/tiny", cache=str(tmp_path / "cache")), OneBucket(bucket))
    assert not old.exists()
    assert fresh.exists()


@pytest.mark.parametrize("content", ["", "[]", "no json"])
def test_a_broken_index_is_no_model(tmp_path: Path, content: str) -> None:
    (tmp_path / "model_index.json").write_text(content)
    with pytest.raises(RunError, match="no JSON") as caught:
        locate(OrderModel(uri=f"file://{tmp_path}"), OneBucket(Bucket(tmp_path)))
    assert caught.value.reason == Reason.MODEL_NOT_FOUND


def test_a_component_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"..": ["os", "x"]}')
    with pytest.raises(RunError, match=r"names a component '\.\.'; expected a plain name"):
        locate(OrderModel(uri=f"file://{tmp_path}"), OneBucket(Bucket(tmp_path)))
