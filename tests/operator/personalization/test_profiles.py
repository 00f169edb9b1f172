from __future__ import annotations

from api_stub import ApiStub
from given import PROFILE
from likeness_api.accept import Refusal
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.personalization.profile import Profile
from likeness_operator.personalization.profiles import PROFILE_KEPT_SECONDS, Profiles

SD15 = "/apis/likeness.dev/v1alpha1/tuningprofiles/sd15"


async def questions(api: ApiServer, wanted: str | None, moments: list[float]) -> list[Profile | Refusal]:
    """What is chosen at each of these moments, in seconds."""
    now = [0.0]
    profiles, chosen = Profiles(api, lambda: now[0]), []
    for now[0] in moments:
        chosen.append(await profiles.choose(wanted))
    return chosen


async def test_a_burst_asks_once(server: ApiStub, api: ApiServer) -> None:
    server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE})
    await questions(api, "sd15", [1.0, 2.0, 3.0])
    assert server.calls == [f"GET {SD15}"]


async def test_it_is_asked_for_again_after_a_moment(server: ApiStub, api: ApiServer) -> None:
    server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"default": True}})
    await questions(api, None, [0.0, PROFILE_KEPT_SECONDS + 1])
    assert len(server.calls) == 2


async def test_one_that_is_not_there_is_asked_for_each_time(server: ApiStub, api: ApiServer) -> None:
    chosen = await questions(api, "sd15", [0.0, 0.0])
    assert all(isinstance(one, Refusal) for one in chosen)
    assert len(server.calls) == 2
