"""A kind that the operator does not have is reconciled by the engine as it is, once it implements `Lifecycle`."""

# ruff: noqa: ARG002 - a protocol has more arguments than one kind needs

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from api_stub import ApiStub
from given import NAMESPACE, NOW
from likeness_api.field import StatusModel
from likeness_api.personalization import Waiting
from likeness_operator.engine.decision import CreateJob, Decision, PatchJob, Question, Rule, Unwatch
from likeness_operator.engine.key import Key
from likeness_operator.engine.lifecycle import Lifecycle, Snapshot, Stages, WatchedKind
from likeness_operator.engine.reconciler import Reconciler, ReconcileResult
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.event import EventContent, ObjectReference
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.resource import Resource

PATH = f"/apis/likeness.dev/v1alpha1/namespaces/{NAMESPACE}/greetings/hello"


class GreetingStatus(StatusModel):
    greeted: bool = False
    unwatched: bool | None = None


@dataclass(frozen=True)
class Greeting:
    """The observation: the object alone."""

    manifest: K8sObject
    profile: str | None = None

    @property
    def status(self) -> GreetingStatus:
        return GreetingStatus.model_validate(self.manifest.get("status", {}))


def not_greeted(o: Greeting) -> Decision[GreetingStatus] | None:
    if o.status.greeted:
        return None
    return Decision(status=GreetingStatus(greeted=True)) if o.profile else Decision(question=Question.PROFILE)


def greeted(o: Greeting) -> Decision[GreetingStatus]:
    return Decision() if o.status.unwatched else Decision(action=Unwatch())


class Greetings:
    rules: Sequence[Rule[Greeting]] = (not_greeted, greeted)
    trusts_cache = True
    most_writes = 3

    async def read(self, manifest: K8sObject) -> Snapshot:
        return Snapshot(manifest)

    def observe(self, snapshot: Snapshot) -> Greeting:
        return Greeting(snapshot.manifest)

    def with_object(self, observation: Greeting, manifest: K8sObject) -> Greeting:
        return replace(observation, manifest=manifest)

    def with_jobs(self, observation: Greeting, snapshot: Snapshot) -> Greeting:
        return observation

    def with_job_refusal(self, observation: Greeting, waiting: Waiting) -> Greeting:
        return observation

    async def answer(self, observation: Greeting, question: Question, *, fresh: bool) -> Greeting:
        return replace(observation, profile="sd15")

    async def confirm(self, observation: Greeting, action: CreateJob | PatchJob) -> None:
        pass

    def is_news(self, observation: Greeting, status: StatusModel) -> bool:
        return status != observation.status

    def report_job(self, observation: Greeting, job: Job) -> None:
        pass

    def refused_status(self, observation: Greeting, message: str) -> StatusModel:
        raise AssertionError(message)

    def report_status(self, observation: Greeting) -> EventContent | None:
        return EventContent("Normal", "Greeted", "Greet", "hello")

    def reference(self, observation: Greeting) -> ObjectReference:
        return ObjectReference("Greeting", NAMESPACE, "hello", "u", "1")


async def test_a_further_kind_needs_no_change_of_the_engine(server: ApiStub, api: ApiServer) -> None:
    kind = WatchedKind(
        resource=Resource("Greeting", "greetings"),
        owner_label="likeness.dev/greeting",
        is_done=lambda manifest: manifest.get("status", {}).get("unwatched") is True,
        profile_name=lambda _: None,
    )
    lifecycle: Lifecycle[Greeting] = Greetings()
    cache = WatchCache(WorkQueue(clock=lambda: 0.0), lambda: 0.0, {"Greeting": kind})
    reconciler = Reconciler(api, cache, {"Greeting": Stages(kind, lifecycle, lifecycle)}, "test", lambda: NOW)
    hello = server.put(PATH, {"metadata": {"name": "hello", "namespace": NAMESPACE}, "spec": {}})
    cache.saw_object("Greeting", hello, "ADDED")
    result = await reconciler.reconcile(Key("Greeting", NAMESPACE, "hello"))
    assert result == ReconcileResult(done=True)
    event = f"POST /apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"
    assert server.calls == [f"PUT {PATH}/status", event, f"PUT {PATH}/status"]
    assert server.objects[PATH]["status"] == {"greeted": True, "unwatched": True}
