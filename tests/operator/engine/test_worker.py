from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

import virtual_time
from likeness_operator.engine.key import Key
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.engine.worker import RESYNC_SECONDS, in_turn, resync
from likeness_operator.personalization.lifecycle import PERSONALIZATION


def keys_of(namespace: str, count: int) -> list[Key]:
    return [Key("Personalization", namespace, f"p{number}") for number in range(count)]


def test_namespaces_take_turns() -> None:
    flood, shop = keys_of("flood", 4), keys_of("shop", 2)
    assert list(in_turn([*flood, *shop])) == [flood[0], shop[0], flood[1], shop[1], flood[2], flood[3]]


@pytest.mark.virtual_time
async def test_a_flood_does_not_put_off_the_resync_of_others_and_each_of_the_flood_has_its_turn() -> None:
    queue: Any = WorkQueue(clock=virtual_time.now)
    cache = WatchCache(queue, virtual_time.now, {"Personalization": PERSONALIZATION})
    for number, key in enumerate((*keys_of("flood", 5000), *keys_of("shop", 2))):
        metadata = {"namespace": key.namespace, "name": key.name, "uid": str(number), "resourceVersion": "7"}
        cache.saw_object("Personalization", {"metadata": metadata, "spec": {}}, None)
    seen: list[Key] = []
    queue.add = lambda key, **_: seen.append(key)
    task = asyncio.create_task(resync(queue, cache))
    await asyncio.sleep(2 * RESYNC_SECONDS - 1)
    task.cancel()
    rounds = Counter(key.namespace for key in seen)
    assert rounds["shop"] == 4
    assert len(set(seen)) == 5002
