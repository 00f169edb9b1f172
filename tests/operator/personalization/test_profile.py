from __future__ import annotations

import pytest

from given import PROFILE
from likeness_api.accept import Refusal
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.personalization.profile import Profile, candidates, only_one


def a_manifest(name: str, **spec: object) -> K8sObject:
    return {"metadata": {"name": name}, "spec": PROFILE | spec}


def choose_profile(wanted: str | None, profiles: list[K8sObject]) -> Profile | Refusal:
    found = candidates(wanted, profiles)
    return found if isinstance(found, Refusal) else only_one(found)


def test_a_profile_is_taken_by_its_name() -> None:
    found = choose_profile("b", [a_manifest("a", default=True), a_manifest("b")])
    assert isinstance(found, Profile)
    assert found.name == "b"


def test_without_a_name_the_default_is_taken() -> None:
    found = choose_profile(None, [a_manifest("a"), a_manifest("b", default=True)])
    assert isinstance(found, Profile)
    assert found.name == "b"


@pytest.mark.parametrize(
    ("wanted", "profiles", "reason", "words"),
    [
        ("c", [a_manifest("a")], "ProfileNotFound", "spec.profile is c"),
        (None, [a_manifest("a")], "NoDefaultProfile", "none"),
        (None, [a_manifest("b", default=True), a_manifest("a", default=True)], "NoDefaultProfile", "a, b"),
        ("a", [a_manifest("a", surprise=1)], "InvalidProfile", "spec.surprise"),
    ],
)
def test_a_refusal_names_what_was_found(wanted: str, profiles: list[K8sObject], reason: str, words: str) -> None:
    refusal = choose_profile(wanted, profiles)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason
    assert words in refusal.message
