from __future__ import annotations

import asyncio

import pytest

import virtual_time
from likeness_operator.engine.key import Key
from likeness_operator.engine.work_queue import LONGEST_BACKOFF_SECONDS, WorkQueue

pytestmark = pytest.mark.virtual_time

A, B = Key("Personalization", "shop", "a"), Key("Personalization", "shop", "b")


async def next_of(queue: WorkQueue) -> Key:
    return await asyncio.wait_for(queue.get(), timeout=2)


async def nothing_in(queue: WorkQueue, seconds: float = 0.02) -> bool:
    try:
        await asyncio.wait_for(queue.get(), timeout=seconds)
    except TimeoutError:
        return True
    return False


def a_queue() -> WorkQueue:
    return WorkQueue(jitter=lambda: 1.0, clock=virtual_time.now)


async def test_a_key_is_in_the_queue_once() -> None:
    queue = a_queue()
    for key in (A, B, A):
        queue.add(key)
    assert [await next_of(queue), await next_of(queue)] == [A, B]
    assert await nothing_in(queue)


async def test_a_new_key_comes_before_those_that_wait_longer() -> None:
    queue = a_queue()
    queue.add(A)
    queue.add(B, new=True)
    assert [await next_of(queue), await next_of(queue)] == [B, A]
    assert await nothing_in(queue)


async def test_a_key_that_is_worked_on_comes_again_only_when_that_is_done() -> None:
    queue = a_queue()
    queue.add(A)
    assert await next_of(queue) == A
    queue.add(A)
    assert await nothing_in(queue)
    queue.done(A)
    assert await next_of(queue) == A


async def test_a_key_is_never_with_two_workers() -> None:
    queue, busy = a_queue(), set[Key]()
    most: list[int] = []

    async def worker() -> None:
        while len(most) < 100:
            key = await queue.get()
            assert key not in busy
            busy.add(key)
            most.append(len(busy))
            await asyncio.sleep(0)
            queue.add(key)
            busy.discard(key)
            queue.done(key)

    for key in (A, B):
        queue.add(key)
    await asyncio.wait_for(asyncio.gather(*(worker() for _ in range(2))), timeout=2)
    assert max(most) == 2


async def test_back_off_doubles_up_to_a_limit_and_is_forgotten() -> None:
    queue = a_queue()
    growing = [queue.add_rate_limited(A) for _ in range(30)]
    queue.forget(A)
    first_again = queue.add_rate_limited(A)
    assert growing[:4] == [0.2, 0.4, 0.8, 1.6]
    assert growing[-1] == LONGEST_BACKOFF_SECONDS
    assert first_again == 0.2


async def test_a_server_that_asks_for_patience_gets_it() -> None:
    assert a_queue().add_rate_limited(A, at_least=7) == 7


async def test_an_outage_has_a_shorter_limit() -> None:
    queue = a_queue()
    assert max(queue.add_rate_limited(A, at_most=15) for _ in range(30)) == 15


@pytest.mark.parametrize("times", [(0.01, 60.0), (60.0, 0.01)])
async def test_the_earliest_time_counts(times: tuple[float, float]) -> None:
    queue = a_queue()
    for seconds in times:
        queue.add_after(A, seconds)
    assert await next_of(queue) == A
    assert await nothing_in(queue)


async def test_it_knows_how_long_the_oldest_has_waited() -> None:
    queue = a_queue()
    assert queue.oldest_wait_seconds() == 0
    queue.add(A)
    await asyncio.sleep(0.05)
    queue.add(B, new=True)
    assert queue.oldest_wait_seconds() == 0.05
    assert [await next_of(queue), await next_of(queue)] == [B, A]
    assert queue.oldest_wait_seconds() == 0


def keys_of(namespace: str, count: int) -> list[Key]:
    return [Key("Personalization", namespace, f"p{number}") for number in range(count)]


async def test_namespaces_take_turns_however_many_keys_one_of_them_has() -> None:
    queue = a_queue()
    for key in keys_of("flood", 10_000):
        queue.add(key, new=True)
    for key in keys_of("shop", 2):
        queue.add(key)
    order = []
    for _ in range(5):
        key = await next_of(queue)
        queue.done(key)
        order.append(key.namespace)
    assert order == ["flood", "shop", "flood", "shop", "flood"]


async def test_one_namespace_leaves_workers_to_the_others() -> None:
    queue = WorkQueue(clock=virtual_time.now, workers=4)
    for key in keys_of("flood", 10):
        queue.add(key)
    assert {(await next_of(queue)).namespace for _ in range(2)} == {"flood"}
    assert await nothing_in(queue)
    queue.add(A)
    assert await next_of(queue) == A


async def test_a_worker_that_is_done_lets_the_namespace_have_its_next_one() -> None:
    queue = WorkQueue(clock=virtual_time.now, workers=2)
    first, second = keys_of("flood", 2)
    queue.add(first)
    queue.add(second)
    assert await next_of(queue) == first
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.done(first)
    assert await asyncio.wait_for(waiting, timeout=2) == second


async def test_a_namespace_with_very_many_keys_has_its_turn_again_and_again() -> None:
    queue = a_queue()
    for key in keys_of("flood", 100):
        queue.add(key)
    for _ in range(50):
        await asyncio.sleep(1)
        queue.done(await next_of(queue))
    assert queue.oldest_wait_seconds() == 50
    assert queue.longest_turn_seconds() == 0
    await asyncio.sleep(70)
    assert queue.longest_turn_seconds() == 70
