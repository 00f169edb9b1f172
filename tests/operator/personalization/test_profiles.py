from __future__ import annotations

from typing import NoReturn

import pytest

from api_stub import ApiStub
from given import PROFILE
from likeness_api.accept import Refusal
from likeness_operator.kubernetes.api_error import RefusedError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.personalization.profile import Profile
from likeness_operator.personalization.profiles import (
    LABELS_KEPT_SECONDS,
    PROFILE_KEPT_SECONDS,
    REFUSING_LABELS_KEPT_SECONDS,
    Profiles,
)

SD15 = "/apis/likeness.dev/v1alpha1/tuningprofiles/sd15"


async def questions(api: ApiServer, wanted: str | None, moments: list[float]) -> list[Profile | Refusal]:
    """What is chosen at each of these moments, in seconds."""
    now = [0.0]
    profiles, chosen = Profiles(api, lambda: now[0]), []
    for now[0] in moments:
        chosen.append(await profiles.choose(wanted, "shop"))
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


NAMESPACE = "/api/v1/namespaces/shop"
SELECTED = {"selector": {"matchLabels": {"tier": "gold"}}}


def with_labels(server: ApiStub, **labels: str) -> None:
    server.put(NAMESPACE, {"metadata": {"name": "shop", "labels": labels}})


async def test_whom_a_profile_names_asks_nothing_more(server: ApiStub, api: ApiServer) -> None:
    server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"allowedNamespaces": {"names": ["shop"]}}})
    (found,) = await questions(api, "sd15", [0.0])
    assert isinstance(found, Profile)
    assert server.calls == [f"GET {SD15}"]


@pytest.mark.parametrize("allowed", [{}, {"names": ["studio"]}])
async def test_whom_it_does_not_name_it_does_not_admit(
    server: ApiStub, api: ApiServer, allowed: dict[str, object]
) -> None:
    server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"allowedNamespaces": allowed}})
    (refusal,) = await questions(api, "sd15", [0.0])
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "ProfileNotAllowed"
    assert "sd15 does not admit namespace shop" in refusal.message
    assert server.calls == [f"GET {SD15}"]


async def test_a_label_admits_once_it_is_there(server: ApiStub, api: ApiServer) -> None:
    server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"allowedNamespaces": SELECTED}})
    with_labels(server, tier="silver")
    now = [0.0]
    profiles = Profiles(api, lambda: now[0])
    assert isinstance(await profiles.choose("sd15", "shop"), Refusal)
    with_labels(server, tier="gold")
    now[0] = REFUSING_LABELS_KEPT_SECONDS + 1
    assert isinstance(await profiles.choose("sd15", "shop"), Profile)
    assert isinstance(await profiles.choose("sd15", None), Profile)


async def test_labels_that_admit_are_kept_for_a_while(server: ApiStub, api: ApiServer) -> None:
    server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"allowedNamespaces": SELECTED}})
    with_labels(server, tier="gold")
    await questions(api, "sd15", [0.0, 1.0, 4.0])
    assert server.calls.count(f"GET {NAMESPACE}") == 1
    await questions(api, "sd15", [0.0, LABELS_KEPT_SECONDS + 1])
    assert server.calls.count(f"GET {NAMESPACE}") == 3


async def test_without_the_right_to_read_labels_nobody_is_let_in(
    server: ApiStub, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forbidden(_name: str) -> NoReturn:
        raise RefusedError(403, "Forbidden", "namespaces is forbidden")

    server.put(SD15, {"metadata": {"name": "sd15"}, "spec": PROFILE | {"allowedNamespaces": SELECTED}})
    monkeypatch.setattr(api, "namespace_labels", forbidden)
    (refusal,) = await questions(api, "sd15", [0.0])
    assert isinstance(refusal, Refusal)
    assert "cannot read the namespace's labels" in refusal.message


async def test_the_default_one_is_one_of_those_that_admit(server: ApiStub, api: ApiServer) -> None:
    lists = {"shop": ["a", "b"], "studio": ["b"]}
    for name, namespaces in (("a", ["shop"]), ("b", ["shop", "studio"])):
        spec = PROFILE | {"default": True, "allowedNamespaces": {"names": namespaces}}
        server.put(f"/apis/likeness.dev/v1alpha1/tuningprofiles/{name}", {"metadata": {"name": name}, "spec": spec})
    profiles = Profiles(api, lambda: 0.0)
    chosen = await profiles.choose(None, "studio")
    assert isinstance(chosen, Profile)
    assert chosen.name == "b"
    both = await profiles.choose(None, "shop")
    assert isinstance(both, Refusal)
    assert ", ".join(lists["shop"]) in both.message
    nobody = await profiles.choose(None, "other")
    assert isinstance(nobody, Refusal)
    assert nobody.reason == "ProfileNotAllowed"
