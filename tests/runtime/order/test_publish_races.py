"""Two runs of one order at once, with different bytes, interleaved call by call: every folder agrees with its manifest,
on a server that honours If-None-Match and on one that ignores it.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from dataclasses import replace

import pytest

from likeness_api.published import Ordered
from likeness_runtime.export.file import File
from likeness_runtime.order.manifest import MANIFEST_NAME, ArtifactManifest, ManifestFile
from likeness_runtime.order.publish import Place, Standing, publish, standing
from likeness_runtime.storage.s3 import S3Store
from races import MemoryStore, Publisher, Turns, race
from seaweed import Seaweed

DIGEST = "0" * 64
HOME = "s3://artifacts/shop/shop/x/"
FOLDER = f"{HOME}{DIGEST}/"
ORDERED = Ordered(home=HOME, namespace="shop", name="x", token="<x>", images=1, previews=1)
RACES = 1000


def product(mark: str) -> tuple[list[File], ArtifactManifest]:
    """Of the same names and sizes: one file that is equal in all runs, and two that are not."""
    contents = {"card": b"equal", "lora": f"{mark}1".encode(), "word": f"{mark}2".encode()}
    files = [File(name, "test", "text/plain", data) for name, data in contents.items()]
    manifest = ArtifactManifest(
        digest=DIGEST,
        namespace="shop",
        name="x",
        token="<x>",
        nearest_word="pot",
        steps=1,
        images=[],
        model={"name": "tiny", "sha256": DIGEST},
        metrics=[],
        files=[
            ManifestFile(
                name=file.name, format="test", sha256=file.sha256, bytes=len(file.data), media_type="text/plain"
            )
            for file in files
        ],
    )
    return files, manifest


def publisher(mark: str) -> object:
    files, manifest = product(mark)

    def run(store: Publisher) -> Standing:
        return publish(Place(store, FOLDER, ORDERED), files, manifest, lambda _seconds: None)

    return run


def agrees(shared: MemoryStore) -> bool:
    """Judged from the bytes alone."""
    manifest = ArtifactManifest.decode(shared.objects[FOLDER + MANIFEST_NAME])
    return all(
        hashlib.sha256(shared.objects.get(FOLDER + file.name, b"")).hexdigest() == file.sha256
        for file in manifest.files
    )


@pytest.mark.parametrize("careless", [False, True], ids=["honoured", "ignored"])
def test_every_folder_agrees_with_its_manifest(careless: bool) -> None:
    for seed in range(RACES):
        shared = race([publisher("a"), publisher("b")], seed, careless=careless)  # type: ignore[list-item]
        assert agrees(shared), seed


@pytest.mark.parametrize("careless", [False, True], ids=["honoured", "ignored"])
def test_one_that_is_killed_anywhere_leaves_what_the_next_one_puts_right(careless: bool) -> None:
    """Also while another one is at work."""
    draw = random.Random(5)  # noqa: S311
    for seed in range(300):
        kills = {0: draw.randrange(30), **({1: draw.randrange(30)} if seed % 2 else {})}
        shared = race([publisher("a"), publisher("b")], seed, careless=careless, kills=kills)  # type: ignore[list-item]
        found = standing(Place(_alone(shared), FOLDER, ORDERED))
        assert not isinstance(found, Standing) or agrees(shared)
        files, manifest = product("c")
        publish(Place(_alone(shared), FOLDER, ORDERED), files, manifest, lambda _seconds: None)
        assert agrees(shared), seed


class Ignoring(S3Store):
    """As a server that takes If-None-Match and ignores it."""

    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:
        self.write(uri, data, media_type)
        return True


@pytest.mark.slow
@pytest.mark.parametrize("kind", [S3Store, Ignoring], ids=["honoured", "ignored"])
def test_on_a_real_server(seaweed: Seaweed, kind: type[S3Store]) -> None:
    name = kind.__name__.lower()
    for number in range(50):
        home = f"s3://artifacts/{name}/pot-{number}/"
        stores = [kind(seaweed.client(), time.sleep) for _ in "ab"]
        places = [
            Place(store, f"{home}{DIGEST}/", replace(ORDERED, home=home, namespace=name, name=f"pot-{number}"))
            for store in stores
        ]
        threads = []
        for mark, place in zip("ab", places, strict=True):
            files, manifest = product(mark)
            manifest = manifest.model_copy(update={"namespace": name, "name": f"pot-{number}"})
            threads.append(threading.Thread(target=publish, args=(place, files, manifest, time.sleep)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert isinstance(standing(places[0]), Standing), number


def _alone(shared: MemoryStore) -> Publisher:
    return Publisher(shared, Turns(1, 0), 0, careless=False, kill_at=None)
