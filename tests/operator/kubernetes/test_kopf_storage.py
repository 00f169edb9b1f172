from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories

import likeness_operator
from likeness_operator.engine import watch
from likeness_operator.engine.watch import kopf_settings
from likeness_operator.kubernetes.kopf_storage import NoEssence, NoMemories, NoProgress
from likeness_operator.personalization.lifecycle import PERSONALIZATION

BODY: Any = {"metadata": {"uid": "1", "name": "red-teapot"}, "spec": {"suspend": True}}

TYPES_OF_THE_STORAGES = {"RawBody", "BodyEssence"}
"""They stand in the signatures that the storages inherit."""


async def recalled_twice(memories: ResourceMemories) -> list[object]:
    return [await memories.recall(BODY, noticed_by_listing=False) for _ in range(2)]


async def test_kopf_keeps_nothing_of_an_object_between_two_events() -> None:
    first, second = await recalled_twice(ResourceMemories())
    assert first is second, "kopf's own do keep it; should that change, ours need not be there"
    first, second = await recalled_twice(NoMemories())
    assert first is not second


def test_kopf_copies_nothing_of_an_object_to_compare_it_with() -> None:
    assert not NoEssence().build(body=kopf.Body(BODY))
    assert not NoEssence().fetch(body=kopf.Body(BODY))


def test_kopf_is_told_to_use_them() -> None:
    chosen = kopf_settings([PERSONALIZATION], stream_lists=True).persistence
    assert isinstance(chosen.diffbase_storage, NoEssence)
    assert isinstance(chosen.progress_storage, NoProgress)


def test_what_is_used_of_kopf_is_said_in_one_place() -> None:
    sources = [path.read_text() for path in Path(likeness_operator.__path__[0]).glob("**/*.py")]
    assert watch.__doc__
    said = set(re.findall(r"\b[\w.]+\b", watch.__doc__))
    public = {name for source in sources for name in re.findall(r"\bkopf\.((?:on\.)?[a-zA-Z]\w*)", source)}
    assert public - TYPES_OF_THE_STORAGES <= said
    private = [line for source in sources for line in re.findall(r"^.*\bkopf\._.*$", source, re.MULTILINE)]
    assert sorted(private) == [
        "from kopf._cogs.clients import errors, fetching, watching  # kopf has no public name for them",
        "from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory  # kopf has no public name for them",
    ]
