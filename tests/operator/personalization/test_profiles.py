from __future__ import annotations

import asyncio

import kopf

from api_stub import ApiStub
from given import PROFILE
from likeness_api.accept import Refusal
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.token_bucket import TokenBucket
from likeness_operator.personalization.profile import Profile
from likeness_operator.personalization.profiles import PROFILE_KEPT_SECONDS, Profiles

SD15 = "/apis/likeness.dev/v1alpha1/tuningprofiles/sd15"


async def questions(server: ApiStub, wanted: str | None, moments: list[float]) -> list[Profile | Refusal]:
    """What is chosen at each of these moments, in seconds."""
    async with server.serving():
        api = ApiServer(lambda: kopf.ConnectionInfo(server=server.url), TokenBucket(1000, 1000, lambda: 0.0))
        now = [0.0]
        profiles, chosen = Profiles(api, lambda: now[0]), []
        for now[0] in moments:
            chosen.append(await profiles.choose(wanted))
        await api.close()
        return chosen


def test_a_burst_asks_once() -> None:
    server = ApiStub()
    server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE})
    asyncio.run(questions(server, "sd15", [1.0, 2.0, 3.0]))
    assert server.calls == [f"GET {SD15}"]


def test_it_is_asked_for_again_after_a_moment() -> None:
    server = ApiStub()
    server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"default": True}})
    asyncio.run(questions(server, None, [0.0, PROFILE_KEPT_SECONDS + 1]))
    assert len(server.calls) == 2


def test_one_that_is_not_there_is_asked_for_each_time() -> None:
    server = ApiStub()
    chosen = asyncio.run(questions(server, "sd15", [0.0, 0.0]))
    assert all(isinstance(one, Refusal) for one in chosen)
    assert len(server.calls) == 2
