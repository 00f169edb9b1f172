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


def choose_profile(wanted: str | None, profiles: list[K8sObject]) -> Profile | Refusal:
    """The profile called `wanted`, or the default one where a Personalization names none."""
    if wanted is not None:
        named = [profile for profile in profiles if profile["metadata"]["name"] == wanted]
        if not named:
            return Refusal(Reason.PROFILE_NOT_FOUND, f"spec.profile is {wanted}, but there is no such TuningProfile")
        return _read(named[0])
    defaults = [profile for profile in profiles if profile["spec"].get("default")]
    if len(defaults) == 1:
        return _read(defaults[0])
    names = ", ".join(sorted(profile["metadata"]["name"] for profile in defaults)) or "none"
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
