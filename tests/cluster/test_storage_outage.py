"""The object store is away for 20 seconds: a tune that needs it waits and then goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from seaweed import Seaweed
from shop import create, finished, running_pod, succeeded


def test_twenty_seconds_without_storage_are_survived(
    shop: str, storage: Seaweed, figure: Callable[[str], None]
) -> None:
    start = time.monotonic()
    storage.kill()
    try:
        name = create()
        running_pod(name)
        time.sleep(max(0.0, 20 - (time.monotonic() - start)))
    finally:
        storage.start()
    down = time.monotonic() - start
    subject = succeeded(name, seconds=240)
    figure(f"{down:.0f} s without storage, {len(subject['status'].get('attempts', []))} attempts")
    assert finished(name)["status"]["manifest"]
