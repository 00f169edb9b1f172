"""Which namespaces a TuningProfile is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from likeness_api.field import DnsLabel, Model

KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
LabelKey = Annotated[str, StringConstraints(pattern=KEY, max_length=317)]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]


class LabelRequirement(Model):
    """One requirement on a label, as Kubernetes' metav1.LabelSelectorRequirement."""

    key: LabelKey
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label is compared: In or NotIn the values, Exists or DoesNotExist."""
    values: Annotated[list[LabelValue], Field(max_length=64)] = []
    """Values for In and NotIn."""


class LabelSelector(Model):
    """A selector of labels, as Kubernetes' metav1.LabelSelector; all of it has to hold."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=32)] = {}
    """Labels that have to be there with these values."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=32)] = []
    """Requirements on labels."""


class AllowedNamespaces(Model):
    """Those named and those selected."""

    names: Annotated[list[DnsLabel], Field(max_length=256)] = []
    """Names of namespaces whose Personalizations may use this profile."""
    selector: LabelSelector | None = None
    """Labels of namespaces whose Personalizations may use it, too."""


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether an object with these labels is selected; an empty selector selects all."""
    equal = all(labels.get(key) == value for key, value in selector.match_labels.items())
    return equal and all(_holds(requirement, labels) for requirement in selector.match_expressions)


def _holds(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
