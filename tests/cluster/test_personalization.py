"""The main job, as a user sees it: apply the examples, watch the columns, load the files."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kube import kubectl, true_conditions, wait_for
from likeness_operator.kubernetes.k8s_object import K8sObject
from seaweed import TENANT, Seaweed
from shop import SHOP, create, finished, jobs_of, pods_of, published_keys, succeeded

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/cluster"
NAME = "red-teapot"


@pytest.fixture(scope="module")
def applied(shop: str) -> float:
    """The examples, word for word but for the image's tag. Seconds from `kubectl apply` until the Job was there."""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        text = path.read_text().replace("docker.io/likeness/runtime:0.1.0", os.environ["LIKENESS_TEST_RUNTIME_IMAGE"])
        start = time.monotonic()
        kubectl("apply", "--server-side", "-f", "-", stdin=text)
    wait_for("the Job", lambda: jobs_of(NAME), seconds=30, every=0.02)
    return time.monotonic() - start


@pytest.fixture(scope="module")
def teapot(applied: float) -> K8sObject:
    return succeeded(NAME, seconds=180)


@pytest.fixture(scope="module")
def published(teapot: K8sObject, storage: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The artifacts, fetched with the tenant's own key: format -> file."""
    folder = tmp_path_factory.mktemp("published")
    files = {}
    for artifact in teapot["status"]["artifacts"]:
        bucket, _, key = artifact["uri"].removeprefix("s3://").partition("/")
        files[artifact["format"]] = folder / artifact["name"]
        files[artifact["format"]].parent.mkdir(parents=True, exist_ok=True)
        storage.client(TENANT).download_file(bucket, key, str(files[artifact["format"]]))
    return files


def test_the_job_is_there_within_two_seconds(applied: float, figure: Callable[[str], None]) -> None:
    figure(f"{applied:.2f} s from kubectl apply to the Job")
    assert applied <= 2


def test_it_succeeds_in_a_namespace_that_enforces_the_restricted_level(
    teapot: K8sObject, figure: Callable[[str], None]
) -> None:
    (pod,) = pods_of(NAME)
    assert pod["spec"]["containers"][0]["image"] == os.environ["LIKENESS_TEST_RUNTIME_IMAGE"]
    assert true_conditions(teapot)["Succeeded"]["reason"] == "Tuned"
    assert teapot["status"]["progress"]["step"] == 12
    figure(f"started {teapot['status']['startTime']}, completed {teapot['status']['completionTime']}")


def test_every_artifact_has_the_sha256_and_the_size_that_the_status_says(
    teapot: K8sObject, published: dict[str, Path]
) -> None:
    assert len(teapot["status"]["artifacts"]) >= 3
    for artifact in teapot["status"]["artifacts"]:
        data = published[artifact["format"]].read_bytes()
        assert hashlib.sha256(data).hexdigest() == artifact["sha256"]
        assert len(data) == artifact["bytes"]


def test_the_manifest_has_the_sha256_that_the_status_says(teapot: K8sObject, storage: Seaweed) -> None:
    bucket, _, key = teapot["status"]["manifest"]["uri"].removeprefix("s3://").partition("/")
    data = storage.client(TENANT).get_object(Bucket=bucket, Key=key)["Body"].read()
    assert hashlib.sha256(data).hexdigest() == teapot["status"]["manifest"]["sha256"]


def test_the_status_says_what_was_told_about_the_picture(teapot: K8sObject, photograph: bytes) -> None:
    (image,) = teapot["status"]["subject"]
    assert image["sha256"] == hashlib.sha256(photograph).hexdigest()
    assert (image["caption"], image["captionSource"]) == ("a photo of a {token} on a wooden table", "Spec")


def test_the_columns_tell_the_story(teapot: K8sObject) -> None:
    header, row = kubectl("-n", SHOP, "get", "pz", NAME).splitlines()
    assert header.split() == ["NAME", "STATE", "STEP", "NEAREST", "WORD", "AGE"]
    assert row.split()[:4] == [NAME, "Succeeded", "12", teapot["status"]["nearestWord"]]
    header, row = kubectl("-n", SHOP, "get", "pz", NAME, "-o", "wide").splitlines()
    assert header.split()[6:] == ["REASON", "PROFILE", "ENCODER", "MANIFEST"]
    assert row.split()[-4:] == ["Tuned", "sd15", "False", teapot["status"]["manifest"]["uri"]]


def test_the_files_change_the_picture_in_stock_diffusers_and_both_formats_make_the_same(
    published: dict[str, Path], model: Path, figure: Callable[[str], None]
) -> None:
    from diffusers import StableDiffusionPipeline

    def picture(lora: str = "", embedding: str = "") -> np.ndarray:
        import torch

        pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None, local_files_only=True)
        pipe.set_progress_bar_config(disable=True)
        if lora:
            pipe.load_lora_weights(str(published[lora].parent), weight_name=published[lora].name)
        if embedding:
            pipe.load_textual_inversion(str(published[embedding]), token=f"<{NAME}>")
        noise = torch.Generator("cpu").manual_seed(3)
        answer = pipe(f"a photo of <{NAME}>", num_inference_steps=4, generator=noise, output_type="np")
        return np.asarray(answer.images[0])

    base = picture()
    with_lora = picture(lora="lora-diffusers")
    with_both = picture(lora="lora-diffusers", embedding="textual-inversion")
    kohya = picture(lora="lora-kohya", embedding="textual-inversion")
    by_lora, by_both = np.abs(with_lora - base).max(), np.abs(with_both - base).max()
    figure(f"largest change of a pixel: {by_lora:.4f} by the LoRA, {by_both:.4f} with the embedding")
    assert by_lora > 0
    assert np.abs(with_both - with_lora).max() > 0
    assert np.abs(kohya - with_both).max() < 1e-4


def test_a_job_deleted_after_success_does_not_come_back(shop: str) -> None:
    name = create()
    before = succeeded(name)
    kubectl("-n", SHOP, "delete", "job", before["status"]["jobRef"]["name"])
    kubectl("-n", SHOP, "annotate", "pz", name, "touched=yes")  # an event for the operator to react to
    time.sleep(5)
    assert jobs_of(name) == []
    assert finished(name)["status"] == before["status"]


def test_the_same_order_twice_publishes_once(shop: str, storage: Seaweed) -> None:
    name = create("twice")
    first = succeeded(name)
    keys = published_keys(storage, name)
    kubectl("-n", SHOP, "delete", "pz", name)
    create("twice")
    second = succeeded(name)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert true_conditions(second)["Succeeded"]["reason"] == "AlreadyPublished"
    assert second["status"]["manifest"] == first["status"]["manifest"]
    assert second["status"]["artifacts"] == first["status"]["artifacts"]
    assert published_keys(storage, name) == keys
