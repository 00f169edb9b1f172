"""Which TuningProfile a Personalization gets."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from likeness_api.accept import Refusal
from likeness_api.order import first_problem
from likeness_api.reason import Reason
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_operator.kubernetes.k8s_object import K8sObject


@dataclass(frozen=True)
class Profile:
    """A TuningProfile that fits its types."""

    name: str
    spec: TuningProfileSpec


def candidates(wanted: str | None, profiles: list[K8sObject]) -> list[Profile] | Refusal:
    """The profile called `wanted`, or all that say they are the default one; at least one, each fitting its types."""
    if wanted is not None:
        named = [profile for profile in profiles if profile["metadata"]["name"] == wanted]
        if not named:
            return Refusal(Reason.PROFILE_NOT_FOUND, f"spec.profile is {wanted}, but there is no such TuningProfile")
    else:
        named = [profile for profile in profiles if profile["spec"].get("default")]
        if not named:
            return _not_one("none")
    found = [_read(profile) for profile in named]
    refusals = [each for each in found if isinstance(each, Refusal)]
    return refusals[0] if refusals else [each for each in found if isinstance(each, Profile)]


def only_one(admitted: list[Profile]) -> Profile | Refusal:
    """The profile of several default ones that a namespace may use, where it is one."""
    if len(admitted) == 1:
        return admitted[0]
    return _not_one(", ".join(sorted(profile.name for profile in admitted)))


def _not_one(names: str) -> Refusal:
    return Refusal(
        Reason.NO_DEFAULT_PROFILE,
        f"spec.profile is not given and of the TuningProfiles {names} has spec.default; expected exactly one",
    )


def _read(manifest: K8sObject) -> Profile | Refusal:
    name = manifest["metadata"]["name"]
    try:
        return Profile(name, TuningProfileSpec.model_validate(manifest["spec"]))
    except ValidationError as error:
        return Refusal(Reason.INVALID_PROFILE, f"TuningProfile {name}: spec.{first_problem(error)}")
