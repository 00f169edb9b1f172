from __future__ import annotations

import asyncio

import pytest

import virtual_time
from likeness_operator.kubernetes.api_error import UnavailableError
from likeness_operator.kubernetes.pace import BYTES_PER_SECOND, LARGE_BYTES, LONGEST_TURN_SECONDS, Pace

pytestmark = pytest.mark.virtual_time


async def seconds_for(pace: Pace, namespace: str) -> float:
    began = virtual_time.now()
    await pace.wait(namespace)
    return virtual_time.now() - began


async def test_ordinary_answers_cost_no_time() -> None:
    pace = Pace(virtual_time.now)
    for _ in range(10_000):
        pace.got("shop", LARGE_BYTES)
    assert await seconds_for(pace, "shop") == 0


async def test_a_namespace_with_large_objects_waits_and_no_other_does() -> None:
    pace = Pace(virtual_time.now)
    for _ in range(3):
        pace.got("flood", BYTES_PER_SECOND)
    assert await seconds_for(pace, "shop") == 0
    assert await seconds_for(pace, "flood") == 3
    assert await seconds_for(pace, "flood") == 0


async def test_nobody_holds_a_worker_while_it_would_wait_for_long() -> None:
    pace = Pace(virtual_time.now)
    pace.got("flood", int(BYTES_PER_SECOND * LONGEST_TURN_SECONDS) + 1)
    with pytest.raises(UnavailableError) as refused:
        await pace.wait("flood")
    assert refused.value.retry_after_seconds > LONGEST_TURN_SECONDS
    assert await seconds_for(pace, "shop") == 0


async def test_a_page_of_ordinary_objects_and_what_is_in_no_namespace_cost_no_time() -> None:
    pace = Pace(virtual_time.now)
    pace.got("shop", 10 * LARGE_BYTES, 10)
    pace.got("", 100 * BYTES_PER_SECOND)
    assert await seconds_for(pace, "shop") == 0
    assert await seconds_for(pace, "") == 0
    pace.got("shop", 10 * LARGE_BYTES + 1, 10)
    assert await seconds_for(pace, "shop") > 0


async def test_however_many_ask_they_get_no_more_than_that_a_second() -> None:
    pace, got = Pace(virtual_time.now), 0

    async def ask() -> None:
        nonlocal got
        while True:
            await pace.wait("flood")
            await asyncio.sleep(0.01)
            got += 1
            pace.got("flood", BYTES_PER_SECOND // 2)

    askers = [asyncio.create_task(ask()) for _ in range(8)]
    await asyncio.sleep(100)
    for asker in askers:
        asker.cancel()
    assert got == pytest.approx(200, abs=8)
