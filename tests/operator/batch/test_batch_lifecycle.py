"""A batch from nothing to its end, with an API server in memory, the engine, and workers that report."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.operator.batch.batch_given import (
    BATCH,
    BATCH_SPEC,
    BATCH_UID,
    COLLECTED,
    PLANNED,
    PLANNER,
    URL,
    a_worker,
    built,
    finished,
    on,
    reconcile,
)

from api_stub import ApiStub
from given import NAMESPACE, NOW, PROFILE
from likeness_api.batch_result import BatchResult
from likeness_api.crd import KINDS, manifest
from likeness_api.field import timestamp
from likeness_api.personalization_batch import Counts, PassProgress, PersonalizationBatchStatus, Shards
from likeness_api.reason import Reason
from likeness_api.shard_report import ShardAnswer, ShardProgress, ShardReport
from likeness_operator.batch.facts import BATCH_KIND, batch_profile_name, read_batch
from likeness_operator.batch.job import Role, place_of
from likeness_operator.batch.lifecycle import PERSONALIZATION_BATCH, BatchLifecycle
from likeness_operator.batch.observation import BatchObservation
from likeness_operator.batch.shard_ledger import IDLE_WORKER_SECONDS, LISTEN_SECONDS
from likeness_operator.batch.shard_ledgers import NUMBERS_SECONDS, ShardLedgers
from likeness_operator.engine.key import Key
from likeness_operator.engine.lifecycle import Snapshot, Stages
from likeness_operator.engine.reconciler import Reconciler, ReconcileResult
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.erasure.lifecycle import ErasureLifecycle
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.job import read_job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.label import FINALIZER
from likeness_operator.personalization.profiles import Profiles
from schema import complaints

KEY = Key(BATCH_KIND, NAMESPACE, BATCH)
OBJECT = f"/apis/likeness.dev/v1alpha1/namespaces/{NAMESPACE}/personalizationbatches/{BATCH}"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
EVENTS = f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"
(STATUS_SCHEMA,) = [
    version["schema"]["openAPIV3Schema"]["properties"]["status"]
    for kind in KINDS
    if kind.kind == "PersonalizationBatch"
    for version in manifest(kind)["spec"]["versions"]
]


class Scene:
    """A batch in an API server, and an operator that has heard of it."""

    def __init__(self, server: ApiStub, api: ApiServer) -> None:
        self.server, self.api, self.seconds = server, api, 0.0
        server.put("/apis/likeness.dev/v1alpha1/tuningprofiles/sd15", {"metadata": {"name": "sd15"}, "spec": PROFILE})
        self.operator_starts()

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def clock(self) -> float:
        return self.seconds

    def operator_starts(self) -> None:
        """It knows what the API server knows, and nothing else."""
        self.cache = WatchCache(WorkQueue(clock=self.clock), self.clock, {BATCH_KIND: PERSONALIZATION_BATCH})
        self.ledgers = ShardLedgers(self.cache, lambda _: None, self.clock, self.now)
        profiles = Profiles(self.api, self.clock)
        self.live = BatchLifecycle(self.api, profiles, self.ledgers, self.now, URL)
        erasure = ErasureLifecycle(self.api, profiles, "test", self.now, most_jobs=2020)
        stages = {BATCH_KIND: Stages(PERSONALIZATION_BATCH, self.live, erasure)}
        self.reconciler = Reconciler(self.api, self.cache, stages, "test", self.now)
        if OBJECT in self.server.objects:
            self.cache.saw_object(BATCH_KIND, self.server.objects[OBJECT], None)
        for path, event in ((JOBS, self.cache.saw_job), (PODS, self.cache.saw_pod)):
            for each in self.below(path):
                event(each, None)

    def below(self, path: str) -> list[K8sObject]:
        return [held for below, held in self.server.objects.items() if below.startswith(f"{path}/")]

    def created(self, **spec: Any) -> None:
        metadata = {"name": BATCH, "namespace": NAMESPACE, "uid": BATCH_UID, "generation": 1}
        batch = {"kind": BATCH_KIND, "metadata": metadata, "spec": BATCH_SPEC | spec}
        self.cache.saw_object(BATCH_KIND, self.server.put(OBJECT, batch), "ADDED")

    def edited(self, **spec: Any) -> None:
        held = self.server.objects[OBJECT]
        self.cache.saw_object(BATCH_KIND, self.server.put(OBJECT, held | {"spec": held["spec"] | spec}), "MODIFIED")

    async def looks(self) -> ReconcileResult:
        """One reconciliation; the watch tells what it has created."""
        result = await self.reconciler.reconcile(KEY)
        for job in self.below(JOBS):
            self.cache.saw_job(job, "MODIFIED")
        return result

    @property
    def status(self) -> PersonalizationBatchStatus:
        written = self.server.objects[OBJECT].get("status", {})
        assert complaints(written, STATUS_SCHEMA) == []
        return PersonalizationBatchStatus.model_validate(written)

    def state(self) -> tuple[str, str]:
        """The State column, and why."""
        true = [each for each in self.status.conditions if each.status == "True"]
        return true[0].type, true[0].reason

    def jobs(self) -> list[str]:
        """What there is, as the ends of their names."""
        return [held["metadata"]["name"].rpartition("-")[2] for held in self.below(JOBS)]

    def job(self, place: str) -> K8sObject:
        (found,) = [held for held in self.below(JOBS) if held["metadata"]["name"].endswith(f"-{place}")]
        return found

    def pod(self, place: str, phase: str = "Running", message: BatchResult | None = None, code: int = 0) -> None:
        """The pod of a Job as it is now."""
        job = self.job(place)["metadata"]
        metadata = {
            "name": f"{job['name']}-x",
            "namespace": NAMESPACE,
            "uid": f"pod of {place}",
            "labels": job["labels"],
            "ownerReferences": [{"uid": job["uid"], "controller": True}],
        }
        text = message.encode().decode() if message else ""
        ended = {"exitCode": code, "message": text, "finishedAt": timestamp(self.now())}
        state = {"running": {"startedAt": timestamp(NOW)}} if phase == "Running" else {"terminated": ended}
        status = {"phase": phase, "containerStatuses": [{"name": "tuner", "state": state}]}
        pod = {"metadata": metadata, "spec": {"containers": [{"name": "tuner"}]}, "status": status}
        self.cache.saw_pod(self.server.put(f"{PODS}/{metadata['name']}", pod), "MODIFIED")

    def ends(self, place: str, message: BatchResult | None = None, code: int = 0) -> None:
        """A Job's pod ends, and with it the Job."""
        self.pod(place, "Failed" if code else "Succeeded", message, code)
        kind = "Failed" if code else "Complete"
        job = self.job(place)
        reason = {"reason": "BackoffLimitExceeded"} if code else {}
        status = {"conditions": [{"type": kind, "status": "True"} | reason]}
        self.cache.saw_job(self.server.put(f"{JOBS}/{job['metadata']['name']}", job | {"status": status}), "MODIFIED")

    def says(self, place: str, *holds: ShardProgress, **more: Any) -> ShardAnswer:
        """What the worker in that Job's pod reports, which wants one more."""
        report = ShardReport(batch=BATCH, holds=list(holds), **{"revision": 1, "wants": True} | more)
        answer = self.ledgers.report(KEY, f"pod of {place}", report)
        assert isinstance(answer, ShardAnswer), answer
        return answer

    async def works(self, workers: int = 1, shards: int = 4, **spec: Any) -> None:
        """Its source is read, and workers have started."""
        self.created(workers={"min": 1, "max": workers}, **spec)
        await self.looks()
        self.ends("p0", PLANNED.model_copy(update={"shards": shards}))
        await self.looks()
        for number in range(workers):
            self.pod(f"w{number}")
        await self.looks()


@pytest.fixture
def scene(server: ApiStub, api: ApiServer) -> Scene:
    return Scene(server, api)


async def test_a_batch_from_nothing_to_its_end(scene: Scene) -> None:
    scene.created()
    await scene.looks()
    assert (scene.state(), scene.jobs()) == (("Accepted", "ProfileMatched"), ["p0"])

    scene.pod("p0")
    await scene.looks()
    assert scene.state() == ("Running", "ReadingSource")

    scene.ends("p0", PLANNED)
    await scene.looks()
    assert scene.status.counts == Counts(total=100, pending=100)
    assert scene.jobs() == ["p0", "w0", "w1", "w2", "w3"]

    for number in range(4):
        scene.pod(f"w{number}")
    await scene.looks()
    assert (scene.state(), scene.status.workers) == (("Running", "Working"), 4)

    assert [scene.says(f"w{number}").shard for number in range(4)] == [0, 1, 2, 3]
    for number in range(4):
        scene.says(f"w{number}", finished(number, 24, 1, subjects=25))
    assert all(scene.says(f"w{number}").release for number in range(4))
    await scene.looks()
    assert scene.jobs()[5:] == ["c0"]

    for number in range(4):
        scene.ends(f"w{number}", BatchResult(reason=Reason.NOTHING_LEFT, message="released"))
    scene.pod("c0")
    await scene.looks()
    assert (scene.state(), scene.jobs()[5:]) == (("Running", "Collecting"), ["c0"])
    assert scene.status.shards == Shards(total=4, done="0-3", succeeded=96, failed=4)

    scene.ends("c0", COLLECTED)
    result = await scene.looks()
    assert (scene.state(), result.done) == (("Succeeded", "Finished"), True)
    assert scene.status.counts == Counts(total=100, succeeded=97, failed=3)
    assert [event["reason"] for event in scene.below(EVENTS)] == ["Finished"]
    assert len(scene.cache) == 0


async def test_two_passes_have_the_same_workers(scene: Scene) -> None:
    await scene.works(passes=[6, 12], shards=2)
    assert scene.says("w0").shard == 0
    assert scene.says("w0", finished(0, 50)).shard == 1
    answer = scene.says("w0", finished(1, 49, 1))
    assert not answer.release
    await scene.looks()
    assert scene.status.shards is None
    assert scene.jobs() == ["p0", "w0", "p1"]
    scene.ends("p1", BatchResult(reason=Reason.PLANNED, message="", planned=99, shards=3))
    await scene.looks()
    assert scene.status.passes == [PassProgress(steps=6, done=100), PassProgress(steps=12)]
    answer = scene.says("w0", pass_index=0)
    assert (answer.pass_index, answer.shard) == (1, 0)  # at once, for the pass was begun here
    assert scene.jobs() == ["p0", "w0", "p1"]
    for shard in range(3):
        answer = scene.says("w0", finished(shard, 33), pass_index=1)
    assert answer.release
    await scene.looks()
    assert scene.jobs()[-1] == "c0"
    scene.ends("c0", COLLECTED)
    await scene.looks()
    assert scene.state() == ("Succeeded", "Finished")


async def test_the_finalizer_comes_before_the_first_job(scene: Scene) -> None:
    scene.created(deletionPolicy="Delete")
    await scene.looks()
    writes = [call.removeprefix("PATCH ").removeprefix("POST ") for call in scene.server.calls if "GET" not in call]
    assert writes.index(OBJECT) < writes.index(JOBS)
    assert scene.server.objects[OBJECT]["metadata"]["finalizers"] == [FINALIZER]


async def test_after_its_restart_the_operator_listens_before_it_hands_out_anything(scene: Scene) -> None:
    await scene.works(workers=2)
    assert [scene.says("w0").shard, scene.says("w1").shard] == [0, 1]
    scene.seconds += NUMBERS_SECONDS
    scene.says("w0", finished(0, 25), wants=False)
    await scene.looks()
    assert scene.status.shards == Shards(total=4, done="0", succeeded=25)
    scene.operator_starts()
    await scene.looks()
    assert scene.says("w0").shard is None
    scene.says("w1", on(1, 5))
    scene.seconds += LISTEN_SECONDS
    assert [scene.says("w0").shard, scene.says("w1", on(1, 6)).shard] == [2, None]


async def test_numbers_alone_are_written_twice_a_minute_at_most(scene: Scene) -> None:
    await scene.works()
    scene.says("w0")
    scene.says("w0", on(0, 5))
    before = scene.status
    result = await scene.looks()
    assert (scene.status, result.requeue_after_seconds) == (before, NUMBERS_SECONDS)
    scene.seconds += NUMBERS_SECONDS
    await scene.looks()
    assert scene.status.counts.succeeded == 5


async def test_a_worker_that_crashes_is_replaced_and_its_shard_handed_on(scene: Scene) -> None:
    await scene.works(workers=2)
    assert scene.says("w0").shard == 0
    scene.ends("w0", code=1)
    await scene.looks()
    assert scene.jobs() == ["p0", "w0", "w1", "w2"]
    assert scene.says("w1").shard == 0


async def test_five_crashes_open_the_circuit_breaker_and_a_worker_tries_again_later(scene: Scene) -> None:
    await scene.works()
    for number in range(5):
        scene.seconds += 10
        scene.ends(f"w{number}", BatchResult(reason=Reason.STORAGE_UNAVAILABLE, message="no answer"), code=20)
        result = await scene.looks()
    assert scene.state() == ("Suspended", "WorkersFailing")
    assert result.requeue_after_seconds == 300
    scene.seconds += 300
    await scene.looks()
    assert scene.jobs()[-1] == "w5"
    scene.pod("w5")
    await scene.looks()
    assert scene.state() == ("Running", "Working")
    assert scene.says("w5").shard == 0
    scene.says("w5", on(0, 1))
    scene.ends("w5", code=1)
    await scene.looks()
    assert scene.jobs()[-1] == "w6"


async def test_a_suspended_batch_has_no_job_and_goes_on_where_it_was(scene: Scene) -> None:
    await scene.works()
    scene.says("w0")
    scene.says("w0", finished(0, 25))
    scene.seconds += NUMBERS_SECONDS
    await scene.looks()
    scene.edited(suspend=True)
    await scene.looks()
    assert (scene.state(), scene.jobs()) == (("Suspended", "Suspended"), [])
    scene.edited(suspend=False)
    await scene.looks()
    assert scene.jobs() == ["w0"]
    assert scene.status.shards == Shards(total=4, done="0", succeeded=25)


async def test_incomplete_results_send_their_shards_back_to_a_worker(scene: Scene) -> None:
    await scene.works(shards=2)
    scene.says("w0")
    scene.says("w0", finished(0, 50))
    scene.says("w0", finished(1, 50))
    scene.ends("w0", BatchResult(reason=Reason.NOTHING_LEFT, message="released"))
    await scene.looks()
    scene.ends("c0", BatchResult(reason=Reason.COLLECTED, message="", missing="1"))
    await scene.looks()
    assert scene.jobs() == ["p0", "w0", "c0", "w1"]
    scene.pod("w1")
    assert scene.says("w1").shard == 1
    scene.says("w1", finished(1, 50))
    await scene.looks()
    assert scene.jobs()[-1] == "c1"
    scene.ends("c1", COLLECTED)
    await scene.looks()
    assert scene.state() == ("Succeeded", "Finished")


async def test_a_new_revision_begins_anew(scene: Scene) -> None:
    await scene.works()
    scene.edited(revision=2)
    await scene.looks()
    assert (scene.status.revision, scene.status.plan) == (2, None)
    assert scene.jobs() == ["p0", "p0"]
    running = [held for held in scene.below(JOBS) if not held.get("status")]
    assert len(running) == 1


async def test_in_plan_mode_nothing_is_tuned_until_that_is_wanted(scene: Scene) -> None:
    scene.created(mode="Plan")
    await scene.looks()
    scene.ends("p0", PLANNED)
    result = await scene.looks()
    assert (scene.state(), scene.jobs(), result.done) == (("Succeeded", "Planned"), ["p0"], True)
    scene.edited(mode="Run")
    await scene.looks()
    assert scene.jobs() == ["p0", "w0", "w1", "w2", "w3"]


async def test_all_workers_are_created_in_one_reconciliation(scene: Scene) -> None:
    scene.created(workers={"min": 1, "max": 300})
    await scene.looks()
    scene.ends("p0", PLANNED.model_copy(update={"shards": 300}))
    await scene.looks()
    assert len(scene.jobs()) == 301


async def test_while_nothing_is_measured_one_worker_is_enough_to_be_done_in_time(scene: Scene) -> None:
    scene.created(completeBy=timestamp(NOW + timedelta(hours=8)))
    await scene.looks()
    scene.ends("p0", PLANNED)
    await scene.looks()
    assert scene.jobs() == ["p0", "w0"]


async def test_more_workers_come_where_one_would_be_late(scene: Scene) -> None:
    scene.created(workers={"min": 1, "max": 4}, completeBy=timestamp(NOW + timedelta(minutes=10)))
    await scene.looks()
    scene.ends("p0", PLANNED)
    await scene.looks()
    scene.pod("w0")
    scene.says("w0", on(0))
    scene.seconds += 200
    scene.says("w0", on(0, 10))
    await scene.looks()
    assert scene.jobs() == ["p0", "w0", "w1", "w2"]  # of the four shards it has two, one of them ahead
    track = next(each for each in scene.status.conditions if each.type == "OnTrack")
    assert (track.status, track.reason) == ("False", "Behind")
    assert scene.ledgers.behind() == 1


async def test_a_batch_that_is_deleted_ends_its_jobs(scene: Scene) -> None:
    await scene.works(workers=2, deletionPolicy="Delete")
    held = json.loads(json.dumps(scene.server.objects[OBJECT]))
    held["metadata"]["deletionTimestamp"] = timestamp(NOW)
    scene.cache.saw_object(BATCH_KIND, scene.server.put(OBJECT, held), "MODIFIED")
    await scene.looks()
    assert scene.jobs() == ["p0"]  # ended, and nothing more: pods could still publish


async def test_a_refused_status_ends_a_batch_with_what_was_taken(scene: Scene) -> None:
    await scene.works()
    observation = scene.live.observe(Snapshot(scene.server.objects[OBJECT]))
    status = scene.live.refused_status(observation, "status.shards.done: Too long")
    assert isinstance(status, PersonalizationBatchStatus)
    assert (status.conditions[0].type, status.conditions[0].reason) == ("Failed", "ResultInvalid")


def observed(scene: Scene, *jobs: K8sObject) -> BatchObservation:
    return scene.live.observe(Snapshot(scene.server.objects[OBJECT], tuple(map(read_job, jobs))))


async def test_jobs_of_other_owners_are_none_of_its_own(scene: Scene) -> None:
    await scene.works()
    foreign = json.loads(json.dumps(scene.job("w0")))
    foreign["metadata"]["ownerReferences"][0]["uid"] = "another"
    foreign["metadata"]["name"] = "another-w0"
    assert observed(scene, foreign).jobs == ()
    assert [each.name for each in observed(scene, scene.job("w0")).jobs] == [scene.job("w0")["metadata"]["name"]]


async def test_a_job_of_our_name_that_it_does_not_own_is_told(scene: Scene) -> None:
    await scene.works()
    foreign = json.loads(json.dumps(scene.job("w0")))
    foreign["metadata"]["ownerReferences"][0]["uid"] = "another"
    decision = reconcile(observed(scene, scene.job("p0"), foreign))
    assert decision.status is not None
    assert decision.status.waiting is not None
    assert decision.status.waiting.reason == Reason.JOB_NAME_TAKEN


async def test_one_that_was_released_for_want_of_work_is_not_replaced(scene: Scene) -> None:
    await scene.works(workers=2, shards=3)
    assert scene.says("w0").shard == 0
    assert scene.says("w0", on(0)).shard == 1  # the other one is still being started
    assert scene.says("w1").shard == 2
    scene.says("w1", finished(2))
    scene.seconds += IDLE_WORKER_SECONDS
    assert scene.says("w1").release
    scene.says("w0", on(0), on(1), wants=False)
    scene.ends("w1", BatchResult(reason=Reason.NOTHING_LEFT, message="released"))
    await scene.looks()
    assert scene.jobs() == ["p0", "w0", "w1"]


async def test_a_worker_cannot_report_so_that_nothing_is_reconciled_any_more(scene: Scene) -> None:
    await scene.works(shards=100_000)
    for shard in range(0, 40_000, 8):
        scene.says("w0", *(finished(shard + each, 1, subjects=1) for each in (0, 2, 4, 6)), wants=False)
    await scene.looks()


async def test_its_profile_is_the_one_in_its_template(scene: Scene) -> None:
    scene.created()
    assert batch_profile_name(scene.server.objects[OBJECT]) == "sd15"
    assert batch_profile_name({"spec": {"template": {"output": "s3://a"}}}) is None
    assert PERSONALIZATION_BATCH.profile_name(scene.server.objects[OBJECT]) == "sd15"


async def test_workers_of_the_revision_in_the_spec_are_known_by_their_names(scene: Scene) -> None:
    await scene.works()
    place = place_of(read_batch(scene.server.objects[OBJECT]), read_job(scene.job("w0")))
    assert place is not None
    assert place.role is Role.WORKER
    assert a_worker(0).name == scene.job("w0")["metadata"]["name"]


async def test_a_job_of_our_name_without_our_labels_is_told(scene: Scene) -> None:
    foreign = built(PLANNER)
    foreign["metadata"] |= {"labels": {}, "ownerReferences": []}
    scene.server.put(f"{JOBS}/{foreign['metadata']['name']}", foreign)
    scene.created()
    await scene.looks()
    assert scene.state() == ("Waiting", "JobNameTaken")


async def test_the_operators_restart_takes_no_worker_away(scene: Scene) -> None:
    scene.created(workers={"min": 1, "max": 4}, completeBy=timestamp(NOW + timedelta(minutes=30)))
    await scene.looks()
    scene.ends("p0", PLANNED.model_copy(update={"lines": 1000, "planned": 1000, "shards": 40}))
    await scene.looks()
    scene.pod("w0")
    scene.says("w0")
    for _ in range(20):
        scene.seconds += 5
        scene.says("w0", on(0, round(scene.seconds / 5), subjects=25))
    await scene.looks()
    for number in range(1, 4):
        scene.pod(f"w{number}")
        scene.says(f"w{number}")
    await scene.looks()
    assert (scene.status.workers_wanted, scene.status.workers) == (4, 4)
    scene.operator_starts()
    await scene.looks()
    for _ in range(3):
        scene.seconds += 2
        answers = [scene.says(f"w{number}", on(number, 20, subjects=25)) for number in range(4)]
        await scene.looks()
    assert not any(answer.release for answer in answers)


async def test_ends_before_the_operators_restart_are_not_held_against_anybody(scene: Scene) -> None:
    await scene.works()
    for number in range(5):
        scene.seconds += 10
        scene.ends(f"w{number}", code=1)
        await scene.looks()
    assert scene.state() == ("Suspended", "WorkersFailing")
    scene.seconds += 10
    scene.operator_starts()
    await scene.looks()
    assert scene.jobs()[-1] == "w5"
