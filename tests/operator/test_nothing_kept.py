from __future__ import annotations

import asyncio
from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories

from likeness_operator.nothing_kept import NoEssence, NoMemories, NoProgress
from likeness_operator.watch import settings

BODY: Any = {"metadata": {"uid": "1", "name": "red-teapot"}, "spec": {"suspend": True}}


def recalled_twice(memories: ResourceMemories) -> list[object]:
    async def recall() -> list[object]:
        return [await memories.recall(BODY, noticed_by_listing=False) for _ in range(2)]

    return asyncio.run(recall())


def test_kopf_keeps_nothing_of_an_object_between_two_events() -> None:
    first, second = recalled_twice(ResourceMemories())
    assert first is second, "kopf's own do keep it; should that change, ours need not be there"
    first, second = recalled_twice(NoMemories())
    assert first is not second


def test_kopf_copies_nothing_of_an_object_to_compare_it_with() -> None:
    assert not NoEssence().build(body=kopf.Body(BODY))
    assert not NoEssence().fetch(body=kopf.Body(BODY))


def test_kopf_is_told_to_use_them() -> None:
    chosen = settings().persistence
    assert isinstance(chosen.diffbase_storage, NoEssence)
    assert isinstance(chosen.progress_storage, NoProgress)
