import hashlib
import io
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from PIL import Image

from likeness_api.order import Order, OrderModel, OrderStorage
from likeness_api.personalization import Preview, SubjectImage
from likeness_api.reason import Reason
from likeness_api.tuning import ResolvedTuning
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.fulfil import fulfil
from likeness_runtime.order.manifest import ArtifactManifest, digest_of
from likeness_runtime.order.model_cache import ModelCache
from likeness_runtime.storage.model_folder import folder_digest
from likeness_runtime.storage.stores import Stores
from seaweed import TENANT, Seaweed
from tiny_models import altered


def content(uri: str) -> dict[str, bytes]:
    """Every file below a file:// address."""
    folder = Path(uri.removeprefix("file://"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_input(order: Order, data: bytes) -> Order:
    Path(order.subject.images[0].uri.removeprefix("file://")).write_bytes(data)
    return order


def test_a_good_order_is_tuned_and_published_whole(order: Order, run: RunContext) -> None:
    result = fulfil(order, run)
    assert result.reason == Reason.TUNED
    files = content(result.folder())
    manifest = ArtifactManifest.decode(files.pop("manifest.json"))
    assert {file.name: file.sha256 for file in manifest.files} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items()
    }
    assert [(file.name, file.bytes) for file in result.artifacts] == [
        (file.name, len(files[file.name])) for file in manifest.files if not file.name.startswith("previews/")
    ]
    assert result.previews == ["previews/input.png", "previews/00.png"]
    assert result.folder().startswith(f"{order.subject.output}/shop/red-teapot/{manifest.digest}/")
    assert len(result.encode()) < 4096


def test_what_was_lost_is_published_again_and_said(
    order: Order, run: RunContext, caplog: pytest.LogCaptureFixture
) -> None:
    first = fulfil(order, run)
    folder = Path(first.folder().removeprefix("file://"))
    (folder / "previews/00.png").unlink()
    again = fulfil(order, run)
    assert again.reason == Reason.TUNED
    assert "published again, for previews/00.png is gone" in again.message
    assert "previews/00.png is gone; it is published again" in caplog.text
    assert again.manifest == first.manifest
    assert (folder / "previews/00.png").is_file()
    assert fulfil(order, run).reason == Reason.ALREADY_PUBLISHED


def test_the_same_order_is_published_once(order: Order, run: RunContext) -> None:
    first = fulfil(order, run)

    class Unused(ModelCache):
        def model(self, folder: Path, digest: str, device: torch.device) -> NoReturn:  # noqa: ARG002
            raise AssertionError("there is nothing to load a model for")

    again = fulfil(order, replace(run, models=Unused()))
    assert again.reason == Reason.ALREADY_PUBLISHED
    same = ("manifest", "artifacts", "previews", "nearest_word", "token", "steps")
    assert all(getattr(again, field) == getattr(first, field) for field in same)


def test_what_an_earlier_version_published_is_found_and_read(order: Order, run: RunContext) -> None:
    picture = Path(order.subject.images[0].uri.removeprefix("file://")).read_bytes()
    model = folder_digest(Path(order.run.model.uri.removeprefix("file://")))
    digest = digest_of(order, [hashlib.sha256(picture).hexdigest()], model, None)
    folder = Path(order.subject.output.removeprefix("file://")) / "shop/red-teapot" / digest
    manifest = json.loads(EARLIER_MANIFEST) | {"digest": digest}
    for file in manifest["files"]:
        data = bytes(file["bytes"])
        file["sha256"] = hashlib.sha256(data).hexdigest()
        (folder / file["name"]).parent.mkdir(parents=True, exist_ok=True)
        (folder / file["name"]).write_bytes(data)
    text = json.dumps(manifest, indent=2)
    (folder / "manifest.json").write_text(text)
    result = fulfil(order, run)
    assert (result.reason, result.nearest_word, result.steps) == (Reason.ALREADY_PUBLISHED, "pizza", 12)
    assert [file.name for file in result.artifacts] == ["red-teapot.safetensors", "README.md"]
    assert result.previews == ["previews/input.png"]
    assert result.manifest
    assert result.manifest.sha256 == hashlib.sha256(text.encode()).hexdigest()


EARLIER_MANIFEST = """\
{
  "codeVersion": "0.1.0",
  "digest": "531b737d3dcbb066b6634fffd576ef286d6be4f9ba1729bd3b8b86946f05b2cf",
  "files": [
    {
      "bytes": 122960,
      "format": "lora-kohya",
      "mediaType": "application/octet-stream",
      "name": "red-teapot.safetensors",
      "sha256": "e796a79104268c47c7ed2ad186a621f10017df56c71b9eb9e875aa6bb24c5ae1"
    },
    {
      "bytes": 1480,
      "format": "model-card",
      "mediaType": "text/markdown; charset=utf-8",
      "name": "README.md",
      "sha256": "70f3f2de8912fead2027dfac9e993b099dba0b305890b176f084e79b12837e6a"
    },
    {
      "bytes": 4593,
      "format": "input",
      "mediaType": "image/png",
      "name": "previews/input.png",
      "sha256": "f20680fe860846c938d9f99e257c105fa65ba54c48190ac1036a84254e66d903"
    }
  ],
  "formatVersion": 1,
  "images": [
    {
      "caption": "a picture of a {token} on a white and pink gradient background",
      "captionSource": "ZeroShot",
      "name": "photo.png",
      "sha256": "1e69973939aff9e207453218376d585c51790398e46b5c0c898e778549566a03"
    }
  ],
  "kind": "LikenessManifest",
  "method": "dual-path/2",
  "metrics": [
    {
      "name": "lossBefore",
      "value": "0.191304"
    }
  ],
  "model": {
    "name": "pocket",
    "sha256": "496dc73783c507600715a21c3b15d8a8bcf8ed8e3a2044c8b93dbe5c58f6b310"
  },
  "name": "red-teapot",
  "namespace": "shop",
  "nearestWord": "pizza",
  "steps": 12,
  "token": "<red-teapot>"
}
"""
"""As the version that wrote orders of version 1 published it, shorter by four files."""


def test_a_seed_means_the_same_bytes(order: Order, run: RunContext, tmp_path: Path) -> None:
    first = content(fulfil(order, run).folder())
    elsewhere = altered(order, output=f"file://{tmp_path}/elsewhere")
    assert content(fulfil(elsewhere, run).folder()) == first
    other = altered(order, tuning=order.tuning.model_copy(update={"seed": 8}))
    changed = content(fulfil(other, run).folder())
    assert all(changed[name] != first[name] for name in first if name.endswith(".safetensors"))


@pytest.mark.parametrize(
    "change",
    [
        {"token": "<other>"},
        {"previews": [Preview(prompt="<red-teapot> on sand", seed=1)]},
        {"tuning": ResolvedTuning(steps=1, batch_size=2, seed=7)},
    ],
    ids=["token", "previews", "tuning"],
)
def test_whatever_changes_the_files_changes_their_folder(
    order: Order, run: RunContext, change: dict[str, object]
) -> None:
    changed = altered(order, **change)
    assert fulfil(order, run).folder() != fulfil(changed, run).folder()


def test_every_asked_preview_is_drawn_with_its_seed(order: Order, run: RunContext) -> None:
    previews = [Preview(prompt="a <red-teapot>", seed=1), Preview(prompt="a <red-teapot>", seed=1), Preview(prompt="x")]
    files = content(fulfil(altered(order, previews=previews), run).folder())
    assert files["previews/00.png"] == files["previews/01.png"] != files["previews/02.png"]


def test_the_resolution_is_the_order_s_or_the_model_s(order: Order, run: RunContext) -> None:
    small = altered(order, tuning=order.tuning.model_copy(update={"resolution": 32}))
    for wanted, side in ((order, 64), (small, 32)):
        files = content(fulfil(wanted, run).folder())
        assert {Image.open(io.BytesIO(files[f"previews/{name}.png"])).size for name in ("input", "00")} == {
            (side, side)
        }
        assert json.loads(files["personalization.json"])["tuning"]["resolution"] == side


def test_zero_steps_publish_the_prediction(order: Order, run: RunContext) -> None:
    result = fulfil(altered(order, tuning=ResolvedTuning(steps=0)), run)
    assert result.nearest_word == "object"
    assert {metric.name: metric.value for metric in result.metrics}["nearestWordCosine"] == "1"


def test_several_pictures_of_one_subject_are_taken(order: Order, run: RunContext) -> None:
    images = [*order.subject.images, order.subject.images[0]]
    manifest = content(fulfil(altered(order, images=images), run).folder())["manifest.json"]
    assert len(ArtifactManifest.decode(manifest).images) == 2


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (
            {"images": [SubjectImage(uri="file:///nothing/here.png")]},
            Reason.SOURCE_NOT_FOUND,
            "/nothing/here.png does not exist",
        ),
        ({"model": OrderModel(uri="file:///nothing")}, Reason.MODEL_NOT_FOUND, "/nothing"),
        ({"model": OrderModel(uri="builtin://big")}, Reason.MODEL_NOT_FOUND, "builtin://pocket"),
        (
            {"storage": OrderStorage(source_prefixes=["s3://catalogue"], output_prefixes=["file://"])},
            Reason.BUCKET_NOT_ALLOWED,
            r"images\[0\] is file://.*s3://catalogue",
        ),
        (
            {"storage": OrderStorage(source_prefixes=["file://"], output_prefixes=["s3://artifacts/shop"])},
            Reason.BUCKET_NOT_ALLOWED,
            "output is file://.*s3://artifacts/shop",
        ),
    ],
)
def test_what_is_wrong_with_an_order_is_said(
    order: Order, run: RunContext, change: dict[str, object], reason: Reason, words: str
) -> None:
    with pytest.raises(RunError, match=words) as caught:
        fulfil(altered(order, **change), run)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"", Reason.IMAGE_UNREADABLE, "is empty"),
        (b"%PDF-1.4", Reason.IMAGE_UNREADABLE, "is a PDF document, expected|is a PDF document; expected"),
        (b"x" * (33 * 2**20), Reason.IMAGE_TOO_LARGE, "33.0 MiB; expected at most 32 MiB"),
    ],
    ids=["empty", "PDF", "33 MiB"],
)
def test_what_is_wrong_with_a_picture_is_said(
    order: Order, run: RunContext, data: bytes, reason: Reason, words: str
) -> None:
    with pytest.raises(RunError, match=words) as caught:
        fulfil(with_input(order, data), run)
    assert caught.value.reason == reason
    assert caught.value.message.startswith(f"images[0] {order.subject.images[0].uri}")


def test_a_full_gpu_is_told_with_the_setting_to_lower(order: Order, run: RunContext) -> None:
    class Full(ModelCache):
        def model(self, folder: Path, digest: str, device: torch.device) -> NoReturn:  # noqa: ARG002
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    order = altered(order, rows_per_pass=2)
    with pytest.raises(RunError, match=r"Tried to allocate 2.00 GiB.*runtime.rowsPerPass \(now 2\)") as caught:
        fulfil(order, replace(run, models=Full()))
    assert caught.value.reason == Reason.OUT_OF_DEVICE_MEMORY


def test_everything_may_lie_in_object_storage(
    order: Order,
    run: RunContext,
    tiny_folders: dict[TinyKind, Path],
    seaweed: Seaweed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", TENANT.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", TENANT.secret_key)
    seaweed.upload(tiny_folders["sd15"], "models", "tiny")
    seaweed.client().upload_file(order.subject.images[0].uri.removeprefix("file://"), "catalogue", "photo.png")
    storage = OrderStorage(
        endpoint=seaweed.endpoint,
        path_style=True,
        source_prefixes=["s3://catalogue"],
        output_prefixes=["s3://artifacts/shop"],
    )
    stored = altered(
        order,
        images=[SubjectImage(uri="s3://catalogue/photo.png")],
        output="s3://artifacts/shop",
        model=OrderModel(uri="s3://models/tiny", cache=order.subject.output.removeprefix("file://")),
        storage=storage,
    )
    in_storage = replace(run, stores=Stores(storage, time.sleep))
    result = fulfil(stored, in_storage)
    assert [result.reason, fulfil(stored, in_storage).reason] == [Reason.TUNED, Reason.ALREADY_PUBLISHED]
    prefix = result.folder().removeprefix("s3://artifacts/")
    for artifact in result.artifacts:
        body = seaweed.client().get_object(Bucket="artifacts", Key=prefix + artifact.name)["Body"].read()
        assert hashlib.sha256(body).hexdigest() == artifact.sha256


@pytest.mark.parametrize("checks", [0, 1, 2, 20])
def test_an_interrupted_run_publishes_nothing(order: Order, run: RunContext, tmp_path: Path, checks: int) -> None:
    left = checks

    def check() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        fulfil(order, RunContext(run.stores, run.progress, check))
    assert not (tmp_path / "out").exists()


def test_a_caption_that_is_cut_before_its_subject_ends_the_run(order: Order, run: RunContext) -> None:
    captioned = order.subject.images[0].model_copy(update={"caption": "word " * 100 + "{token}"})
    with pytest.raises(RunError) as refusal:
        fulfil(altered(order, images=[captioned]), run)
    assert refusal.value.reason == Reason.INVALID_SPEC
    assert not Path(order.subject.output.removeprefix("file://")).exists()
