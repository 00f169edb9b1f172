"""Pictures whose decoders misbehave, in a child that takes them along when it ends."""

from __future__ import annotations

import ctypes
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError
from likeness_runtime.image import bounded
from likeness_runtime.image.bounded import decode_bounded, in_child
from likeness_runtime.image.decode import decode


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_a_good_picture_comes_back_as_it_is(photo: Image.Image) -> None:
    assert decode_bounded(png(photo), "x").tobytes() == decode(png(photo), "x").tobytes()


def test_what_it_raises_comes_back() -> None:
    with pytest.raises(RunError, match="images\\[0\\] is a PDF document") as caught:
        decode_bounded(b"%PDF-1.7", "images[0]")
    assert caught.value.reason == Reason.IMAGE_UNREADABLE


def crash() -> NoReturn:
    ctypes.string_at(0)
    raise AssertionError


def loop() -> NoReturn:
    while True:
        pass


def sleep() -> NoReturn:
    time.sleep(60)
    raise AssertionError


def hoard() -> Image.Image:
    return Image.frombytes("RGB", (1, 1), bytes(2 * bounded.MOST_MEMORY_BYTES)[:3])


def leave() -> NoReturn:
    os._exit(3)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (crash, "crashed its decoder"),
        (loop, "took more than 1 s of CPU"),
        (sleep, "still not decoded after 1 s"),
        (hoard, "could not"),
        (leave, "could not be decoded"),
    ],
)
def test_who_misbehaves_fails_the_picture_alone(
    work: Callable[[], Image.Image], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MOST_CPU_SECONDS", 1)
    if work is sleep:
        monkeypatch.setattr(bounded, "MOST_SECONDS", 1)
    with pytest.raises(RunError, match=words) as caught:
        in_child(work, "images[0]")
    assert caught.value.reason == Reason.IMAGE_UNREADABLE


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_child_and_no_pipe_is_left(photo: Image.Image) -> None:
    before = open_files()
    for _ in range(20):
        decode_bounded(png(photo), "x")
    assert open_files() == before
    assert zombies() == []


def zombies() -> list[str]:
    """Children of this process that ended and that nobody has waited for."""
    states = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    return [state for state, parent, *_ in states if state == "Z" and int(parent) == os.getpid()]
