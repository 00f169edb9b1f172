"""Pictures to pre-train an encoder on: a folder or webdataset shards, here or in S3; captions are not needed.

An example is drawn with a numpy generator, so that a step's number settles its batch. From S3 everything is copied
into the cache first.
"""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError
from likeness_runtime.image.decode import decode, squared
from likeness_runtime.image.views import SMALLEST_CROP
from likeness_runtime.method.forms import FORMS, with_article
from likeness_runtime.storage.stores import Stores

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".avif")


@dataclass(frozen=True)
class Example:
    """What the encoder sees, and what the denoiser then has to draw from its answer."""

    seen: Image.Image
    target: Image.Image
    sentence: str
    """Holds `{}` where the learned word goes."""


class ImageSet(Protocol):
    def draw(self, random: np.random.Generator, side_px: int) -> Example:
        """One example; both pictures are squares of `side_px`."""


class Pictures:
    """Files as they lie in a folder, or as members of tar shards."""

    def __init__(self, members: list[Member]) -> None:
        if not members:
            endings = ", ".join(PICTURE_SUFFIXES)
            raise RunError(Reason.SOURCE_NOT_FOUND, f"no pictures; expected files ending in {endings}")
        self.members = members

    def draw(self, random: np.random.Generator, side_px: int) -> Example:
        """One picture; the denoiser draws a slightly closer crop of it, maybe mirrored."""
        member = self.members[random.integers(len(self.members))]
        picture = decode(member.read(), member.name)
        sentence = FORMS[random.integers(len(FORMS))].format(with_article("{}"))
        return Example(squared(picture, side_px), closer(random, picture, side_px), sentence)


@dataclass(frozen=True)
class Member:
    """One picture's bytes within a file."""

    path: Path
    name: str
    offset: int = 0
    size: int = -1
    """In bytes; -1 is the whole file."""

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def closer(random: np.random.Generator, picture: Image.Image, side_px: int) -> Image.Image:
    """A random crop no smaller than `SMALLEST_CROP` of the square's side, mirrored in half of all draws."""
    side = min(picture.size)
    crop = side * random.uniform(SMALLEST_CROP, 1.0)
    left = (picture.width - side) / 2 + random.uniform(0.0, side - crop)
    top = (picture.height - side) / 2 + random.uniform(0.0, side - crop)
    view = picture.resize((side_px, side_px), Image.Resampling.LANCZOS, box=(left, top, left + crop, top + crop))
    return ImageOps.mirror(view) if random.random() < 0.5 else view


def open_images(uri: str, stores: Stores, cache: Path) -> ImageSet:
    """The set at `file://` or `s3://`. Raises `RunError` where there are no pictures."""
    folder = copied(uri, stores, cache) if uri.startswith("s3://") else Path(uri.removeprefix("file://"))
    if not folder.is_dir():
        raise RunError(Reason.SOURCE_NOT_FOUND, f"images {uri}: there is no such folder")
    return Pictures(members_of(folder))


def members_of(folder: Path) -> list[Member]:
    """Every picture below the folder and in its .tar shards, in the order of their names."""
    members = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".tar":
            members += _members_of_shard(path)
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            members.append(Member(path, path.name))
    return members


def copied(uri: str, stores: Stores, cache: Path) -> Path:
    """The objects below an `s3://` prefix, each fetched once."""
    prefix = uri.rstrip("/") + "/"
    folder = cache / hashlib.sha256(prefix.encode()).hexdigest()[:16]
    store = stores.of(prefix)
    for each in store.list(prefix):
        path = folder / each.removeprefix(prefix)
        if path.suffix.lower() in (*PICTURE_SUFFIXES, ".tar") and not path.exists():
            arriving = path.with_name(f"{path.name}.arriving")
            arriving.parent.mkdir(parents=True, exist_ok=True)
            store.download(each, arriving)
            arriving.rename(path)
    return folder


def _members_of_shard(path: Path) -> list[Member]:
    with tarfile.open(path, "r:") as shard:
        return [
            Member(path, f"{path.name}/{each.name}", each.offset_data, each.size)
            for each in shard
            if each.isfile() and Path(each.name).suffix.lower() in PICTURE_SUFFIXES
        ]
