"""Reports as pods send them, over HTTP, with the API server's word about their tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from api_stub import ApiStub
from given import NAME, NAMESPACE, SPEC, UID
from likeness_api.progress_report import PROGRESS_AUDIENCE
from likeness_operator.engine.key import Key
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.token_review import TokenReviews
from likeness_operator.personalization.facts import KIND
from likeness_operator.personalization.job import job_name
from likeness_operator.personalization.lifecycle import PERSONALIZATION
from likeness_operator.personalization.progress import ProgressTracker
from likeness_operator.personalization.progress_endpoint import LONGEST_REPORT_BYTES, progress_reports
from likeness_operator.reports_server import reports_application

KEY = Key(KIND, NAMESPACE, NAME)
POD_UID, JOB_UID = "pod-1", "job-1"


def metadata(name: str, uid: str, owner: str) -> K8sObject:
    return {
        "name": name,
        "namespace": NAMESPACE,
        "uid": uid,
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-23T12:00:00Z",
        "labels": {"likeness.dev/personalization": NAME},
        "ownerReferences": [{"uid": owner, "controller": True}],
    }


def of_pod(uid: str, namespace: str = NAMESPACE, audience: str = PROGRESS_AUDIENCE) -> K8sObject:
    extra = {"authentication.kubernetes.io/pod-uid": [uid]}
    user = {"username": f"system:serviceaccount:{namespace}:default", "extra": extra}
    return {"authenticated": True, "audiences": [audience], "user": user}


class Scene:
    """A Personalization whose pod runs, an operator that listens, an API server that knows some tokens."""

    def __init__(self, server: ApiStub, api: ApiServer) -> None:
        self.server, self.now, self.queue = server, 0.0, WorkQueue(clock=lambda: self.now)
        server.tokens |= {
            "good": of_pod(POD_UID),
            "other-pod": of_pod("pod-2"),
            "other-namespace": of_pod(POD_UID, "studio"),
            "for-the-api-server": of_pod(POD_UID, audience="https://kubernetes.default.svc"),
        }
        self.cache = WatchCache(self.queue, lambda: self.now, {KIND: PERSONALIZATION})
        self.tracker = ProgressTracker(self.cache, self.queue.add, lambda: self.now)
        self.served = reports_application(TokenReviews(api, lambda: self.now), [progress_reports(self.tracker)])
        self.client: aiohttp.ClientSession

    def watches_tell(self) -> None:
        self.cache.saw_object(KIND, {"metadata": metadata(NAME, UID, "none"), "spec": SPEC}, "ADDED")
        job = metadata(job_name(NAME, UID), JOB_UID, UID)
        self.cache.saw_job({"metadata": job, "spec": {"template": {"spec": {}}}}, "ADDED")
        for uid, owner in ((POD_UID, JOB_UID), ("pod-2", "some-job-else")):
            state = {"running": {"startedAt": "2026-11-23T12:00:00Z"}}
            status = {"phase": "Running", "containerStatuses": [{"name": "tuner", "state": state}]}
            self.cache.saw_pod({"metadata": metadata(uid, uid, owner), "spec": {}, "status": status}, "ADDED")

    async def post(self, token: str = "good", step: int = 5, **more: Any) -> int:  # noqa: S107
        self.now += 2.0
        report = {"personalization": NAME, "step": step, "totalSteps": 10} | more
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.client.post("/progress", json=report, headers=headers) as answer:
            return answer.status


@pytest.fixture
async def scene(server: ApiStub, api: ApiServer) -> AsyncIterator[Scene]:
    told = Scene(server, api)
    told.watches_tell()
    runner = web.AppRunner(told.served)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as told.client:
        yield told
    await runner.cleanup()


async def test_what_a_pod_reports_is_told_once_it_is_worth_a_write(scene: Scene) -> None:
    assert await scene.post(step=0) == 204
    assert scene.tracker.progress(KEY) is None
    scene.now += 60
    assert await scene.post(step=5) == 204
    told = scene.tracker.progress(KEY)
    assert told is not None
    assert (told.step, told.percent) == (5, 50)
    assert await asyncio.wait_for(scene.queue.get(), 1) == KEY


@pytest.mark.parametrize(
    ("token", "status"),
    [
        ("", 401),
        ("rubbish", 401),
        ("for-the-api-server", 401),
        ("other-pod", 403),
        ("other-namespace", 403),
    ],
)
async def test_nobody_but_its_own_pod_reports_for_it(scene: Scene, token: str, status: int) -> None:
    await scene.post(step=0)
    scene.now += 60
    assert await scene.post(token, step=9) == status
    assert scene.tracker.progress(KEY) is None


async def test_a_pod_reports_for_no_other_personalization(scene: Scene) -> None:
    assert await scene.post(personalization="blue-teapot") == 403


async def test_reports_that_follow_each_other_at_once_are_refused(scene: Scene) -> None:
    assert await scene.post() == 204
    scene.now -= 2.0
    assert await scene.post() == 429


@pytest.mark.parametrize(
    ("more", "status"),
    [({"step": 11}, 400), ({"more": "x" * 100}, 400), ({"more": "x" * LONGEST_REPORT_BYTES}, 413)],
    ids=["beyond the end", "unknown field", "too long"],
)
async def test_what_is_no_report_is_refused(scene: Scene, more: K8sObject, status: int) -> None:
    assert await scene.post(**more) == status


async def test_whose_token_is_none_has_its_body_left_unread(scene: Scene) -> None:
    assert await scene.post("rubbish", more="x" * LONGEST_REPORT_BYTES) == 401


async def test_a_pod_that_ended_is_told_no_more(scene: Scene) -> None:
    await scene.post(step=0)
    scene.now += 60
    await scene.post(step=5)
    ended = metadata(POD_UID, POD_UID, JOB_UID) | {"resourceVersion": "2"}
    scene.cache.saw_pod({"metadata": ended, "spec": {}, "status": {"phase": "Failed"}}, "MODIFIED")
    assert scene.tracker.progress(KEY) is None
