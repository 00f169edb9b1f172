"""The policy in docs/operations.md: enough for a tuner, and no more than it uses."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from likeness_api.order import OrderStorage
from likeness_api.reason import Reason
from likeness_runtime.failure import RunError, StorageMissingError
from likeness_runtime.storage import s3
from likeness_runtime.storage.s3 import S3Store, client_of
from seaweed import ADMIN, Identity, Seaweed

PAGE = (Path(__file__).parents[3] / "docs/operations.md").read_text()
POLICY = re.findall(r"^### Rights on buckets$.*?^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
TUNER = Identity("tuner-key", "tuner-secret", policy=POLICY)
ACTION_OF_CALL = {
    "get_object": "s3:GetObject",
    "download_file": "s3:GetObject",
    "head_object": "s3:GetObject",
    "upload_file": "s3:PutObject",
    "put_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
    "list_object_versions": "s3:ListBucketVersions",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    """As the tuner sees a server that holds a picture, a model's file and another team's artifact."""
    server = Seaweed(tmp_path_factory.mktemp("rights"), identities=(ADMIN, TUNER))
    server.start()
    for bucket, key in (("catalogue", "a.png"), ("models", "sd/model_index.json"), ("artifacts", "studio/secret")):
        server.client().put_object(Bucket=bucket, Key=key, Body=b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", TUNER.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", TUNER.secret_key)
        order = {"endpoint": server.endpoint, "path_style": True, "source_prefixes": [], "output_prefixes": []}
        yield S3Store(client_of(OrderStorage.model_validate(order)), never_sleep)
    server.kill()


def never_sleep(_seconds: float) -> None:
    raise AssertionError("nothing here is worth a second try")


def test_every_call_of_the_tuner_has_its_right_and_every_right_its_call() -> None:
    source = Path(s3.__file__).read_text()
    calls = set(re.findall(r"_client\.(\w+)\(", source)) - {"get_paginator"}
    calls |= set(re.findall(r'get_paginator\("(\w+)"\)', source))
    asked = [statement["Action"] for statement in json.loads(POLICY)["Statement"]]
    granted = {action for each in asked for action in ([each] if isinstance(each, str) else each)}
    assert {ACTION_OF_CALL[call] for call in calls} | {"s3:DeleteObjectVersion"} == granted  # delete_object, by its id


def test_it_is_enough_to_fetch_publish_and_erase(store: S3Store, tmp_path: Path) -> None:
    assert store.read("s3://catalogue/a.png", 1) == b"x"
    assert list(store.list("s3://models/sd/")) == ["s3://models/sd/model_index.json"]
    store.download("s3://models/sd/model_index.json", tmp_path / "file")
    manifest = "s3://artifacts/shop/shop/teapot/1/manifest.json"
    with pytest.raises(StorageMissingError):
        store.read(manifest, 1)
    store.write("s3://artifacts/shop/shop/teapot/1/a", b"x", "text/plain")
    assert store.write_if_absent(manifest, b"{}", "application/json")
    assert store.read(manifest, 2) == b"{}"
    for uri in store.list("s3://artifacts/shop/shop/teapot/"):
        store.delete(uri)
    assert list(store.list("s3://artifacts/shop/shop/teapot/")) == []


@pytest.mark.parametrize(
    ("verb", "uri"),
    [
        ("read", "s3://artifacts/studio/secret"),
        ("write", "s3://artifacts/studio/secret"),
        ("delete", "s3://artifacts/studio/secret"),
        ("write", "s3://catalogue/a.png"),
        ("delete", "s3://models/sd/model_index.json"),
        ("list", "s3://private/"),
    ],
)
def test_it_is_no_more_than_that(store: S3Store, verb: str, uri: str) -> None:
    more = {"read": (1,), "write": (b"y", "text/plain")}.get(verb, ())
    with pytest.raises(RunError) as caught:
        list(getattr(store, verb)(uri, *more))
    assert caught.value.reason is Reason.ACCESS_DENIED
