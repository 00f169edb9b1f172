"""Damaged pictures of each format: every one is decoded or refused in words, in bounded time and memory.

    .venv/bin/python tests/runtime/image/trial_pictures.py --count 10000

Ends with 1 where one ended in anything but a picture or a sentence.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import io
import random
import resource
import sys
import time
import zlib
from collections import Counter

import numpy as np
from PIL import Image
from pillow_heif import register_heif_opener

from likeness_runtime.failure import RunError
from likeness_runtime.image.bounded import decode_bounded

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "HEIF", "TIFF", "GIF", "BMP")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="of each format")
    parser.add_argument("--seed", type=int, default=6)
    options = parser.parse_args()
    bad = 0
    for kind in FORMATS:
        bad += trial(kind, options.count, random.Random(options.seed))  # noqa: S311
    print(f"most memory of a child: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")
    return int(bool(bad))


def trial(kind: str, count: int, draw: random.Random) -> int:
    """How many ended in anything but a picture or a sentence."""
    good = [saved(kind, side) for side in (48, 200)]
    ends: Counter[str] = Counter()
    longest = 0.0
    for _ in range(count):
        data = damaged(draw.choice(good), draw)
        began = time.monotonic()
        try:
            decode_bounded(data, "images[0]")
            ends["decoded"] += 1
        except RunError as error:
            ends[error.reason if "crashed" not in error.message else "crashed its decoder"] += 1
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            ends["traceback"] += 1
            print(kind, repr(error)[:300])
        longest = max(longest, time.monotonic() - began)
    print(f"{kind}: {dict(ends)}; longest {longest:.2f} s", flush=True)
    return ends["traceback"]


def saved(kind: str, side: int) -> bytes:
    register_heif_opener()
    values = np.random.default_rng(side).integers(0, 255, (side // 8, side // 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).resize((side, side)).save(file, kind, **({"exif": b"Exif\0\0"} if kind == "JPEG" else {}))
    return file.getvalue()


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Bytes changed, cut out, doubled, or the end missing."""
    spoiled = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5, 40))):
        place = draw.randrange(max(1, len(spoiled)))
        match draw.randrange(5):
            case 0 | 1:
                spoiled[place : place + 1] = bytes([draw.randrange(256)])
            case 2:
                del spoiled[place : place + draw.randrange(64)]
            case 3:
                spoiled[place:place] = spoiled[place : place + draw.randrange(64)]
            case _:
                spoiled[place : place + 4] = draw.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
    if spoiled[:4] == b"\x89PNG" and draw.random() < 0.8:
        return with_checksums(bytes(spoiled))
    return bytes(spoiled[: draw.randrange(len(spoiled) + 1)] if draw.random() < 0.1 else spoiled)


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the right checksums again, so that what is damaged gets to whoever reads it."""
    parts, place = [data[:8]], 8
    while place + 12 <= len(data):
        length = min(int.from_bytes(data[place : place + 4], "big"), len(data) - place - 12)
        chunk = data[place + 4 : place + 8 + length]
        parts.append(length.to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big"))
        place += 12 + length
    return b"".join(parts)


if __name__ == "__main__":
    sys.exit(main())
