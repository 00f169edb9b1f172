from __future__ import annotations

import subprocess
import sys
import time

import pytest

from likeness_operator.engine.watch import LEAVE_SECONDS

STUCK = """
import asyncio
from likeness_operator.engine import watch


async def deaf():
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass


async def failed():
    raise OSError("410 Expired")


async def main():
    watch.STOP_SECONDS = 0.1
    first = asyncio.create_task(failed())
    try:
        await watch._stopped(asyncio.create_task(deaf()), first)
    finally:
        print("time to give up the Lease", flush=True)


asyncio.run(main())
"""


@pytest.mark.slow
def test_a_kopf_that_does_not_stop_cannot_keep_the_process_from_ending() -> None:
    """Seen in kopf 1.45.2 on Python 3.11: a watch that got a 410 left the others waiting for each other for ever."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert time.monotonic() - began >= LEAVE_SECONDS
    assert done.stdout == "time to give up the Lease\n"
    assert "the watches ended (410 Expired) and kopf does not stop" in done.stderr
