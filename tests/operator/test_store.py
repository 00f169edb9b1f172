from __future__ import annotations

import asyncio
from typing import Any

import pytest

from given import NAME, NAMESPACE, Manifest
from likeness_operator.store import Store
from likeness_operator.work_queue import Key, WorkQueue

KEY = Key(NAMESPACE, NAME)
SUCCEEDED = [{"type": "Succeeded", "status": "True"}]
COMPLETE = [{"type": "Complete", "status": "True"}]
METADATA = {
    "name": NAME,
    "namespace": NAMESPACE,
    "uid": "u",
    "resourceVersion": "7",
    "creationTimestamp": "2026-11-23T12:00:00Z",
    "labels": {"likeness.dev/personalization": NAME},
}


def a_subject(conditions: list[dict[str, str]] | None = None, version: str = "7", **spec: Any) -> Manifest:
    metadata = METADATA | {"resourceVersion": version}
    return {"metadata": metadata, "spec": spec, "status": {"conditions": conditions or []}}


def a_job(conditions: list[dict[str, str]] | None = None) -> Manifest:
    spec: Manifest = {"template": {"spec": {"containers": []}}}
    return {"metadata": METADATA, "spec": spec, "status": {"conditions": conditions or []}}


def a_pod(phase: str, ip: str = "") -> Manifest:
    return {"metadata": METADATA, "spec": {"containers": []}, "status": {"phase": phase, "podIP": ip}}


class Scene:
    """A store and its queue, watched by a test that works off what comes in."""

    def __init__(self) -> None:
        self.queue = WorkQueue()
        self.store = Store(self.queue)

    async def looks(self) -> int:
        """How many passes are asked for within the time that is waited for more."""
        count = 0
        while True:
            try:
                key = await asyncio.wait_for(self.queue.take(), timeout=0.2)
            except TimeoutError:
                return count
            assert key == KEY
            self.queue.done(key)
            count += 1

    async def knows(self, manifest: Manifest) -> None:
        self.store.saw_personalization(manifest, deleted=False)
        assert await self.looks() == 1


def test_an_unfinished_one_is_looked_at_until_it_ended() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        assert len(scene.store) == 1
        scene.store.saw_personalization(a_subject(SUCCEEDED), deleted=False)
        assert (await scene.looks(), len(scene.store)) == (0, 0)

    asyncio.run(story(Scene()))


def test_a_deleted_one_is_forgotten() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_personalization(a_subject(), deleted=True)
        assert (await scene.looks(), len(scene.store)) == (0, 0)

    asyncio.run(story(Scene()))


def test_our_own_write_is_no_reason_to_look_but_anothers_is() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.wrote(KEY, "8")
        scene.store.saw_personalization(a_subject(version="8"), deleted=False)
        assert await scene.looks() == 0
        scene.store.saw_personalization(a_subject(version="9"), deleted=False)
        assert await scene.looks() == 1

    asyncio.run(story(Scene()))


def test_only_what_the_rules_read_of_a_pod_is_a_reason_to_look() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_pod(a_pod("Pending"), deleted=False)
        assert await scene.looks() == 1
        scene.store.saw_pod(a_pod("Pending", ip="10.0.0.1"), deleted=False)
        assert await scene.looks() == 0
        scene.store.saw_pod(a_pod("Failed"), deleted=False)
        assert await scene.looks() == 1

    asyncio.run(story(Scene()))


def test_what_changes_in_one_moment_is_looked_at_once() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_job(a_job(), deleted=False)
        for phase in ("Pending", "Running", "Succeeded"):
            scene.store.saw_pod(a_pod(phase), deleted=False)
        scene.store.saw_job(a_job(COMPLETE), deleted=False)
        assert await scene.looks() == 1

    asyncio.run(story(Scene()))


def test_what_belongs_to_a_finished_one_is_passed_over() -> None:
    async def story(scene: Scene) -> None:
        scene.store.saw_job(a_job(COMPLETE), deleted=False)
        scene.store.saw_job(a_job(), deleted=True)
        scene.store.saw_pod(a_pod("Succeeded"), deleted=False)
        assert await scene.looks() == 0

    asyncio.run(story(Scene()))


def test_a_job_that_still_runs_is_always_looked_at() -> None:
    async def story(scene: Scene) -> None:
        scene.store.saw_job(a_job(), deleted=False)
        assert await scene.looks() == 1

    asyncio.run(story(Scene()))


def test_a_deleted_job_is_replaced_after_a_pause() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_job(a_job(), deleted=True)
        assert await scene.looks() == 0
        await asyncio.sleep(1)
        assert await scene.looks() == 1

    asyncio.run(story(Scene()))


def test_somebody_elses_objects_are_passed_over() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        foreign = a_job()
        foreign["metadata"] = METADATA | {"labels": {}}
        scene.store.saw_job(foreign, deleted=False)
        assert await scene.looks() == 0

    asyncio.run(story(Scene()))


@pytest.mark.parametrize(("spec", "woken"), [({"profile": "sd15"}, 1), ({}, 1), ({"profile": "other"}, 0)])
def test_a_profile_wakes_those_that_may_have_waited_for_it(spec: Manifest, woken: int) -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject(**spec))
        scene.store.saw_profile("sd15")
        assert await scene.looks() == woken

    asyncio.run(story(Scene()))
