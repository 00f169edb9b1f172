"""Whatever is wrong with an order ends under its own reason, after one pod at most."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from kube import CommandFailedError, apply, fetch_all, kubectl, true_conditions, wait_for
from likeness_operator.kubernetes.k8s_object import K8sObject
from seaweed import FORBIDDEN, Seaweed
from shop import PICTURE, SHOP, create, finished, jobs_of, pods_of, profile, read, succeeded


def bomb(side: int = 50_000) -> bytes:
    """A PNG of a few kilobytes that claims side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 + side // 8) * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def one_pixel() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), "red").save(buffer, "PNG")
    return buffer.getvalue()


def picture(uri: str) -> dict[str, object]:
    return {"subject": {"images": [{"uri": uri}]}}


# name -> (what is asked for, the reason it ends with, a word that the message must have, whether a pod looks at it)
REFUSED: dict[str, tuple[dict[str, object], str, str, bool]] = {
    "missing-object": (picture("s3://catalogue/bad/none.jpg"), "SourceNotFound", "bad/none.jpg", True),
    "missing-bucket": (picture("s3://not-made/00.jpg"), "SourceNotFound", "not-made", True),
    "access-denied": (picture("s3://private/00.jpg"), "AccessDenied", "private", True),
    "truncated-jpeg": (picture("s3://catalogue/bad/truncated.jpg"), "ImageUnreadable", "truncated", True),
    "pdf-named-jpg": (picture("s3://catalogue/bad/pdf.jpg"), "ImageUnreadable", "PDF", True),
    "empty-file": (picture("s3://catalogue/bad/empty.jpg"), "ImageUnreadable", "empty.jpg", True),
    "one-pixel": (picture("s3://catalogue/bad/pixel.png"), "ImageTooSmall", "1", True),
    "bomb": (picture("s3://catalogue/bad/bomb.png"), "ImageTooLarge", "50", True),
    "unwritable-output": ({"output": f"s3://artifacts/{FORBIDDEN}"}, "AccessDenied", FORBIDDEN, True),
    "unknown-model": ({"profile": "no-model"}, "ModelNotFound", "no/such/model", True),
    "foreign-output": ({"output": "s3://artifacts/someone-else"}, "BucketNotAllowed", "someone-else", False),
    "foreign-source": (picture("s3://somewhere/00.jpg"), "BucketNotAllowed", "somewhere", False),
    "too-many-steps": ({"tuning": {"steps": 501}}, "LimitExceeded", "501", False),
}


@pytest.fixture(scope="module")
def refused(shop: str, storage: Seaweed, photograph: bytes) -> None:
    """All of them at once, so that they wait for the two cores together."""
    objects = {
        "truncated.jpg": photograph[: len(photograph) // 2],
        "pdf.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<</Type/Catalog>>\nendobj\n",
        "empty.jpg": b"",
        "pixel.png": one_pixel(),
        "bomb.png": bomb(),
    }
    for name, data in objects.items():
        storage.client().put_object(Bucket="catalogue", Key=f"bad/{name}", Body=data)
    storage.client().put_object(Bucket="private", Key="00.jpg", Body=photograph)
    apply(profile("no-model", model={"uri": "s3://models/no/such/model", "volume": {"emptyDir": {}}}))
    for name, (changes, *_) in REFUSED.items():
        create(name, **changes)


@pytest.mark.parametrize("name", REFUSED)
def test_it_ends_with_its_own_reason_and_without_a_retry(
    refused: None, figure: Callable[[str], None], name: str
) -> None:
    _, reason, word, has_pod = REFUSED[name]
    subject = finished(name, seconds=240)
    failure = subject["status"]["failure"]
    figure(f"{failure['reason']}: {failure['message']}")
    assert true_conditions(subject)["Failed"]["reason"] == failure["reason"] == reason
    assert word in failure["message"]
    assert "Traceback" not in failure["message"]
    assert len(pods_of(name)) == has_pod
    assert len(jobs_of(name)) == has_pod


def test_a_failure_is_told_by_one_event(refused: None) -> None:
    uid = finished("one-pixel", seconds=240)["metadata"]["uid"]
    events = fetch_all("events.events.k8s.io", SHOP)
    mine = [event for event in events if event["regarding"]["uid"] == uid]
    assert [(event["type"], event["reason"]) for event in mine] == [("Warning", "ImageTooSmall")]


def test_a_refused_output_has_no_half_result(refused: None, storage: Seaweed) -> None:
    finished("unwritable-output", seconds=240)
    assert storage.keys("artifacts", FORBIDDEN) == []


def test_an_unknown_profile_is_said_and_makes_no_job_until_it_is_there(shop: str) -> None:
    name = create(profile="later")

    def waiting() -> K8sObject | None:
        subject = read(name)
        return subject if subject.get("status", {}).get("waiting") else None

    subject = wait_for("the waiting reason", waiting, seconds=20)
    assert subject["status"]["waiting"]["reason"] == "ProfileNotFound"
    assert "later" in subject["status"]["waiting"]["message"]
    assert jobs_of(name) == []
    apply(profile("later"))
    succeeded(name)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        pytest.param({"uri": PICTURE, "caption": "a teapot on a table"}, "must hold {token}", id="no subject"),
        pytest.param({"uri": "https://example.com/x.jpg"}, "subject.images", id="another scheme"),
        pytest.param(PICTURE, "subject.images", id="an address alone"),
    ],
)
def test_the_api_server_says_what_an_image_is(shop: str, image: object, words: str) -> None:
    with pytest.raises(CommandFailedError, match=re.escape(words)):
        create(subject={"images": [image]})


def test_a_prompt_without_the_token_is_warned_about_and_tuned_all_the_same(shop: str) -> None:
    name = create(previews=[{"prompt": "a teapot on a beach"}])
    conditions = {condition["type"]: condition for condition in succeeded(name)["status"]["conditions"]}
    assert conditions["TokenInPrompts"]["status"] == "False"
    assert conditions["TokenInPrompts"]["reason"] == "TokenMissing"


def test_a_missing_secret_is_said_while_it_waits(shop: str) -> None:
    name = create(credentialsSecretRef={"name": "nobody-made-this"})

    def reason() -> K8sObject | None:
        waiting = read(name).get("status", {}).get("waiting")
        return waiting if waiting and waiting["reason"] == "CreateContainerConfigError" else None

    assert "nobody-made-this" in wait_for("the waiting reason", reason, seconds=60)["message"]
    kubectl("-n", SHOP, "delete", "pz", name)


@pytest.mark.parametrize("field", ["model", "storage"])
def test_a_tenant_can_set_neither_model_nor_endpoint(shop: str, field: str) -> None:
    change: dict[str, Any] = {field: {"uri": "s3://models/mine", "endpoint": "http://10.0.0.1"}}
    with pytest.raises(CommandFailedError, match=field):
        create(**change)
