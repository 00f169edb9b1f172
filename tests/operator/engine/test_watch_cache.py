from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from given import NAME, NAMESPACE
from likeness_operator.engine import watch_cache
from likeness_operator.engine.cache_entry import is_later
from likeness_operator.engine.key import Key
from likeness_operator.engine.lifecycle import Snapshot
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.kubernetes.job import read_job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.pod import read_pod
from likeness_operator.personalization.facts import KIND
from likeness_operator.personalization.job import job_name
from likeness_operator.personalization.lifecycle import PERSONALIZATION

pytestmark = pytest.mark.virtual_time

KEY = Key(KIND, NAMESPACE, NAME)
SUCCEEDED = [{"type": "Succeeded", "status": "True"}]
COMPLETE = [{"type": "Complete", "status": "True"}]
LABELS = {"likeness.dev/personalization": NAME}
JOB = job_name(NAME, "u")


def metadata(name: str, uid: str, version: int, owner: str | None = None) -> K8sObject:
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
) -> K8sObject:
    new: K8sObject = {"metadata": metadata(NAME, uid, version), "spec": spec}
    if conditions is None:
        return new
    unwatched = {"unwatched": True} if conditions == SUCCEEDED and spec.get("deletionPolicy") != "Delete" else {}
    return new | {"status": {"conditions": conditions, **unwatched}}


def a_job(
    conditions: list[dict[str, str]] | None = None, version: int = 8, name: str = JOB, uid: str = "j"
) -> K8sObject:
    spec: K8sObject = {"template": {"spec": {"containers": []}}}
    return {"metadata": metadata(name, uid, version, "u"), "spec": spec, "status": {"conditions": conditions or []}}


def a_pod(phase: str, ip: str = "", version: int = 9, owner: str = "j") -> K8sObject:
    status = {"phase": phase, "podIP": ip}
    return {"metadata": metadata("p", f"pod-of-{owner}", version, owner), "spec": {"containers": []}, "status": status}


class Scene:
    """A cache and its queue, watched by a test that works off what comes in."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue = WorkQueue(clock=lambda: self.now)
        self.cache = WatchCache(self.queue, lambda: self.now, {KIND: PERSONALIZATION})

    async def reconciliations(self) -> int:
        """How many reconciliations are asked for within the time that is waited for more."""
        count = 0
        while True:
            try:
                key = await asyncio.wait_for(self.queue.get(), timeout=0.2)
            except TimeoutError:
                return count
            assert key == KEY
            self.queue.done(key)
            count += 1

    async def knows(self, manifest: K8sObject) -> None:
        self.cache.saw_object(KIND, manifest, "ADDED")
        assert await self.reconciliations() == 1

    def cached(self) -> tuple[str | None, list[str]]:
        """The name of the Job that is its own, and the phases of that one's pods."""
        snapshot = self.cache.get(KEY)
        assert snapshot is not None
        job = snapshot.job(job_name(NAME, snapshot.manifest["metadata"]["uid"]))
        return job.name if job else None, [pod.phase for pod in snapshot.pods_of(job)]


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_an_unfinished_one_is_looked_at_until_it_ended(scene: Scene) -> None:
    await scene.knows(a_subject())
    assert len(scene.cache) == 1
    scene.cache.saw_object(KIND, a_subject(SUCCEEDED, version=8), "MODIFIED")
    assert (await scene.reconciliations(), len(scene.cache)) == (0, 0)


async def test_a_deleted_one_is_forgotten(scene: Scene) -> None:
    await scene.knows(a_subject())
    scene.cache.saw_object(KIND, a_subject(), "DELETED")
    assert (await scene.reconciliations(), len(scene.cache)) == (0, 0)


async def test_one_that_is_new_is_looked_at_before_those_that_wait_longer(scene: Scene) -> None:
    other = Key(KIND, "shop", "older")
    scene.queue.add(other)
    scene.cache.saw_object(KIND, a_subject(), "ADDED")
    assert [await scene.queue.get(), await scene.queue.get()] == [KEY, other]


def test_those_that_wait_are_counted_by_reason_as_long_as_they_do() -> None:
    def scene(reason: str | None, version: int) -> K8sObject:
        waiting = {"waiting": {"reason": reason}} if reason else {}
        return a_subject([], version) | {"status": {"conditions": [], **waiting}}

    cache = Scene().cache
    cache.saw_object(KIND, scene("Unschedulable", 7), "ADDED")
    assert cache.waiting() == {"Unschedulable": 1}
    cache.saw_object(KIND, scene("ImagePullBackOff", 8), "MODIFIED")
    assert cache.waiting() == {"ImagePullBackOff": 1}
    cache.saw_object(KIND, scene(None, 9), "MODIFIED")
    assert cache.waiting() == {}


async def test_our_own_write_is_no_reason_to_look_but_anothers_is(scene: Scene) -> None:
    await scene.knows(a_subject())
    scene.cache.put(KEY, Snapshot(a_subject([], version=8)), losses=0, complete=False)
    scene.cache.saw_object(KIND, a_subject([], version=8), "MODIFIED")
    assert await scene.reconciliations() == 0
    scene.cache.saw_object(KIND, a_subject([], version=9), "MODIFIED")
    assert await scene.reconciliations() == 1


async def test_only_what_the_rules_read_of_a_pod_is_a_reason_to_look(scene: Scene) -> None:
    await scene.knows(a_subject())
    scene.cache.saw_pod(a_pod("Pending"), "ADDED")
    assert await scene.reconciliations() == 1
    scene.cache.saw_pod(a_pod("Pending", ip="10.0.0.1", version=10), "MODIFIED")
    assert await scene.reconciliations() == 0
    scene.cache.saw_pod(a_pod("Failed", version=11), "MODIFIED")
    assert await scene.reconciliations() == 1


async def test_what_changes_in_one_moment_is_looked_at_once(scene: Scene) -> None:
    await scene.knows(a_subject())
    scene.cache.saw_job(a_job(), "ADDED")
    for version, phase in enumerate(("Pending", "Running", "Succeeded"), 9):
        scene.cache.saw_pod(a_pod(phase, version=version), "MODIFIED")
    scene.cache.saw_job(a_job(COMPLETE, version=12), "MODIFIED")
    assert await scene.reconciliations() == 1


async def test_what_belongs_to_a_finished_one_is_passed_over(scene: Scene) -> None:
    scene.cache.saw_job(a_job(COMPLETE), "MODIFIED")
    scene.cache.saw_job(a_job(), "DELETED")
    scene.cache.saw_pod(a_pod("Succeeded"), "MODIFIED")
    assert (await scene.reconciliations(), len(scene.cache)) == (0, 0)


async def test_a_job_that_still_runs_is_always_looked_at(scene: Scene) -> None:
    scene.cache.saw_job(a_job(), "MODIFIED")
    assert await scene.reconciliations() == 1


async def test_a_deleted_job_is_replaced_after_a_pause(scene: Scene) -> None:
    await scene.knows(a_subject())
    scene.cache.saw_job(a_job(), "DELETED")
    assert await scene.reconciliations() == 0
    await asyncio.sleep(1)
    assert await scene.reconciliations() == 1


@pytest.mark.parametrize("labels", [{}, {"likeness.dev/personalization": ""}], ids=["none", "an empty one"])
async def test_somebody_elses_objects_are_passed_over(scene: Scene, labels: dict[str, str]) -> None:
    await scene.knows(a_subject())
    foreign = a_job()
    foreign["metadata"]["labels"] = labels
    scene.cache.saw_job(foreign, "ADDED")
    assert await scene.reconciliations() == 0
    assert scene.cached() == (None, [])


async def test_what_it_saw_from_the_beginning_it_recalls(scene: Scene) -> None:
    await scene.knows(a_subject(profile="sd15"))
    assert scene.cached() == (None, [])
    scene.cache.saw_job(a_job(), "ADDED")
    scene.cache.saw_pod(a_pod("Pending"), "ADDED")
    scene.cache.saw_pod(a_pod("Running", version=10), "MODIFIED")
    assert scene.cached() == (JOB, ["Running"])


@pytest.mark.parametrize(("kind", "conditions"), [(None, None), ("MODIFIED", []), ("ADDED", [])])
def test_what_was_there_before_is_asked_for(
    scene: Scene, kind: str | None, conditions: list[dict[str, str]] | None
) -> None:
    """There may be Jobs and pods of it that no watch has told yet."""
    scene.cache.saw_object(KIND, a_subject(conditions), kind)
    assert scene.cache.get(KEY) is None
    snapshot = Snapshot(a_subject(conditions), (read_job(a_job()),), (read_pod(a_pod("Running")),))
    scene.cache.put(KEY, snapshot, scene.cache.losses(KEY), complete=True)
    assert scene.cached() == (JOB, ["Running"])


def test_a_list_that_comes_again_is_no_longer_the_beginning(scene: Scene) -> None:
    scene.cache.saw_object(KIND, a_subject(), "ADDED")
    scene.cache.saw_object(KIND, a_subject(), None)
    assert scene.cache.get(KEY) is None


async def test_what_the_watch_tells_late_does_not_undo_what_is_known(scene: Scene) -> None:
    await scene.knows(a_subject())
    snapshot = Snapshot(
        a_subject([], version=20),
        (read_job(a_job(COMPLETE, version=21)),),
        (read_pod(a_pod("Succeeded", version=22)),),
    )
    scene.cache.put(KEY, snapshot, losses=0, complete=True)
    scene.cache.saw_object(KIND, a_subject(version=7), "MODIFIED")
    scene.cache.saw_job(a_job(version=8), "ADDED")
    scene.cache.saw_pod(a_pod("Pending", version=9), "ADDED")
    assert await scene.reconciliations() == 0
    assert scene.cached() == (JOB, ["Succeeded"])


async def test_what_went_while_it_was_asked_for_is_asked_for_again(scene: Scene) -> None:
    await scene.knows(a_subject())
    losses = scene.cache.losses(KEY)
    scene.cache.saw_pod(a_pod("Running"), "DELETED")
    snapshot = Snapshot(a_subject(), (read_job(a_job()),), (read_pod(a_pod("Running")),))
    scene.cache.put(KEY, snapshot, losses, complete=True)
    assert scene.cache.get(KEY) is None


async def test_a_namesakes_job_and_pods_are_not_its_own(scene: Scene) -> None:
    await scene.knows(a_subject())
    scene.cache.saw_job(a_job(name=job_name(NAME, "another uid"), uid="old"), "MODIFIED")
    scene.cache.saw_pod(a_pod("Failed", owner="old"), "MODIFIED")
    assert scene.cached() == (None, [])


async def test_one_that_is_created_anew_under_its_name_starts_from_nothing(scene: Scene) -> None:
    await scene.knows(a_subject())
    scene.cache.saw_job(a_job(), "ADDED")
    scene.cache.saw_object(KIND, a_subject(uid="v", version=30), "ADDED")
    assert scene.cached() == (None, [])


def test_a_watch_that_owes_the_news_of_our_own_write_is_noticed(scene: Scene) -> None:
    scene.cache.saw_object(KIND, a_subject([], version=7), "MODIFIED")
    scene.cache.wrote(KEY, "8")
    scene.now = 50.0
    assert scene.cache.watch_lag_seconds() == 50
    scene.cache.saw_object(KIND, a_subject([], version=7), "MODIFIED")
    assert scene.cache.watch_lag_seconds() == 50
    scene.cache.saw_object(KIND, a_subject(SUCCEEDED, version=8), "MODIFIED")
    assert scene.cache.watch_lag_seconds() == 0


def test_one_that_left_the_watch_before_it_was_told_of_owes_nothing(scene: Scene) -> None:
    """It ended while the watch was broken, and the list that came after leaves out what is unwatched."""
    scene.cache.saw_object(KIND, a_subject([], version=7), "MODIFIED")
    scene.cache.wrote(KEY, "8")
    scene.now = 50.0
    other = a_subject([], version=9)
    other["metadata"]["name"] = "another"
    scene.cache.saw_object(KIND, other, None)
    assert scene.cache.watch_lag_seconds() == 0


async def test_one_that_leaves_the_watch_is_forgotten_and_owes_nothing(scene: Scene) -> None:
    """The API server tells it as a deletion: what it was, with the version of the write that said unwatched."""
    await scene.knows(a_subject())
    scene.cache.wrote(KEY, "8")
    scene.now = 50.0
    scene.cache.saw_object(KIND, a_subject([], version=8), "DELETED")
    assert (len(scene.cache), scene.cache.watch_lag_seconds()) == (0, 0)


def test_an_echo_that_comes_before_the_answer_to_the_write_is_owed_no_more(scene: Scene) -> None:
    scene.cache.saw_object(KIND, a_subject(SUCCEEDED, version=8), "MODIFIED")
    scene.cache.wrote(KEY, "8")
    scene.now = 1000.0
    assert scene.cache.watch_lag_seconds() == 0
    scene.cache.wrote(KEY, "9")
    scene.now += 50
    assert scene.cache.watch_lag_seconds() == 50


def test_what_is_told_of_one_namespace_says_nothing_of_the_watch_on_another(scene: Scene) -> None:
    scene.cache.saw_object(KIND, a_subject([], version=8), "MODIFIED")
    scene.cache.wrote(Key(KIND, "studio", NAME), "7")
    scene.now = 50.0
    assert scene.cache.watch_lag_seconds() == 50


@given(st.integers(min_value=0), st.integers(min_value=0))
def test_versions_are_compared_as_numbers(one: int, other: int) -> None:
    assert is_later(str(one), str(other)) == (one > other)


@pytest.mark.parametrize(("spec", "woken"), [({"profile": "sd15"}, 1), ({}, 1), ({"profile": "other"}, 0)])
async def test_a_profile_wakes_those_that_may_have_waited_for_it(scene: Scene, spec: K8sObject, woken: int) -> None:
    await scene.knows(a_subject(**spec))
    scene.cache.saw_profile("sd15")
    assert await scene.reconciliations() == woken


async def test_one_that_ended_is_kept_while_its_artifacts_are_to_be_erased(scene: Scene) -> None:
    guarded = a_subject(SUCCEEDED, version=8, deletionPolicy="Delete")
    guarded["metadata"]["finalizers"] = ["likeness.dev/erase"]
    scene.cache.saw_object(KIND, guarded, None)
    assert (await scene.reconciliations(), len(scene.cache)) == (0, 0)
    guarded["metadata"] |= {"deletionTimestamp": "2026-11-23T12:00:00Z", "resourceVersion": "9"}
    scene.cache.saw_object(KIND, guarded, "MODIFIED")
    assert (await scene.reconciliations(), len(scene.cache)) == (1, 1)
    guarded["metadata"] |= {"finalizers": ["somebody/else"], "resourceVersion": "10"}
    scene.cache.saw_object(KIND, guarded, "MODIFIED")
    assert len(scene.cache) == 0


@pytest.mark.parametrize(("policy", "looks"), [("Retain", 0), ("Delete", 1)])
async def test_one_that_ended_is_kept_while_its_finalizer_is_missing(scene: Scene, policy: str, looks: int) -> None:
    subject = a_subject(SUCCEEDED, version=8, deletionPolicy=policy)
    subject["status"]["jobRef"] = {"name": JOB, "uid": "j"}
    scene.cache.saw_object(KIND, subject, None)
    assert (await scene.reconciliations(), len(scene.cache)) == (looks, looks)


def evicted(uid: str = "pod-of-j", phase: str = "Running") -> K8sObject:
    pod = a_pod(phase)
    pod["metadata"] |= {"uid": uid, "name": uid}
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
    return pod


async def test_a_pod_that_was_taken_away_is_remembered_though_nobody_else_does(scene: Scene) -> None:
    await scene.knows(a_subject())
    scene.cache.saw_pod(evicted(), "DELETED")
    scene.cache.invalidate(KEY)
    (pod,) = scene.cache.removed_pods(KEY)
    assert (pod.finished, pod.disruption) == (True, "EvictionByEvictionAPI")
    for number in range(12):
        scene.cache.saw_pod(evicted(f"p{number:02}"), "DELETED")
    assert [pod.uid for pod in scene.cache.removed_pods(KEY)] == [f"p{number:02}" for number in range(2, 12)]


async def test_a_pod_that_ended_well_is_remembered_whoever_deleted_it(scene: Scene) -> None:
    await scene.knows(a_subject())
    scene.cache.saw_pod(a_pod("Succeeded"), "DELETED")
    (pod,) = scene.cache.removed_pods(KEY)
    assert pod.phase == "Succeeded"


async def test_a_pod_that_failed_and_that_somebody_deleted_is_not(scene: Scene) -> None:
    await scene.knows(a_subject())
    scene.cache.saw_pod(a_pod("Failed"), "DELETED")
    assert scene.cache.removed_pods(KEY) == ()


@pytest.mark.parametrize("conditions", [[], SUCCEEDED], ids=["goes on", "ended"])
async def test_a_watch_that_tells_of_a_write_before_its_answer_owes_nothing(
    scene: Scene, conditions: list[dict[str, str]]
) -> None:
    await scene.knows(a_subject())
    scene.cache.saw_object(KIND, a_subject(conditions, version=8), "MODIFIED")
    scene.cache.wrote(KEY, "8")
    scene.now = 1000.0
    assert scene.cache.watch_lag_seconds() == 0


def many(namespace: str, count: int, prompt: str = "") -> list[K8sObject]:
    objects = []
    for number in range(count):
        manifest = a_subject(uid=f"{namespace}-{number}", previews=[{"prompt": prompt}])
        manifest["metadata"] |= {"namespace": namespace, "name": f"p{number}"}
        objects.append(manifest)
    return objects


def key_of(manifest: K8sObject) -> Key:
    return Key(KIND, manifest["metadata"]["namespace"], manifest["metadata"]["name"])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A cache with room for ten objects and 100 kB."""
    monkeypatch.setattr(watch_cache, "MOST_OBJECTS", 10)
    monkeypatch.setattr(watch_cache, "MOST_BYTES", 100_000)
    return Scene()


def test_of_an_object_only_what_is_read_is_kept() -> None:
    cache, manifest = Scene().cache, a_subject()
    manifest["metadata"] |= {
        "annotations": {"flood": "x" * 10**6},
        "labels": {"flood": "x"},
        "finalizers": ["somebody/else", "likeness.dev/erase"],
    }
    cache.saw_object(KIND, manifest, "ADDED")
    snapshot = cache.get(KEY)
    assert snapshot is not None
    assert len(json.dumps(snapshot.manifest)) < 400
    assert snapshot.manifest["metadata"]["finalizers"] == ["likeness.dev/erase"]


def test_beyond_its_share_of_memory_only_the_name_of_an_object_is_kept_and_others_are_not_touched(small: Scene) -> None:
    flood, shop = many("flood", 5, "x" * 20_000), many("shop", 2)
    for manifest in (*flood, *shop):
        small.cache.saw_object(KIND, manifest, "ADDED")
    assert [small.cache.get(key_of(manifest)) is not None for manifest in flood] == [True, True, False, False, False]
    assert [small.cache.get(key_of(manifest)) is not None for manifest in shop] == [True, True]
    assert len(small.cache) == 7
    assert len(small.queue) == 7


def test_what_a_reconciliation_read_of_one_beyond_the_share_is_not_kept_either(small: Scene) -> None:
    flood = many("flood", 3, "x" * 20_000)
    for manifest in flood:
        small.cache.saw_object(KIND, manifest, "ADDED")
    key = key_of(flood[2])
    small.cache.put(key, Snapshot(flood[2], (read_job(a_job()),)), losses=0, complete=True)
    assert small.cache.get(key) is None
    small.cache.drop(key_of(flood[0]))
    small.cache.put(key, Snapshot(flood[2], (read_job(a_job()),)), losses=0, complete=True)
    snapshot = small.cache.get(key)
    assert snapshot is not None
    assert [job.name for job in snapshot.jobs] == [JOB]


def test_an_older_answer_does_not_replace_what_is_known_to_be_newer(small: Scene) -> None:
    flood = many("flood", 3, "x" * 20_000)
    for manifest in flood:
        small.cache.saw_object(KIND, manifest, "ADDED")
    newer = flood[2] | {"metadata": flood[2]["metadata"] | {"resourceVersion": "9"}}
    small.cache.saw_object(KIND, newer, "MODIFIED")
    small.cache.drop(key_of(flood[0]))
    small.cache.put(key_of(newer), Snapshot(flood[2]), losses=0, complete=True)
    assert small.cache.get(key_of(newer)) is None


async def test_more_jobs_or_pods_than_an_object_can_have_are_not_kept(scene: Scene) -> None:
    scene.cache.saw_object(KIND, a_subject(), "ADDED")
    for number in range(1000):
        scene.cache.saw_job(a_job(name=f"j{number}", uid=f"j{number}"), "ADDED")
        scene.cache.saw_pod(a_pod("Pending", owner=f"j{number}"), "ADDED")
    assert len(scene.cache._entries[KEY].jobs) <= PERSONALIZATION.most_parts
    assert len(scene.cache._entries[KEY].pods) <= PERSONALIZATION.most_parts
    assert scene.cache.get(KEY) is None


def test_beyond_its_share_of_objects_a_namespace_is_left_out_and_nobody_else_is(small: Scene) -> None:
    for manifest in (*many("flood", 1000), *many("shop", 2)):
        small.cache.saw_object(KIND, manifest, None)
    assert Counter(key.namespace for key in tuple(small.cache.keys())) == {"flood": 5, "shop": 2}
    (left_out,) = small.cache.left_out()
    assert left_out.key == Key(KIND, "flood", "p5")
    assert not small.cache.admit(left_out.key)
    assert len(small.queue) == 7


def test_room_comes_back_with_those_that_end_or_are_deleted(small: Scene) -> None:
    flood = many("flood", 6)
    for manifest in flood:
        small.cache.saw_object(KIND, manifest, None)
    for manifest in flood[:5]:
        small.cache.saw_object(KIND, manifest, "DELETED")
    (left_out,) = small.cache.left_out()
    assert small.cache.admit(left_out.key)
    assert small.cache.left_out() == ()
    assert small.cache._bytes.take("anybody", 100_000)


def test_jobs_of_nobody_take_no_more_than_a_share_of_the_queue(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_cache, "MOST_STRANGERS", 5)
    for key in (Key(KIND, "shop", f"queued{number}") for number in range(5)):
        scene.queue.add(key)
    asked: list[Key] = []
    monkeypatch.setattr(scene.queue, "add_after", lambda key, _: asked.append(key))
    scene.cache.saw_job(a_job(), "ADDED")
    assert asked == []


async def test_jobs_that_erase_for_nobody_take_no_more_than_a_share(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_cache, "MOST_UNOWNED_JOBS", 10)
    cache = Scene().cache
    for number in range(100):
        manifest = a_job(uid=f"j{number}")
        manifest["metadata"]["labels"] = {
            "likeness.dev/personalization": f"p{number}",
            "likeness.dev/erases": f"u{number}",
        }
        cache.saw_job(manifest, "ADDED")
    assert len(cache._unowned_jobs) == 5


def test_versions_of_namespaces_that_were_seen_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_cache, "MOST_VERSIONS", 10)
    cache = Scene().cache
    for number in range(100):
        cache.saw_object(KIND, many(f"n{number}", 1)[0], "DELETED")
    assert len(cache._newest_versions) == 10
