"""Reports as workers send them, over HTTP, with the API server's word about their tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.operator.batch.batch_given import BATCH, BATCH_UID, a_batch, a_manifest, a_status, built, finished

from api_stub import ApiStub
from given import NAMESPACE, NOW
from likeness_api.field import timestamp
from likeness_api.personalization_batch import FailureSample, PassProgress, PersonalizationBatchStatus, Shards
from likeness_api.progress_report import PROGRESS_AUDIENCE
from likeness_api.shard_report import MOST_HELD, ShardAnswer, ShardReport
from likeness_operator.batch.facts import BATCH_KIND, read_batch
from likeness_operator.batch.job import JobPlace, Role
from likeness_operator.batch.lifecycle import PERSONALIZATION_BATCH
from likeness_operator.batch.shard_ledger import LISTEN_SECONDS, ShardLedger
from likeness_operator.batch.shard_ledgers import NUMBERS_SECONDS, ShardLedgers, Unheard
from likeness_operator.batch.shards_endpoint import LONGEST_SHARD_REPORT_BYTES, shard_reports
from likeness_operator.engine.key import Key
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.token_review import TokenReviews
from likeness_operator.reports_server import reports_application

KEY = Key(BATCH_KIND, NAMESPACE, BATCH)


def of_pod(uid: str, namespace: str = NAMESPACE, audience: str = PROGRESS_AUDIENCE) -> K8sObject:
    extra = {"authentication.kubernetes.io/pod-uid": [uid]}
    user = {"username": f"system:serviceaccount:{namespace}:default", "extra": extra}
    return {"authenticated": True, "audiences": [audience], "user": user}


class Scene:
    """A batch with two workers, an operator that listens, an API server that knows some tokens."""

    def __init__(self, server: ApiStub, api: ApiServer) -> None:
        self.now, self.version = 0.0, 100
        self.looks: list[Key] = []
        """What is to be reconciled because of a report."""
        server.tokens |= {
            "first": of_pod("pod-0"),
            "second": of_pod("pod-1"),
            "stranger": of_pod("pod-of-stranger"),
            "nobody": of_pod("pod-77"),
            "other-namespace": of_pod("pod-0", "studio"),
            "for-the-api-server": of_pod("pod-0", audience="https://kubernetes.default.svc"),
        }
        self.cache = WatchCache(
            WorkQueue(clock=lambda: self.now), lambda: self.now, {BATCH_KIND: PERSONALIZATION_BATCH}
        )
        self.ledgers = ShardLedgers(self.cache, self.looks.append, lambda: self.now, self.wall)
        self.served = reports_application(TokenReviews(api, lambda: self.now), [shard_reports(self.ledgers)])
        self.client: aiohttp.ClientSession

    def wall(self) -> datetime:
        return NOW + timedelta(seconds=self.now)

    def newer(self) -> str:
        self.version += 1
        return str(self.version)

    def job(self, place: JobPlace, uid: str, event: str = "ADDED", owner: str = BATCH_UID, **more: Any) -> None:
        manifest = built(place)
        manifest["metadata"] |= {"uid": uid, "resourceVersion": self.newer(), "creationTimestamp": timestamp(NOW)}
        manifest["metadata"]["ownerReferences"][0]["uid"] = owner
        self.cache.saw_job(manifest | more, event)

    def pod(self, uid: str, job_uid: str, phase: str = "Running", **metadata: Any) -> None:
        about = {
            "name": uid,
            "namespace": NAMESPACE,
            "uid": uid,
            "resourceVersion": self.newer(),
            "labels": {"likeness.dev/batch": BATCH},
            "ownerReferences": [{"uid": job_uid, "controller": True}],
        }
        state = {"running": {"startedAt": timestamp(NOW)}}
        status = {"phase": phase, "containerStatuses": [{"name": "tuner", "state": state}]}
        self.cache.saw_pod({"metadata": about | metadata, "spec": {"containers": []}, "status": status}, "MODIFIED")

    def watches_tell(self) -> None:
        self.cache.saw_object(BATCH_KIND, a_manifest(status=a_status()), "ADDED")
        for number in range(2):
            self.job(JobPlace(Role.WORKER, number), f"job-{number}")
            self.pod(f"pod-{number}", f"job-{number}")
        self.job(JobPlace(Role.WORKER, 7), "job-of-stranger", owner="another")
        self.pod("pod-of-stranger", "job-of-stranger")

    def looked_at(self, status: PersonalizationBatchStatus | None = None, *, wanted: int = 2) -> ShardLedger:
        """A reconciliation looks at the batch."""
        ledger = self.ledgers.observe(a_batch(status=status or a_status()))
        assert ledger is not None
        ledger.wanted = wanted
        return ledger

    def hands_out(self, **more: Any) -> ShardLedger:
        """Once it has listened for long enough."""
        ledger = self.looked_at(**more)
        self.now += LISTEN_SECONDS
        return ledger

    async def post(self, token: str = "first", **more: Any) -> tuple[int, str]:  # noqa: S107
        self.now += 2.0
        report = {"batch": BATCH, "revision": 1, "wants": True} | more
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.client.post("/shards", json=report, headers=headers) as answer:
            return answer.status, await answer.text()

    async def shard(self, token: str = "first", **more: Any) -> int | None:  # noqa: S107
        status, text = await self.post(token, **more)
        assert status == 200, text
        return ShardAnswer.decode(text.encode()).shard


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


async def test_workers_are_handed_shards_in_order(scene: Scene) -> None:
    scene.hands_out()
    assert [await scene.shard("first"), await scene.shard("second")] == [0, 1]


async def test_what_workers_report_is_counted(scene: Scene) -> None:
    ledger = scene.hands_out()
    await scene.shard()
    await scene.shard(holds=[{"shard": 0, "subjects": 25, "succeeded": 20, "failed": 2}])
    reported = scene.ledgers.reported(ledger)
    assert (reported.succeeded, reported.failed, reported.running, reported.shards_left) == (20, 2, 3, 4)
    assert (reported.shards, reported.seconds_since_progress) == (Shards(total=4), 0.0)
    scene.now += 7
    assert scene.ledgers.reported(ledger).seconds_since_progress == 7


async def test_right_after_a_restart_nothing_is_handed_out(scene: Scene) -> None:
    assert (await scene.post())[0] == 503
    scene.looked_at()
    assert await scene.shard() is None
    scene.now += LISTEN_SECONDS
    assert await scene.shard() == 0


async def test_a_pass_that_was_begun_here_is_handed_out_at_once(scene: Scene) -> None:
    scene.ledgers.begun_here(a_batch(), 0)
    scene.looked_at()
    assert await scene.shard() == 0


async def test_a_batch_that_was_not_looked_at_yet_is_looked_at_for_a_report(scene: Scene) -> None:
    assert (await scene.post())[0] == 503
    assert scene.looks == [KEY]


async def test_a_batch_is_looked_at_at_once_when_its_last_shard_is_done(scene: Scene) -> None:
    scene.hands_out(status=a_status(shards=Shards(total=4, done="0-2")))
    await scene.shard(holds=[{"shard": 3}])
    assert scene.looks == []
    for _ in range(2):
        await scene.shard(holds=[finished(3).to_json()])
    assert scene.looks == [KEY]


@pytest.mark.parametrize(
    ("token", "status"),
    [
        ("", 401),
        ("rubbish", 401),
        ("for-the-api-server", 401),
        ("nobody", 403),
        ("stranger", 403),
        ("other-namespace", 403),
    ],
)
async def test_nobody_but_its_own_workers_report_for_it(scene: Scene, token: str, status: int) -> None:
    ledger = scene.hands_out()
    assert (await scene.post(token, holds=[finished(0).to_json()]))[0] == status
    assert ledger.left == 4


async def test_a_worker_reports_for_no_other_batch(scene: Scene) -> None:
    scene.hands_out()
    assert (await scene.post(batch="spring"))[0] == 403


@pytest.mark.parametrize(
    ("more", "status"),
    [
        pytest.param({"holds": [{"shard": 0, "succeeded": 1001}]}, 400, id="more than a shard has"),
        pytest.param({"holds": [{"shard": n} for n in range(MOST_HELD + 1)]}, 400, id="more than one holds"),
        pytest.param({"holds": [{"shard": -1}]}, 400, id="no shard"),
        pytest.param({"revision": 0}, 400, id="no revision"),
        pytest.param({"more": "x" * 100}, 400, id="unknown field"),
        pytest.param({"batch": "../other"}, 400, id="no name"),
        pytest.param({"more": "x" * LONGEST_SHARD_REPORT_BYTES}, 413, id="too long"),
    ],
)
async def test_what_is_no_report_is_refused(scene: Scene, more: K8sObject, status: int) -> None:
    scene.hands_out()
    assert (await scene.post(**more))[0] == status


async def test_a_report_that_is_refused_says_why(scene: Scene) -> None:
    scene.hands_out()
    assert "revision" in (await scene.post(revision=0))[1]


def longest_report(sample_id: str, letter: str) -> str:
    """As a worker sends it: two finished shards, with all of their samples, and two that it holds."""
    failures = [
        FailureSample(reason=f"OutOfDeviceMemory{number}", count=1, id=sample_id, message=letter * 512)
        for number in range(10)
    ]
    done = [finished(99_000 + shard, 990, 10, subjects=1000, seconds=1e5, failures=failures) for shard in range(2)]
    held = [
        finished(99_002 + shard, 990, 10, subjects=1000).model_copy(update={"finished": False}) for shard in range(2)
    ]
    return ShardReport(batch="x" * 63, revision=10**9, holds=[*done, *held], wants=True).encode()


def test_the_longest_report_of_a_worker_is_taken() -> None:
    assert len(longest_report("SKU_12345", "x").encode()) <= LONGEST_SHARD_REPORT_BYTES


def test_the_longest_report_of_a_worker_is_taken_in_any_script() -> None:
    assert len(longest_report("编" * 85, "像").encode()) <= LONGEST_SHARD_REPORT_BYTES


async def test_whose_token_is_none_has_its_body_left_unread(scene: Scene) -> None:
    assert (await scene.post("rubbish", more="x" * LONGEST_SHARD_REPORT_BYTES))[0] == 401


async def test_what_a_pod_held_that_ended_is_free_at_once(scene: Scene) -> None:
    scene.hands_out()
    assert [await scene.shard("first"), await scene.shard("second")] == [0, 1]
    scene.pod("pod-0", "job-0", "Failed")
    assert await scene.shard("second") == 0


async def test_a_pod_that_is_being_deleted_works_until_its_grace_period_is_over(scene: Scene) -> None:
    scene.hands_out(status=a_status(shards=Shards(total=20)))
    assert [await scene.shard("first"), await scene.shard("second")] == [0, 1]
    scene.pod("pod-0", "job-0", deletionTimestamp=timestamp(scene.wall() + timedelta(seconds=30)))
    assert await scene.shard("second", holds=[{"shard": 1}]) == 2
    scene.now += 30
    assert await scene.shard("second", holds=[{"shard": 1}, {"shard": 2}]) == 0


async def test_a_worker_is_released_where_there_are_enough_older_ones(scene: Scene) -> None:
    scene.hands_out(wanted=1)
    _, older = await scene.post("first")
    _, newer = await scene.post("second")
    assert [ShardAnswer.decode(text.encode()).release for text in (older, newer)] == [False, True]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}, id="ended"),
        pytest.param({"spec": {"suspend": True, "template": {"spec": {}}}}, id="not admitted"),
    ],
)
async def test_older_ones_that_do_not_work_are_no_reason_to_release_one(scene: Scene, more: K8sObject) -> None:
    scene.job(JobPlace(Role.WORKER, 0), "job-0", "MODIFIED", **more)
    scene.hands_out(wanted=1)
    assert await scene.shard("second") == 0


async def test_planners_and_collectors_are_no_workers_that_are_older(scene: Scene) -> None:
    scene.job(JobPlace(Role.PLANNER, 0), "job-of-planner")
    scene.job(JobPlace(Role.COLLECTOR, 0), "job-of-collector")
    scene.hands_out(wanted=1)
    assert await scene.shard("first") == 0


async def test_a_former_revisions_worker_is_released(scene: Scene) -> None:
    scene.hands_out(status=a_status(revision=1))
    _, text = await scene.post(revision=3)
    answer = ShardAnswer.decode(text.encode())
    assert (answer.release, answer.shard) == (True, None)


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        pytest.param({}, a_status(shards=None), id="between two passes"),
        pytest.param({"suspend": True}, a_status(), id="suspended"),
        pytest.param({"workers": 7}, a_status(), id="unreadable"),
        pytest.param({"revision": 2}, a_status(), id="new revision"),
    ],
)
async def test_a_batch_that_hands_out_nothing_answers_that(
    scene: Scene, spec: K8sObject, status: PersonalizationBatchStatus
) -> None:
    scene.hands_out()
    assert scene.ledgers.observe(a_batch(spec, status)) is None
    assert (await scene.post())[0] == 503


async def test_another_pass_has_another_ledger(scene: Scene) -> None:
    first = scene.hands_out()
    second = scene.looked_at(a_status(passes=[PassProgress(steps=6), PassProgress(steps=12)]))
    assert (first.pass_index, second.pass_index) == (0, 1)
    assert scene.looked_at(a_status(passes=[PassProgress(steps=6), PassProgress(steps=12)])) is second


async def test_a_namesake_has_another_ledger(scene: Scene) -> None:
    first = scene.hands_out()
    assert scene.ledgers.observe(a_batch(status=a_status(), uid="another")) is not first


async def test_what_results_showed_to_be_undone_is_handed_out_again(scene: Scene) -> None:
    done = Shards(total=4, done="0-3", succeeded=97, failed=3)
    scene.hands_out(status=a_status(shards=done))
    assert await scene.shard() is None
    scene.looked_at(a_status(shards=done.model_copy(update={"done": "0,2-3"}), collections=1))
    assert await scene.shard() == 1


async def test_numbers_are_written_seldom(scene: Scene) -> None:
    assert scene.ledgers.may_write(KEY)
    scene.ledgers.wrote(KEY)
    scene.now += NUMBERS_SECONDS - 1
    assert not scene.ledgers.may_write(KEY)
    scene.now += 1
    assert scene.ledgers.may_write(KEY)


async def test_nothing_is_kept_of_a_batch_that_is_gone(scene: Scene) -> None:
    scene.hands_out()
    scene.ledgers.wrote(KEY)
    assert scene.ledgers.working() == 1
    scene.cache.saw_object(BATCH_KIND, a_manifest(status=a_status(), resourceVersion="999"), "DELETED")
    assert scene.ledgers.working() == 0
    assert scene.ledgers.may_write(KEY)
    assert (await scene.post())[0] == 403


async def test_the_metrics_add_up_all_batches(scene: Scene) -> None:
    ledger = scene.hands_out()
    assert (scene.ledgers.busy_workers(), scene.ledgers.subjects_per_hour(), scene.ledgers.behind()) == (0, 0, 0)
    await scene.shard(holds=[{"shard": 0, "subjects": 500}])
    scene.now += 98
    await scene.shard(holds=[{"shard": 0, "subjects": 500, "succeeded": 10}], wants=False)
    ledger.late = True
    assert (scene.ledgers.busy_workers(), scene.ledgers.behind()) == (1, 1)
    assert scene.ledgers.subjects_per_hour() == pytest.approx(360)


async def test_a_report_from_memory_is_what_the_endpoint_answers(scene: Scene) -> None:
    report = ShardReport(batch=BATCH, revision=1, wants=True)
    assert scene.ledgers.report(KEY, "pod-0", report) is Unheard.NOT_YET
    assert scene.ledgers.report(KEY, "pod-77", report) is Unheard.UNKNOWN_POD


async def test_a_finished_batch_hands_out_nothing(scene: Scene) -> None:
    end = {"type": "Succeeded", "status": "True", "reason": "Finished"}
    manifest = a_manifest(status=a_status())
    manifest["status"]["conditions"] = [end]
    assert scene.ledgers.observe(read_batch(manifest)) is None
