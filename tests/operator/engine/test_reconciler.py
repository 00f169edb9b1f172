"""What a reconciliation asks the API server for, and what it does on what the watches have told."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from api_stub import ApiStub
from given import NAME, NAMESPACE, NOW, PROFILE, SPEC, TUNED, UID
from likeness_operator import metrics
from likeness_operator.engine.key import Key
from likeness_operator.engine.lifecycle import Stages
from likeness_operator.engine.reconciler import Reconciler, ReconcileResult
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.erasure.job import erase_job_name
from likeness_operator.erasure.lifecycle import ErasureLifecycle
from likeness_operator.kubernetes.api_error import AlreadyExistsError, ConflictError, NotFoundError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.personalization.facts import KIND
from likeness_operator.personalization.job import job_name
from likeness_operator.personalization.lifecycle import PERSONALIZATION, TuningLifecycle
from likeness_operator.personalization.profiles import Profiles
from likeness_operator.personalization.progress import ProgressTracker

KEY = Key(KIND, NAMESPACE, NAME)
SUBJECT = f"/apis/likeness.dev/v1alpha1/namespaces/{NAMESPACE}/personalizations/{NAME}"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
JOB = f"{JOBS}/{job_name(NAME, UID)}"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
WORKLOADS = f"/apis/kueue.x-k8s.io/v1beta1/namespaces/{NAMESPACE}/workloads"
ERASER = f"{JOBS}/{erase_job_name(NAME, UID)}"
EVENTS = f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"
READS = [f"GET {SUBJECT}", f"GET {JOB}", f"GET {ERASER}", f"GET {PODS}"]
"""What is asked for in each reconciliation of one that is being deleted."""
MOMENT = "2026-11-23T12:00:00Z"
SD15 = "/apis/likeness.dev/v1alpha1/tuningprofiles/sd15"


class Scene:
    """A Personalization in an API server, and a reconciler that has heard of it."""

    def __init__(self, server: ApiStub, api: ApiServer, spec: K8sObject) -> None:
        self.server, self.api, self.moment = server, api, NOW
        self.cache = WatchCache(WorkQueue(clock=lambda: 0.0), lambda: 0.0, {KIND: PERSONALIZATION})
        self.runs = 0
        """How often rules were read from the first one on."""
        self.set_up()
        server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE})
        subject = {"metadata": {"name": NAME, "namespace": NAMESPACE, "uid": UID}, "spec": spec}
        self.cache.saw_object(KIND, server.put(SUBJECT, subject), "ADDED")

    def set_up(self, *, kueue: bool = False) -> None:
        """A reconciler that keeps no profile yet."""
        profiles = Profiles(self.api, lambda: 0.0)
        tracker = ProgressTracker(self.cache, lambda _: None, lambda: 0.0)
        live = TuningLifecycle(self.api, profiles, self.cache.limiter, tracker, lambda: self.moment, kueue=kueue)
        erasure = ErasureLifecycle(self.api, profiles, "test", lambda: self.moment)
        live = replace(live, rules=(self.count_run, *live.rules))
        erasure = replace(erasure, rules=(self.count_run, *erasure.rules))
        stages = {KIND: Stages(PERSONALIZATION, live, erasure)}
        self.reconciler = Reconciler(self.api, self.cache, stages, "test", lambda: self.moment)

    def count_run(self, _: object) -> None:
        """A rule before all others that never answers."""
        self.runs += 1

    async def calls(self) -> list[str]:
        """What one reconciliation asks for. Where it writes nothing, the rules are read twice at most."""
        calls, self.runs = len(self.server.calls), 0
        self.result = await self.reconciler.reconcile(KEY)
        made = self.server.calls[calls:]
        writes = [call for call in made if not call.startswith("GET")]
        assert self.runs <= 2 + len(writes)
        return made

    def status(self) -> K8sObject:
        status: K8sObject = self.server.objects[SUBJECT]["status"]
        return status

    def pod(self, phase: str, name: str = "p", **state: Any) -> K8sObject:
        """The Job's pod as it is now; the watch tells."""
        owner = {"uid": self.server.objects[JOB]["metadata"]["uid"], "controller": True}
        labels = {"likeness.dev/personalization": NAME}
        metadata = {"name": name, "uid": name, "namespace": NAMESPACE, "labels": labels, "ownerReferences": [owner]}
        status = {"phase": phase, "containerStatuses": [{"name": "tuner", "state": state}]}
        pod = self.server.put(f"{PODS}/{name}", {"metadata": metadata, "spec": {}, "status": status})
        self.cache.saw_pod(pod, "MODIFIED")
        return pod

    def job_says(self, condition: str, path: str = JOB) -> None:
        status = {"conditions": [{"type": condition, "status": "True", "reason": "BackoffLimitExceeded"}]}
        self.cache.saw_job(self.server.put(path, self.server.objects[path] | {"status": status}), "MODIFIED")

    def deleted(self) -> None:
        """A user deletes the Personalization, and the watch tells."""
        subject = json.loads(json.dumps(self.server.objects[SUBJECT]))
        subject["metadata"] |= {"deletionTimestamp": "2026-11-23T12:00:00Z"}
        self.cache.saw_object(KIND, self.server.put(SUBJECT, subject), "MODIFIED")


@pytest.fixture
def spec() -> K8sObject:
    return SPEC


@pytest.fixture
def scene(server: ApiStub, api: ApiServer, spec: K8sObject) -> Scene:
    return Scene(server, api, spec)


def with_spec(**more: Any) -> pytest.MarkDecorator:
    """The Personalization asks for this, too."""
    return pytest.mark.parametrize("spec", [SPEC | more], ids=[pytest.HIDDEN_PARAM])


def ended(exit_code: int, message: str) -> K8sObject:
    moment = "2026-11-23T12:00:30Z"
    return {"exitCode": exit_code, "message": message, "startedAt": moment, "finishedAt": moment}


async def test_a_life_that_goes_well_takes_three_writes_and_two_reads(scene: Scene) -> None:
    assert await scene.calls() == [f"GET {SD15}", f"GET {SUBJECT}", f"POST {JOBS}"]
    scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
    assert await scene.calls() == [f"PUT {SUBJECT}/status"]
    scene.pod("Succeeded", terminated=ended(0, TUNED.encode().decode()))
    scene.job_says("SuccessCriteriaMet")
    assert await scene.calls() == [f"PUT {SUBJECT}/status"]
    assert scene.status()["conditions"][0]["type"] == "Succeeded"
    assert len(scene.cache) == 0


async def test_a_life_leaves_its_times_in_the_metrics(scene: Scene) -> None:
    def counted() -> list[float]:
        names = ("seconds_to_job_count", "seconds_to_result_count", "tune_seconds_count", "tune_seconds_sum")
        return [metrics.REGISTRY.get_sample_value(f"likeness_{name}") or 0.0 for name in names]

    before = counted()
    await scene.calls()
    scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
    await scene.calls()
    scene.moment += timedelta(seconds=31)
    scene.pod("Succeeded", terminated=ended(0, TUNED.encode().decode()))
    scene.job_says("Complete")
    await scene.calls()
    assert [after - earlier for after, earlier in zip(counted(), before, strict=True)] == [1, 1, 1, 30]


async def test_a_failure_is_asked_for_before_it_is_told(scene: Scene) -> None:
    await scene.calls()
    scene.pod("Failed", terminated=ended(1, ""))
    scene.job_says("Failed")
    *asked, told, event = await scene.calls()
    assert asked == [f"GET {SUBJECT}", f"GET {JOB}", f"GET {PODS}"]
    assert told == f"PUT {SUBJECT}/status"
    assert event.startswith("POST /apis/events.k8s.io")


async def test_a_job_that_only_seems_lost_is_not_held_against_anybody(scene: Scene) -> None:
    await scene.calls()
    scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
    await scene.calls()
    scene.cache.saw_job(scene.server.objects[JOB], "DELETED")
    assert await scene.calls() == [f"GET {SUBJECT}", f"GET {JOB}", f"GET {PODS}"]
    assert "attempts" not in scene.status()


async def test_a_job_that_is_lost_is_replaced_and_counted(scene: Scene) -> None:
    await scene.calls()
    scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
    await scene.calls()
    lost = scene.server.objects.pop(JOB)
    scene.cache.saw_job(lost, "DELETED")
    assert f"POST {JOBS}" in await scene.calls()
    scene.moment += timedelta(minutes=1)
    await scene.calls()
    assert [attempt["reason"] for attempt in scene.status()["attempts"]] == ["JobDeleted"]


async def test_a_job_without_a_pod_says_why_in_the_job_controllers_last_words(scene: Scene) -> None:
    await scene.calls()
    events = f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"
    for second, note in ((5, "exceeded quota: new"), (1, "exceeded quota: old")):
        moment = f"2026-11-23T12:00:0{second}Z"
        scene.server.put(f"{events}/{second}", {"metadata": {}, "note": note, "deprecatedLastTimestamp": moment})
    scene.moment += timedelta(seconds=20)
    assert await scene.calls() == [f"GET {events}", f"PUT {SUBJECT}/status"]
    assert scene.status()["waiting"]["reason"] == "QuotaExceeded"
    assert scene.status()["waiting"]["message"] == "exceeded quota: new"
    assert await scene.calls() == [f"GET {events}"]


async def test_a_question_that_finds_nothing_does_not_make_the_object_gone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> NoReturn:
        raise NotFoundError(404, "NotFound", "the server could not find the requested resource")

    await scene.calls()
    scene.moment += timedelta(seconds=20)
    monkeypatch.setattr(scene.api, "pod_refusals", lost)
    with pytest.raises(NotFoundError):
        await scene.calls()
    assert len(scene.cache) == 1


async def test_a_job_is_changed_on_what_is_true(scene: Scene) -> None:
    """What the watch has told may be old: nothing that cannot be taken back rests on it."""
    await scene.calls()
    subject = scene.server.put(SUBJECT, scene.server.objects[SUBJECT] | {"spec": SPEC | {"suspend": True}})
    scene.cache.saw_object(KIND, subject, "MODIFIED")
    fresh = [f"GET {SUBJECT}", f"GET {JOB}", f"GET {PODS}"]
    assert await scene.calls() == [*fresh, f"PATCH {JOB}", f"PUT {SUBJECT}/status"]


async def test_an_eviction_is_kept_where_its_job_is_deleted(scene: Scene) -> None:
    """A suspended Personalization's Job is deleted where Kueue would start it again."""
    scene.server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"queueName": "gpus"}})
    await scene.calls()
    pod = scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
    scene.cache.saw_pod(scene.server.objects.pop(f"{PODS}/p"), "DELETED")
    subject = scene.server.put(SUBJECT, scene.server.objects[SUBJECT] | {"spec": SPEC | {"suspend": True}})
    scene.cache.saw_object(KIND, subject, "MODIFIED")
    fresh = [f"GET {SUBJECT}", f"GET {JOB}", f"GET {PODS}"]
    assert (await scene.calls())[:4] == [*fresh, f"DELETE {JOB}"]
    assert [attempt["reason"] for attempt in scene.status()["attempts"]] == ["Evicted"]


async def test_kueue_is_asked_only_where_the_operator_may(scene: Scene) -> None:
    scene.server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"queueName": "gpus"}})
    await scene.calls()
    scene.moment += timedelta(seconds=20)
    assert await scene.calls() == [f"PUT {SUBJECT}/status"]
    assert scene.status()["waiting"]["reason"] == "Queued"
    scene.set_up(kueue=True)
    assert await scene.calls() == [f"GET {WORKLOADS}"]  # 404: no Kueue in this cluster
    said = {"type": "QuotaReserved", "status": "False", "reason": "Inadmissible", "message": "no LocalQueue gpus"}
    scene.server.put(f"{WORKLOADS}/w", {"metadata": {"name": "w"}, "status": {"conditions": [said]}})
    assert await scene.calls() == [f"GET {WORKLOADS}", f"PUT {SUBJECT}/status"]
    assert scene.status()["waiting"]["reason"] == "Inadmissible"


async def test_no_job_is_made_for_one_that_is_gone(scene: Scene) -> None:
    del scene.server.objects[SUBJECT]
    assert await scene.calls() == [f"GET {SD15}", f"GET {SUBJECT}"]
    assert len(scene.cache) == 0


async def test_no_job_is_made_for_one_that_was_suspended_unseen(scene: Scene) -> None:
    scene.server.put(SUBJECT, scene.server.objects[SUBJECT] | {"spec": SPEC | {"suspend": True}})
    assert f"POST {JOBS}" not in await scene.calls()
    assert scene.status()["conditions"][0]["type"] == "Suspended"


async def test_a_job_that_is_there_already_is_found(scene: Scene) -> None:
    await scene.calls()
    scene.cache.drop(KEY)
    subject = json.loads(json.dumps(scene.server.objects[SUBJECT]))
    scene.cache.saw_object(KIND, subject, "ADDED")
    with pytest.raises(AlreadyExistsError):
        await scene.calls()
    scene.cache.invalidate(KEY)
    assert f"GET {JOB}" in await scene.calls()
    assert [path for path in scene.server.objects if path.startswith(JOBS)] == [JOB]


async def test_a_status_on_an_old_version_is_refused(scene: Scene) -> None:
    await scene.calls()
    scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
    scene.server.put(SUBJECT, scene.server.objects[SUBJECT])
    with pytest.raises(ConflictError):
        await scene.calls()


@with_spec(deletionPolicy="Delete")
async def test_erasing_takes_one_write_more_in_life_and_three_after_it(scene: Scene) -> None:
    calls = await scene.calls()
    assert [call for call in calls if not call.startswith("GET")] == [f"PATCH {SUBJECT}", f"POST {JOBS}"]
    scene.pod("Succeeded", terminated=ended(0, TUNED.encode().decode()))
    scene.job_says("Complete")
    await scene.calls()
    assert len(scene.cache) == 0
    scene.deleted()
    assert await scene.calls() == [*READS, f"POST {JOBS}"]
    scene.job_says("Complete", ERASER)
    assert await scene.calls() == [*READS, f"POST {EVENTS}", f"PATCH {SUBJECT}"]
    assert SUBJECT not in scene.server.objects
    assert len(scene.cache) == 0
    (event,) = [held for path, held in scene.server.objects.items() if path.startswith(EVENTS)]
    assert (event["type"], event["reason"], event["note"]) == ("Normal", "Erased", "erased")


@with_spec(deletionPolicy="Delete", profile=None)
async def test_it_is_erased_with_the_profile_that_it_was_made_with_though_the_default_is_another_one(
    scene: Scene,
) -> None:
    profiles = "/apis/likeness.dev/v1alpha1/tuningprofiles"
    scene.server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"default": True}})
    await scene.calls()
    scene.pod("Succeeded", terminated=ended(0, TUNED.encode().decode()))
    scene.job_says("Complete")
    await scene.calls()
    assert scene.status()["profile"] == "sd15"
    scene.server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE})
    moved = PROFILE | {"default": True, "storage": PROFILE["storage"] | {"endpoint": "https://elsewhere"}}
    scene.server.put(f"{profiles}/sdxl", {"metadata": {"name": "sdxl"}, "spec": moved})
    scene.deleted()
    await scene.calls()
    assert scene.server.objects[ERASER]["metadata"]["labels"]["likeness.dev/profile"] == "sd15"


@with_spec(deletionPolicy="Delete")
async def test_the_tuning_is_ended_and_its_pod_has_ended_before_anything_is_erased(scene: Scene) -> None:
    await scene.calls()
    scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
    await scene.calls()
    scene.deleted()
    assert await scene.calls() == [*READS, f"DELETE {JOB}", f"GET {JOB}"]
    assert await scene.calls() == READS
    del scene.server.objects[f"{PODS}/p"]
    assert (await scene.calls())[-1] == f"POST {JOBS}"


@with_spec(deletionPolicy="Delete")
async def test_other_finalizers_stay(scene: Scene) -> None:
    scene.server.objects[SUBJECT]["metadata"]["finalizers"] = ["somebody/else"]
    scene.cache.invalidate(KEY)
    await scene.calls()
    finalizers = scene.server.objects[SUBJECT]["metadata"]["finalizers"]
    assert finalizers == ["somebody/else", "likeness.dev/erase"]
    scene.deleted()
    await scene.calls()
    scene.job_says("Complete", ERASER)
    await scene.calls()
    assert scene.server.objects[SUBJECT]["metadata"]["finalizers"] == ["somebody/else"]


@with_spec(deletionPolicy="Delete")
async def test_a_failure_to_erase_is_told_once_and_is_no_second_end(scene: Scene) -> None:
    await scene.calls()
    scene.pod("Failed", terminated=ended(10, ""))
    scene.job_says("Failed")
    await scene.calls()
    scene.deleted()
    await scene.calls()
    scene.job_says("Failed", ERASER)
    assert await scene.calls() == [*READS, f"PUT {SUBJECT}/status"]
    assert await scene.calls() == READS
    kinds = [condition["type"] for condition in scene.status()["conditions"]]
    assert kinds == ["Failed", "Accepted", "EncoderUsed", "Erased"]
    assert len([path for path in scene.server.objects if path.startswith(EVENTS)]) == 1


@with_spec(deletionPolicy="Delete")
async def test_whether_the_namespace_goes_is_found_out_without_a_right_to_read_it(scene: Scene) -> None:
    await scene.calls()
    scene.job_says("Complete")
    scene.server.objects.pop(SD15)
    scene.set_up()
    scene.deleted()
    assert (await scene.calls())[-2:] == [f"POST {EVENTS}", f"PUT {SUBJECT}/status"]
    assert [path for path in scene.server.objects if path.startswith(EVENTS)] == []
    assert scene.status()["waiting"]["reason"] == "ProfileNotFound"
    scene.server.terminating = True
    await scene.calls()
    assert SUBJECT not in scene.server.objects


def a_rival(version: int = 1) -> K8sObject:
    """A Job of another Personalization of the same profile."""
    labels = {"likeness.dev/personalization": "rival", "likeness.dev/profile": "sd15"}
    metadata = {
        "name": "rival",
        "namespace": NAMESPACE,
        "labels": labels,
        "uid": "rival",
        "resourceVersion": str(version),
    }
    return {"metadata": metadata | {"creationTimestamp": "2026-11-23T12:00:00Z"}, "spec": {"template": {"spec": {}}}}


async def test_where_a_limit_is_reached_it_waits_at_the_cost_of_one_write(scene: Scene) -> None:
    scene.server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"maxConcurrent": 1}})
    rival = scene.server.put(f"{JOBS}/rival", a_rival())
    scene.cache.saw_job(rival, "ADDED")
    assert await scene.calls() == [f"GET {SD15}", f"PUT {SUBJECT}/status"]
    assert scene.status()["waiting"]["reason"] == "ConcurrencyLimit"
    assert await scene.calls() == []
    scene.cache.saw_job(scene.server.objects.pop(f"{JOBS}/rival"), "DELETED")
    assert await scene.calls() == [f"GET {SUBJECT}", f"GET {JOBS}", f"POST {JOBS}"]


async def test_a_rival_that_no_watch_has_told_of_counts(scene: Scene) -> None:
    scene.server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"maxConcurrent": 1}})
    scene.server.put(f"{JOBS}/rival", a_rival())
    with pytest.raises(ConflictError, match="no watch has reported"):
        await scene.calls()
    assert JOB not in scene.server.objects


async def test_a_ghost_that_fills_the_limit_is_found_out_by_asking(scene: Scene) -> None:
    scene.server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"maxConcurrent": 1}})
    scene.cache.saw_job(a_rival(), "ADDED")
    await scene.calls()
    assert JOB not in scene.server.objects
    scene.cache.invalidate(KEY)  # as resync does
    await scene.calls()
    assert JOB in scene.server.objects


async def test_an_eviction_is_in_the_attempts_though_its_pod_is_gone_and_costs_no_write_of_its_own(
    scene: Scene,
) -> None:
    await scene.calls()
    first = scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
    await scene.calls()
    target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    first["status"]["conditions"] = [target]
    scene.cache.saw_pod(scene.server.objects.pop(f"{PODS}/p"), "DELETED")
    scene.cache.invalidate(KEY)
    scene.pod("Running", "next", running={"startedAt": "2026-11-23T12:00:05Z"})
    calls = await scene.calls()
    assert [call for call in calls if not call.startswith("GET")] == [f"PUT {SUBJECT}/status"]
    assert [attempt["reason"] for attempt in scene.status()["attempts"]] == ["Evicted"]
    assert await scene.calls() == []


async def test_an_attempt_alone_is_no_reason_to_write(scene: Scene) -> None:
    await scene.calls()
    scene.pod("Running", "next", running={"startedAt": "2026-11-23T12:00:05Z"})
    await scene.calls()
    gone = scene.pod("Failed", "late")
    target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    gone["status"]["conditions"] = [target]
    scene.cache.saw_pod(scene.server.objects.pop(f"{PODS}/late"), "DELETED")
    assert await scene.calls() == []
    scene.pod("Succeeded", "next", terminated=ended(0, TUNED.encode().decode()))
    scene.job_says("Complete")
    await scene.calls()
    assert sorted(attempt["reason"] for attempt in scene.status()["attempts"]) == ["Evicted", "Tuned"]


@pytest.mark.parametrize("namesake", [False, True], ids=["nobody of its name", "a new one of its name"])
@with_spec(deletionPolicy="Delete")
async def test_an_erase_job_ends_with_its_personalization_before_a_new_one_can_publish(
    scene: Scene, namesake: bool
) -> None:
    await scene.calls()
    scene.deleted()
    await scene.calls()
    scene.cache.saw_job(scene.server.objects[ERASER], "ADDED")
    gone = scene.server.objects.pop(SUBJECT)
    scene.cache.saw_object(KIND, gone, "DELETED")
    if namesake:
        again = {"metadata": {"name": NAME, "namespace": NAMESPACE, "uid": "another"}, "spec": SPEC}
        scene.cache.saw_object(KIND, scene.server.put(SUBJECT, again), "ADDED")
    calls = await scene.calls()
    assert ERASER not in scene.server.objects
    made = f"POST {JOBS}"
    assert (made in calls) == namesake
    assert not namesake or calls.index(f"DELETE {ERASER}") < calls.index(made)


@with_spec(deletionPolicy="Delete")
async def test_an_erase_job_ends_before_a_namesake_can_publish_that_no_watch_has_reported(scene: Scene) -> None:
    await scene.calls()
    scene.deleted()
    await scene.calls()
    eraser = scene.server.objects[ERASER]
    scene.cache.saw_job(eraser, "ADDED")
    before = json.loads(json.dumps(scene.server.objects[SUBJECT]))
    del before["metadata"]["deletionTimestamp"]
    scene.cache.drop(KEY)
    scene.cache.saw_object(KIND, {key: before[key] for key in ("metadata", "spec")}, "ADDED")  # an old one
    again = {"metadata": {"name": NAME, "namespace": NAMESPACE, "uid": "another"}, "spec": SPEC}
    scene.server.put(SUBJECT, again)
    calls = await scene.calls()
    assert calls.index(f"DELETE {ERASER}") < calls.index(f"POST {JOBS}")


async def test_rules_are_read_once_on_what_is_cached_and_once_on_what_is_true(scene: Scene) -> None:
    await scene.calls()
    scene.moment += timedelta(seconds=20)
    await scene.calls()
    assert scene.status()["waiting"]["reason"] == "NoPod"
    assert await scene.calls() == [f"GET {EVENTS}"]
    assert scene.runs == 1
    scene.cache.saw_job(scene.server.objects[JOB], "DELETED")  # a watch that tells what is not so
    assert await scene.calls() == [f"GET {SUBJECT}", f"GET {JOB}", f"GET {PODS}", f"GET {EVENTS}"]
    assert scene.runs == 2


async def test_one_that_finished_under_the_operator_before_is_written_once_more_and_never_started_again(
    scene: Scene,
) -> None:
    ended = {"type": "Succeeded", "status": "True", "reason": "Tuned", "message": "", "lastTransitionTime": MOMENT}
    status = {"conditions": [ended], "settled": True, "fromTheFuture": 1}
    before = scene.server.put(SUBJECT, scene.server.objects[SUBJECT] | {"status": status})
    scene.cache.saw_object(KIND, before, None)
    assert await scene.calls() == [f"GET {SUBJECT}", f"GET {JOB}", f"PUT {SUBJECT}/status"]
    assert scene.status() == status | {"unwatched": True}
    assert (scene.result, len(scene.cache)) == (ReconcileResult(done=True), 0)


@pytest.mark.parametrize("exit_code", [0, 10])
async def test_a_job_of_the_operator_before_is_brought_to_its_end(scene: Scene, exit_code: int) -> None:
    """It has no annotations; the status, which that operator wrote, names it."""
    await scene.calls()
    job = json.loads(json.dumps(scene.server.objects[JOB]))
    del job["metadata"]["annotations"]
    scene.server.put(JOB, job)
    named = {"jobRef": {"name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}}
    scene.server.put(SUBJECT, scene.server.objects[SUBJECT] | {"status": named})
    scene.cache.invalidate(KEY)
    scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
    await scene.calls()
    assert scene.status()["conditions"][0]["type"] == "Running"
    scene.pod("Failed" if exit_code else "Succeeded", terminated=ended(exit_code, TUNED.encode().decode()))
    scene.job_says("Failed" if exit_code else "Complete")
    await scene.calls()
    assert scene.status()["conditions"][0]["type"] == ("Failed" if exit_code else "Succeeded")
    assert scene.status().get("token") == (None if exit_code else "<red-teapot>")
    assert len(scene.cache) == 0


async def test_a_status_that_the_schema_refuses_ends_it_once_and_says_so(scene: Scene) -> None:
    """A bug of ours, acted by a schema that takes less than the one that we wrote for."""
    await scene.calls()
    scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
    properties = scene.server.status_schema["properties"] | {"jobRef": {"type": "string"}}
    scene.server.status_schema = {"type": "object", "properties": properties}
    assert (await scene.calls()).count(f"PUT {SUBJECT}/status") >= 2
    assert scene.status()["conditions"][0]["reason"] == "ResultInvalid"
    assert ".jobRef is dict" in scene.status()["failure"]["message"]
    scene.cache.invalidate(KEY)
    assert f"PUT {SUBJECT}/status" not in await scene.calls()
