from __future__ import annotations

import asyncio

import kopf
import pytest

from api_stub import ApiStub
from given import NOW
from likeness_operator.kubernetes import lease as module
from likeness_operator.kubernetes.api_error import UnavailableError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.lease import (
    DURATION_SECONDS,
    RENEW_SECONDS,
    Lease,
    LeaseLostError,
    LeaseName,
    leading,
)
from likeness_operator.kubernetes.token_bucket import TokenBucket

PATH = "/apis/coordination.k8s.io/v1/namespaces/system/leases/operator"
A_JOB = {"metadata": {"name": "j", "namespace": "shop"}}


class Scene:
    """Two operators, `a` and `b`, at a moment that the test sets."""

    def __init__(self, server: ApiStub, api: ApiServer) -> None:
        self.server, self.moment = server, 100.0
        self.a, self.b = (
            Lease(api, LeaseName("system", "operator"), name, lambda: self.moment, lambda: NOW) for name in "ab"
        )

    def log_in(self) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=self.server.url)

    def holder(self) -> str:
        return str(self.server.objects[PATH]["spec"]["holderIdentity"])


@pytest.fixture
def scene(server: ApiStub, api: ApiServer) -> Scene:
    return Scene(server, api)


async def test_the_first_one_gets_it_and_the_second_one_does_not(scene: Scene) -> None:
    assert await scene.a.try_once()
    assert not await scene.b.try_once()
    assert (scene.a.held(), scene.b.held(), scene.holder()) == (True, False, "a")


async def test_a_leader_that_renews_keeps_it(scene: Scene) -> None:
    for _ in range(20):
        assert await scene.a.try_once()
        assert not await scene.b.try_once()
        scene.moment += 2


async def test_a_leader_that_falls_silent_stops_before_another_one_starts(scene: Scene) -> None:
    await scene.a.try_once()
    both, taken_after = [], None
    for second in range(30):
        if await scene.b.try_once() and taken_after is None:
            taken_after = second
        both.append((scene.a.held(), scene.b.held()))
        scene.moment += 1
    assert (True, True) not in both
    assert taken_after == DURATION_SECONDS + 1
    assert scene.server.objects[PATH]["spec"]["leaseTransitions"] == 1


async def test_the_time_of_day_of_another_machine_decides_nothing(scene: Scene) -> None:
    await scene.a.try_once()
    scene.server.objects[PATH]["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"
    assert not await scene.b.try_once()


async def test_one_that_is_given_up_is_had_at_once(scene: Scene) -> None:
    await scene.a.try_once()
    await scene.a.release()
    assert await scene.b.try_once()
    assert not scene.a.held()


async def test_an_old_leader_does_not_give_up_what_is_anothers(scene: Scene) -> None:
    await scene.a.try_once()
    scene.server.put(PATH, scene.server.objects[PATH] | {"spec": {"holderIdentity": "b"}})
    await scene.a.release()
    assert scene.holder() == "b"


async def test_of_two_that_reach_for_it_at_once_one_gets_it(scene: Scene) -> None:
    assert sorted(await asyncio.gather(scene.a.try_once(), scene.b.try_once())) == [False, True]


async def test_without_the_lease_nothing_is_written(scene: Scene) -> None:
    fenced = ApiServer(scene.log_in, TokenBucket(1000, 1000, lambda: 0.0), may_write=scene.a.held)
    await scene.a.try_once()
    await fenced.create_job(A_JOB)
    scene.moment += RENEW_SECONDS + 1
    with pytest.raises(UnavailableError, match="not sent"):
        await fenced.create_job(A_JOB | {"metadata": {"name": "k", "namespace": "shop"}})
    await fenced.close()
    assert sum(call.startswith("POST /apis/batch") for call in scene.server.calls) == 1


async def test_the_work_of_a_leader_that_is_replaced_is_stopped(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0)
    cancelled = []

    async def lead() -> None:
        async with leading(scene.a, standing_by=lambda: None):
            scene.server.put(PATH, scene.server.objects[PATH] | {"spec": {"holderIdentity": "b"}})
            try:
                await asyncio.sleep(10)
            finally:
                cancelled.append(True)

    with pytest.raises(LeaseLostError, match="another one took it"):
        await lead()
    assert scene.holder() == "b"
    assert cancelled


async def test_a_standby_says_so_and_leads_when_its_turn_comes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0)

    await scene.b.try_once()
    waited = []

    def waits() -> None:
        waited.append(True)
        scene.moment += 10

    async with leading(scene.a, waits):
        assert scene.holder() == "a"
    assert len(waited) == 2
    assert scene.holder() == ""
