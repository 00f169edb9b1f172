"""Decoding in a process of its own: a decoder is C that strangers feed, and may crash, loop or take all memory.

A fork costs milliseconds, and the child has what it needs in memory already. Where there is no Linux, pictures are
decoded here, without these bounds.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import NoReturn

from PIL import Image

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError
from likeness_runtime.image.decode import decode

MOST_CPU_SECONDS = 20
MOST_SECONDS = 120
"""By the clock, for a child that waits instead of working; a busy machine gives it a sixth of a core at least."""
MOST_MEMORY_BYTES = 3 * 2**30
"""More than the process that asks has: several times the largest picture that is taken."""
PIPE_BYTES = 2**20
EXPECTED_PICTURE = "expected a picture saved anew by another program"


def decode_bounded(data: bytes, name: str) -> Image.Image:
    """As `decode`, within bounds of CPU seconds and memory, and unharmed by a decoder that crashes."""
    if sys.platform != "linux":
        return decode(data, name)
    return in_child(lambda: decode(data, name), name)


def in_child(work: Callable[[], Image.Image], name: str) -> Image.Image:
    """The picture that `work` makes in a child process. Raises the `RunError` that it raises there, and ImageUnreadable
    where the child does not live to answer.
    """
    header, pixels, status = _answer_of(work)
    if os.WIFSIGNALED(status):
        raise RunError(Reason.IMAGE_UNREADABLE, f"{name} {_how_it_died(os.WTERMSIG(status))}; {EXPECTED_PICTURE}")
    if not header:
        raise RunError(Reason.IMAGE_UNREADABLE, f"{name} could not be decoded; {EXPECTED_PICTURE}")
    answer = json.loads(header)
    if "reason" in answer:
        raise RunError(Reason(answer["reason"]), answer["message"])
    width, height = answer["size"]
    return Image.frombytes("RGB", (width, height), pixels)


def _answer_of(work: Callable[[], Image.Image]) -> tuple[bytes, bytes, int]:
    """What the child answers, a line and pixels, and how it ended."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads. The child touches none of what they may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(work, writing)
    os.close(writing)
    try:
        answer = _read_all(reading, time.monotonic() + MOST_SECONDS)
    except BaseException as error:
        os.kill(child, signal.SIGKILL)
        if not isinstance(error, TimeoutError):
            raise
        answer = b""
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    header, _, pixels = answer.partition(b"\n")
    return header, pixels, status


def _read_all(pipe: int, until: float) -> bytes:
    """Raises TimeoutError where its other end is still open at that moment."""
    parts: list[bytes] = []
    while True:
        if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            raise TimeoutError
        part = os.read(pipe, PIPE_BYTES)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _answer(work: Callable[[], Image.Image], writing: int) -> NoReturn:
    """In the child. It never returns to whoever called: that would be two of them."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_SECONDS, 2 * MOST_CPU_SECONDS))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        most = _address_space() + MOST_MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        warnings.simplefilter("ignore")  # what libraries say to programmers about a stranger's file, here and in C
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        header: dict[str, object] = {}
        pixels = b""
        try:
            picture = work()
            header, pixels = {"size": picture.size}, picture.tobytes()
        except RunError as error:
            header = {"reason": error.reason, "message": error.message}
        with os.fdopen(writing, "wb") as answer:
            answer.write(json.dumps(header).encode() + b"\n")
            answer.write(pixels)
    finally:
        os._exit(0)


def _address_space() -> int:
    """What this process has mapped, in bytes."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no objects that are not needed
        return int(file.read().split()[0]) * resource.getpagesize()


def _how_it_died(number: int) -> str:
    if number == signal.SIGXCPU:
        return f"took more than {MOST_CPU_SECONDS} s of CPU to decode"
    if number == signal.SIGKILL:
        return f"was still not decoded after {MOST_SECONDS} s, or took more memory than there was"
    return f"crashed its decoder ({signal.Signals(number).name})"
