"""What a pass asks the API server for, and what it does on what the watches have told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import kopf
import pytest

from api_stub import ApiStub
from given import NAME, NAMESPACE, NOW, PROFILE, SPEC, TUNED, UID, Manifest
from likeness_operator import metrics
from likeness_operator.api_error import AlreadyExists, Conflict
from likeness_operator.api_server import ApiServer
from likeness_operator.controller import Controller
from likeness_operator.job import job_name
from likeness_operator.profiles import Profiles
from likeness_operator.store import Store
from likeness_operator.token_bucket import TokenBucket
from likeness_operator.work_queue import Key, WorkQueue

KEY = Key(NAMESPACE, NAME)
SUBJECT = f"/apis/likeness.dev/v1alpha1/namespaces/{NAMESPACE}/personalizations/{NAME}"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
JOB = f"{JOBS}/{job_name(NAME, UID)}"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
WORKLOADS = f"/apis/kueue.x-k8s.io/v1beta1/namespaces/{NAMESPACE}/workloads"
SD15 = "/apis/likeness.dev/v1alpha1/tuningprofiles/sd15"


class Scene:
    """A Personalization in an API server, and a controller that has heard of it."""

    def __init__(self, server: ApiStub, api: ApiServer) -> None:
        self.server, self.api, self.moment = server, api, NOW
        self.store = Store(WorkQueue(), lambda: 0.0)
        self.controller = Controller(api, self.store, Profiles(api, lambda: 0.0), "test", lambda: self.moment)
        server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE})
        subject = {"metadata": {"name": NAME, "namespace": NAMESPACE, "uid": UID}, "spec": SPEC}
        self.store.saw_personalization(server.put(SUBJECT, subject), "ADDED")

    async def calls(self) -> list[str]:
        """What one pass asks for."""
        before = len(self.server.calls)
        await self.controller.look_at(KEY)
        return self.server.calls[before:]

    def status(self) -> Manifest:
        status: Manifest = self.server.objects[SUBJECT]["status"]
        return status

    def pod(self, phase: str, **state: Any) -> None:
        """The Job's pod as it is now; the watch tells."""
        owner = {"uid": self.server.objects[JOB]["metadata"]["uid"], "controller": True}
        labels = {"likeness.dev/personalization": NAME}
        metadata = {"name": "p", "namespace": NAMESPACE, "labels": labels, "ownerReferences": [owner]}
        status = {"phase": phase, "containerStatuses": [{"name": "tuner", "state": state}]}
        pod = self.server.put(f"{PODS}/p", {"metadata": metadata, "spec": {}, "status": status})
        self.store.saw_pod(pod, "MODIFIED")

    def job_says(self, condition: str) -> None:
        status = {"conditions": [{"type": condition, "status": "True", "reason": "BackoffLimitExceeded"}]}
        self.store.saw_job(self.server.put(JOB, self.server.objects[JOB] | {"status": status}), "MODIFIED")


def play(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        server = ApiStub()
        async with server.serving():
            api = ApiServer(lambda: kopf.ConnectionInfo(server=server.url), TokenBucket(1000, 1000, lambda: 0.0))
            try:
                await story(Scene(server, api))
            finally:
                await api.close()

    asyncio.run(run())


def ended(exit_code: int, message: str) -> Manifest:
    moment = "2026-11-23T12:00:30Z"
    return {"exitCode": exit_code, "message": message, "startedAt": moment, "finishedAt": moment}


def test_a_life_that_goes_well_takes_three_writes_and_two_reads() -> None:
    async def story(scene: Scene) -> None:
        assert await scene.calls() == [f"GET {SD15}", f"GET {SUBJECT}", f"POST {JOBS}"]
        scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
        assert await scene.calls() == [f"PUT {SUBJECT}/status"]
        scene.pod("Succeeded", terminated=ended(0, TUNED.encode().decode()))
        scene.job_says("SuccessCriteriaMet")
        assert await scene.calls() == [f"PUT {SUBJECT}/status"]
        assert scene.status()["conditions"][0]["type"] == "Succeeded"
        assert len(scene.store) == 0

    play(story)


def test_a_life_leaves_its_times_in_the_metrics() -> None:
    def counted() -> list[float]:
        names = ("seconds_to_job_count", "seconds_to_result_count", "tune_seconds_count", "tune_seconds_sum")
        return [metrics.REGISTRY.get_sample_value(f"likeness_{name}") or 0.0 for name in names]

    async def story(scene: Scene) -> None:
        before = counted()
        await scene.calls()
        scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
        await scene.calls()
        scene.moment += timedelta(seconds=31)
        scene.pod("Succeeded", terminated=ended(0, TUNED.encode().decode()))
        scene.job_says("Complete")
        await scene.calls()
        assert [after - earlier for after, earlier in zip(counted(), before, strict=True)] == [1, 1, 1, 30]

    play(story)


def test_a_failure_is_asked_for_before_it_is_told() -> None:
    async def story(scene: Scene) -> None:
        await scene.calls()
        scene.pod("Failed", terminated=ended(1, ""))
        scene.job_says("Failed")
        *asked, told, event = await scene.calls()
        assert asked == [f"GET {SUBJECT}", f"GET {JOB}", f"GET {PODS}"]
        assert told == f"PUT {SUBJECT}/status"
        assert event.startswith("POST /apis/events.k8s.io")

    play(story)


def test_a_job_that_only_seems_lost_is_not_held_against_anybody() -> None:
    async def story(scene: Scene) -> None:
        await scene.calls()
        scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
        await scene.calls()
        scene.store.saw_job(scene.server.objects[JOB], "DELETED")
        assert await scene.calls() == [f"GET {SUBJECT}", f"GET {JOB}", f"GET {PODS}"]
        assert "attempts" not in scene.status()

    play(story)


def test_a_job_that_is_lost_is_replaced_and_counted() -> None:
    async def story(scene: Scene) -> None:
        await scene.calls()
        scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
        await scene.calls()
        lost = scene.server.objects.pop(JOB)
        scene.store.saw_job(lost, "DELETED")
        assert f"POST {JOBS}" in await scene.calls()
        scene.moment += timedelta(minutes=1)
        await scene.calls()
        assert [attempt["reason"] for attempt in scene.status()["attempts"]] == ["JobDeleted"]

    play(story)


def test_a_job_without_a_pod_says_why_in_the_job_controllers_last_words() -> None:
    async def story(scene: Scene) -> None:
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

    play(story)


def test_kueue_is_asked_only_where_the_operator_may() -> None:
    async def story(scene: Scene) -> None:
        scene.server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"queueName": "gpus"}})
        await scene.calls()
        scene.moment += timedelta(seconds=20)
        assert await scene.calls() == [f"PUT {SUBJECT}/status"]
        assert scene.status()["waiting"]["reason"] == "Queued"
        scene.controller = Controller(
            scene.api, scene.store, Profiles(scene.api, lambda: 0.0), "test", lambda: scene.moment, kueue=True
        )
        assert await scene.calls() == [f"GET {WORKLOADS}"]  # 404: no Kueue in this cluster
        said = {"type": "QuotaReserved", "status": "False", "reason": "Inadmissible", "message": "no LocalQueue gpus"}
        scene.server.put(f"{WORKLOADS}/w", {"metadata": {"name": "w"}, "status": {"conditions": [said]}})
        assert await scene.calls() == [f"GET {WORKLOADS}", f"PUT {SUBJECT}/status"]
        assert scene.status()["waiting"]["reason"] == "Inadmissible"

    play(story)


def test_no_job_is_made_for_one_that_is_gone() -> None:
    async def story(scene: Scene) -> None:
        del scene.server.objects[SUBJECT]
        assert await scene.calls() == [f"GET {SD15}", f"GET {SUBJECT}"]
        assert len(scene.store) == 0

    play(story)


def test_no_job_is_made_for_one_that_was_suspended_unseen() -> None:
    async def story(scene: Scene) -> None:
        scene.server.put(SUBJECT, scene.server.objects[SUBJECT] | {"spec": SPEC | {"suspend": True}})
        assert f"POST {JOBS}" not in await scene.calls()
        assert scene.status()["conditions"][0]["type"] == "Suspended"

    play(story)


def test_a_job_that_is_there_already_is_found() -> None:
    async def story(scene: Scene) -> None:
        await scene.calls()
        scene.store.forget(KEY)
        subject = json.loads(json.dumps(scene.server.objects[SUBJECT]))
        scene.store.saw_personalization(subject, "ADDED")
        with pytest.raises(AlreadyExists):
            await scene.calls()
        scene.store.distrust(KEY)
        assert f"GET {JOB}" in await scene.calls()
        assert [path for path in scene.server.objects if path.startswith(JOBS)] == [JOB]

    play(story)


def test_a_status_on_an_old_version_is_refused() -> None:
    async def story(scene: Scene) -> None:
        await scene.calls()
        scene.pod("Running", running={"startedAt": "2026-11-23T12:00:01Z"})
        scene.server.put(SUBJECT, scene.server.objects[SUBJECT])
        with pytest.raises(Conflict):
            await scene.calls()

    play(story)
