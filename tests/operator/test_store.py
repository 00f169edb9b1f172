from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from given import NAME, NAMESPACE, Manifest
from likeness_operator.job import job_name
from likeness_operator.observed import read_job, read_pod
from likeness_operator.store import Seen, Store, is_later
from likeness_operator.work_queue import Key, WorkQueue

KEY = Key(NAMESPACE, NAME)
SUCCEEDED = [{"type": "Succeeded", "status": "True"}]
COMPLETE = [{"type": "Complete", "status": "True"}]
LABELS = {"likeness.dev/personalization": NAME}
JOB = job_name(NAME, "u")


def metadata(name: str, uid: str, version: int, owner: str | None = None) -> Manifest:
    owners = [{"uid": owner, "controller": True}] if owner else []
    return {
        "name": name,
        "namespace": NAMESPACE,
        "uid": uid,
        "resourceVersion": str(version),
        "creationTimestamp": "2026-11-23T12:00:00Z",
        "labels": LABELS,
        "ownerReferences": owners,
    }


def a_subject(
    conditions: list[dict[str, str]] | None = None, version: int = 7, uid: str = "u", **spec: Any
) -> Manifest:
    new: Manifest = {"metadata": metadata(NAME, uid, version), "spec": spec}
    return new if conditions is None else new | {"status": {"conditions": conditions}}


def a_job(
    conditions: list[dict[str, str]] | None = None, version: int = 8, name: str = JOB, uid: str = "j"
) -> Manifest:
    spec: Manifest = {"template": {"spec": {"containers": []}}}
    return {"metadata": metadata(name, uid, version, "u"), "spec": spec, "status": {"conditions": conditions or []}}


def a_pod(phase: str, ip: str = "", version: int = 9, owner: str = "j") -> Manifest:
    status = {"phase": phase, "podIP": ip}
    return {"metadata": metadata("p", f"pod-of-{owner}", version, owner), "spec": {"containers": []}, "status": status}


class Scene:
    """A store and its queue, watched by a test that works off what comes in."""

    def __init__(self) -> None:
        self.queue = WorkQueue()
        self.now = 0.0
        self.store = Store(self.queue, lambda: self.now)

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
        self.store.saw_personalization(manifest, "ADDED")
        assert await self.looks() == 1

    def recalled(self) -> tuple[str | None, list[str]]:
        """The recalled Job's name and the phases of its pods."""
        seen = self.store.recall(KEY)
        assert seen is not None
        return seen.job.name if seen.job else None, [pod.phase for pod in seen.pods]


def test_an_unfinished_one_is_looked_at_until_it_ended() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        assert len(scene.store) == 1
        scene.store.saw_personalization(a_subject(SUCCEEDED, version=8), "MODIFIED")
        assert (await scene.looks(), len(scene.store)) == (0, 0)

    asyncio.run(story(Scene()))


def test_a_deleted_one_is_forgotten() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_personalization(a_subject(), "DELETED")
        assert (await scene.looks(), len(scene.store)) == (0, 0)

    asyncio.run(story(Scene()))


def test_one_that_is_new_is_looked_at_before_those_that_wait_longer() -> None:
    async def story(scene: Scene) -> None:
        other = Key("shop", "older")
        scene.queue.add(other)
        scene.store.saw_personalization(a_subject(), "ADDED")
        assert [await scene.queue.take(), await scene.queue.take()] == [KEY, other]

    asyncio.run(story(Scene()))


def test_those_that_wait_are_counted_by_reason_as_long_as_they_do() -> None:
    def scene(reason: str | None, version: int) -> Manifest:
        waiting = {"waiting": {"reason": reason}} if reason else {}
        return a_subject([], version) | {"status": {"conditions": [], **waiting}}

    store = Scene().store
    store.saw_personalization(scene("Unschedulable", 7), "ADDED")
    assert store.waiting() == {"Unschedulable": 1}
    store.saw_personalization(scene("ImagePullBackOff", 8), "MODIFIED")
    assert store.waiting() == {"ImagePullBackOff": 1}
    store.saw_personalization(scene(None, 9), "MODIFIED")
    assert store.waiting() == {}


def test_our_own_write_is_no_reason_to_look_but_anothers_is() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.remember(KEY, Seen(a_subject([], version=8)), losses=0, asked=False)
        scene.store.saw_personalization(a_subject([], version=8), "MODIFIED")
        assert await scene.looks() == 0
        scene.store.saw_personalization(a_subject([], version=9), "MODIFIED")
        assert await scene.looks() == 1

    asyncio.run(story(Scene()))


def test_only_what_the_rules_read_of_a_pod_is_a_reason_to_look() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_pod(a_pod("Pending"), "ADDED")
        assert await scene.looks() == 1
        scene.store.saw_pod(a_pod("Pending", ip="10.0.0.1", version=10), "MODIFIED")
        assert await scene.looks() == 0
        scene.store.saw_pod(a_pod("Failed", version=11), "MODIFIED")
        assert await scene.looks() == 1

    asyncio.run(story(Scene()))


def test_what_changes_in_one_moment_is_looked_at_once() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_job(a_job(), "ADDED")
        for version, phase in enumerate(("Pending", "Running", "Succeeded"), 9):
            scene.store.saw_pod(a_pod(phase, version=version), "MODIFIED")
        scene.store.saw_job(a_job(COMPLETE, version=12), "MODIFIED")
        assert await scene.looks() == 1

    asyncio.run(story(Scene()))


def test_what_belongs_to_a_finished_one_is_passed_over() -> None:
    async def story(scene: Scene) -> None:
        scene.store.saw_job(a_job(COMPLETE), "MODIFIED")
        scene.store.saw_job(a_job(), "DELETED")
        scene.store.saw_pod(a_pod("Succeeded"), "MODIFIED")
        assert (await scene.looks(), len(scene.store)) == (0, 0)

    asyncio.run(story(Scene()))


def test_a_job_that_still_runs_is_always_looked_at() -> None:
    async def story(scene: Scene) -> None:
        scene.store.saw_job(a_job(), "MODIFIED")
        assert await scene.looks() == 1

    asyncio.run(story(Scene()))


def test_a_deleted_job_is_replaced_after_a_pause() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_job(a_job(), "DELETED")
        assert await scene.looks() == 0
        await asyncio.sleep(1)
        assert await scene.looks() == 1

    asyncio.run(story(Scene()))


def test_somebody_elses_objects_are_passed_over() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        foreign = a_job()
        del foreign["metadata"]["labels"]
        scene.store.saw_job(foreign, "ADDED")
        assert await scene.looks() == 0
        assert scene.recalled() == (None, [])

    asyncio.run(story(Scene()))


def test_what_it_saw_from_the_beginning_it_recalls() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject(profile="sd15"))
        assert scene.recalled() == (None, [])
        scene.store.saw_job(a_job(), "ADDED")
        scene.store.saw_pod(a_pod("Pending"), "ADDED")
        scene.store.saw_pod(a_pod("Running", version=10), "MODIFIED")
        assert scene.recalled() == (JOB, ["Running"])

    asyncio.run(story(Scene()))


@pytest.mark.parametrize(("kind", "conditions"), [(None, None), ("MODIFIED", []), ("ADDED", [])])
def test_what_was_there_before_is_asked_for(kind: str | None, conditions: list[dict[str, str]] | None) -> None:
    """There may be Jobs and pods of it that no watch has told yet."""
    scene = Scene()
    scene.store.saw_personalization(a_subject(conditions), kind)
    assert scene.store.recall(KEY) is None
    seen = Seen(a_subject(conditions), read_job(a_job()), (read_pod(a_pod("Running")),))
    scene.store.remember(KEY, seen, scene.store.losses(KEY), asked=True)
    assert scene.recalled() == (JOB, ["Running"])


def test_a_list_that_comes_again_is_no_longer_the_beginning() -> None:
    scene = Scene()
    scene.store.saw_personalization(a_subject(), "ADDED")
    scene.store.saw_personalization(a_subject(), None)
    assert scene.store.recall(KEY) is None


def test_what_the_watch_tells_late_does_not_undo_what_is_known() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        seen = Seen(
            a_subject([], version=20),
            read_job(a_job(COMPLETE, version=21)),
            (read_pod(a_pod("Succeeded", version=22)),),
        )
        scene.store.remember(KEY, seen, losses=0, asked=True)
        scene.store.saw_personalization(a_subject(version=7), "MODIFIED")
        scene.store.saw_job(a_job(version=8), "ADDED")
        scene.store.saw_pod(a_pod("Pending", version=9), "ADDED")
        assert await scene.looks() == 0
        assert scene.recalled() == (JOB, ["Succeeded"])

    asyncio.run(story(Scene()))


def test_what_went_while_it_was_asked_for_is_asked_for_again() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        losses = scene.store.losses(KEY)
        scene.store.saw_pod(a_pod("Running"), "DELETED")
        seen = Seen(a_subject(), read_job(a_job()), (read_pod(a_pod("Running")),))
        scene.store.remember(KEY, seen, losses, asked=True)
        assert scene.store.recall(KEY) is None

    asyncio.run(story(Scene()))


def test_a_namesakes_job_and_pods_are_not_its_own() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_job(a_job(name=job_name(NAME, "another uid"), uid="old"), "MODIFIED")
        scene.store.saw_pod(a_pod("Failed", owner="old"), "MODIFIED")
        assert scene.recalled() == (None, [])

    asyncio.run(story(Scene()))


def test_one_that_is_created_anew_under_its_name_starts_from_nothing() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_job(a_job(), "ADDED")
        scene.store.saw_personalization(a_subject(uid="v", version=30), "ADDED")
        assert scene.recalled() == (None, [])

    asyncio.run(story(Scene()))


def test_a_watch_that_owes_the_news_of_our_own_write_is_noticed() -> None:
    scene = Scene()
    scene.store.saw_personalization(a_subject([], version=7), "MODIFIED")
    scene.store.wrote(KEY, "8")
    scene.now = 50.0
    assert scene.store.oldest_echo_seconds() == 50
    scene.store.saw_personalization(a_subject([], version=7), "MODIFIED")
    assert scene.store.oldest_echo_seconds() == 50
    scene.store.saw_personalization(a_subject(SUCCEEDED, version=8), "MODIFIED")
    assert scene.store.oldest_echo_seconds() == 0


def test_one_that_left_the_watch_before_it_was_told_of_owes_nothing() -> None:
    """It ended while the watch was broken, and the list that came after leaves out what is settled."""
    scene = Scene()
    scene.store.saw_personalization(a_subject([], version=7), "MODIFIED")
    scene.store.wrote(KEY, "8")
    scene.now = 50.0
    other = a_subject([], version=9)
    other["metadata"]["name"] = "another"
    scene.store.saw_personalization(other, None)
    assert scene.store.oldest_echo_seconds() == 0


def test_one_that_leaves_the_watch_is_forgotten_and_owes_nothing() -> None:
    """The API server tells it as a deletion: what it was, with the version of the write that settled it."""

    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.wrote(KEY, "8")
        scene.now = 50.0
        scene.store.saw_personalization(a_subject([], version=8), "DELETED")
        assert (len(scene.store), scene.store.oldest_echo_seconds()) == (0, 0)

    asyncio.run(story(Scene()))


def test_an_echo_that_comes_before_the_answer_to_the_write_is_owed_no_more() -> None:
    scene = Scene()
    scene.store.saw_personalization(a_subject(SUCCEEDED, version=8), "MODIFIED")
    scene.store.wrote(KEY, "8")
    scene.now = 1000.0
    assert scene.store.oldest_echo_seconds() == 0
    scene.store.wrote(KEY, "9")
    scene.now += 50
    assert scene.store.oldest_echo_seconds() == 50


def test_what_is_told_of_one_namespace_says_nothing_of_the_watch_on_another() -> None:
    scene = Scene()
    scene.store.saw_personalization(a_subject([], version=8), "MODIFIED")
    scene.store.wrote(Key("studio", NAME), "7")
    scene.now = 50.0
    assert scene.store.oldest_echo_seconds() == 50


@given(st.integers(min_value=0), st.integers(min_value=0))
def test_versions_are_compared_as_numbers(one: int, other: int) -> None:
    assert is_later(str(one), str(other)) == (one > other)


@pytest.mark.parametrize(("spec", "woken"), [({"profile": "sd15"}, 1), ({}, 1), ({"profile": "other"}, 0)])
def test_a_profile_wakes_those_that_may_have_waited_for_it(spec: Manifest, woken: int) -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject(**spec))
        scene.store.saw_profile("sd15")
        assert await scene.looks() == woken

    asyncio.run(story(Scene()))


def test_one_that_ended_is_kept_while_its_artifacts_are_to_be_erased() -> None:
    async def story(scene: Scene) -> None:
        guarded = a_subject(SUCCEEDED, version=8, deletionPolicy="Delete")
        guarded["metadata"]["finalizers"] = ["likeness.dev/erase"]
        scene.store.saw_personalization(guarded, None)
        assert (await scene.looks(), len(scene.store)) == (0, 0)
        guarded["metadata"] |= {"deletionTimestamp": "2026-11-23T12:00:00Z", "resourceVersion": "9"}
        scene.store.saw_personalization(guarded, "MODIFIED")
        assert (await scene.looks(), len(scene.store)) == (1, 1)
        guarded["metadata"] |= {"finalizers": ["somebody/else"], "resourceVersion": "10"}
        scene.store.saw_personalization(guarded, "MODIFIED")
        assert len(scene.store) == 0

    asyncio.run(story(Scene()))


@pytest.mark.parametrize(("policy", "looks"), [("Retain", 0), ("Delete", 1)])
def test_one_that_ended_is_kept_while_its_finalizer_is_missing(policy: str, looks: int) -> None:
    async def story(scene: Scene) -> None:
        subject = a_subject(SUCCEEDED, version=8, deletionPolicy=policy)
        subject["status"]["jobRef"] = {"name": JOB, "uid": "j"}
        scene.store.saw_personalization(subject, None)
        assert (await scene.looks(), len(scene.store)) == (looks, looks)

    asyncio.run(story(Scene()))


def evicted(uid: str = "pod-of-j", phase: str = "Running") -> Manifest:
    pod = a_pod(phase)
    pod["metadata"] |= {"uid": uid, "name": uid}
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
    return pod


def test_a_pod_that_was_taken_away_is_remembered_though_nobody_else_does() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_pod(evicted(), "DELETED")
        scene.store.distrust(KEY)
        (pod,) = scene.store.taken_away(KEY, "j")
        assert (pod.ended, pod.disruption) == (True, "EvictionByEvictionAPI")
        assert scene.store.taken_away(KEY, "another job") == ()
        for number in range(12):
            scene.store.saw_pod(evicted(f"p{number:02}"), "DELETED")
        assert [pod.uid for pod in scene.store.taken_away(KEY, "j")] == [f"p{number:02}" for number in range(2, 12)]

    asyncio.run(story(Scene()))


def test_a_pod_that_ended_well_is_remembered_whoever_deleted_it() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_pod(a_pod("Succeeded"), "DELETED")
        (pod,) = scene.store.taken_away(KEY, "j")
        assert pod.phase == "Succeeded"

    asyncio.run(story(Scene()))


def test_a_pod_that_failed_and_that_somebody_deleted_is_not() -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_pod(a_pod("Failed"), "DELETED")
        assert scene.store.taken_away(KEY, "j") == ()

    asyncio.run(story(Scene()))


@pytest.mark.parametrize("conditions", [[], SUCCEEDED], ids=["goes on", "ended"])
def test_a_watch_that_tells_of_a_write_before_its_answer_owes_nothing(conditions: list[dict[str, str]]) -> None:
    async def story(scene: Scene) -> None:
        await scene.knows(a_subject())
        scene.store.saw_personalization(a_subject(conditions, version=8), "MODIFIED")
        scene.store.wrote(KEY, "8")
        scene.now = 1000.0
        assert scene.store.oldest_echo_seconds() == 0

    asyncio.run(story(Scene()))
