"""Field types used by several resources: bounded strings, decimals written as strings, object-store addresses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

DnsLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL, max_length=63)]
DnsSubdomain = Annotated[str, StringConstraints(pattern=DNS_SUBDOMAIN, max_length=253)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
Token = Annotated[str, StringConstraints(pattern=r"^<[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?>$", max_length=65)]
"""A placeholder word such as `<red-teapot>`: angle brackets keep it apart from every word of a vocabulary."""
Quantity = Annotated[
    str | int,
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second, as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _no_dot_segments(uri: str) -> str:
    """Refuses `.` and `..` path segments, which would let a prefix check be walked around."""
    if any(segment in (".", "..") for segment in uri.split("://", 1)[-1].split("/")):
        raise ValueError(f"{uri!r} has a '.' or '..' path segment; expected a plain path")
    return uri


LocalOrS3Uri = Annotated[
    str,
    StringConstraints(pattern=r"^(s3|file)://[^\x00-\x1f\x7f?#\\]+$", max_length=1024),
    AfterValidator(_no_dot_segments),
]
"""Where an order may read and write. The operator passes on `s3://` only; `file://` is for runs without a cluster."""
ModelUri = Annotated[
    str,
    StringConstraints(pattern=r"^(s3|file|builtin)://[^\x00-\x1f\x7f?#\\]+$", max_length=1024),
    AfterValidator(_no_dot_segments),
]
"""`s3://bucket/prefix`, `file:///mount/path` (on the profile's volume or in the image) or `builtin://pocket`."""


UNIT_INTERVAL = r"^(0(\.[0-9]{1,8})?|1(\.0{1,8})?)$"
LEARNING_RATE = r"^(0(\.[0-9]{1,8})?|1(\.0{1,8})?|[1-9](\.[0-9]{1,4})?e-[1-9])$"
# The Kubernetes API conventions allow no floats in a spec, so these are decimals written as strings.
UnitInterval = Annotated[str, StringConstraints(pattern=UNIT_INTERVAL, max_length=12)]
LearningRate = Annotated[str, StringConstraints(pattern=LEARNING_RATE, max_length=12)]


class Model(BaseModel):
    """camelCase outside, snake_case inside; unknown fields are refused. The docstring under a field describes it in
    the CRD, so that `kubectl explain` shows it.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    def to_json(self) -> dict[str, Any]:
        """The object as it goes over the wire: camelCase, without what was not said."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(Model):
    """A part of a status. Unknown fields are left out when it is read, at every level: whoever reads statuses with
    these types goes on doing so when a later operator says more.
    """

    model_config = ConfigDict(extra="ignore")


class Condition(StatusModel):
    """One aspect of the resource's state; Kubernetes calls the type metav1.Condition."""

    type: Annotated[str, StringConstraints(max_length=63, pattern=r"^[A-Z][A-Za-z]*$")]
    """The aspect that the condition is about, such as Running or Succeeded."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds: True, False or Unknown."""
    reason: Annotated[str, StringConstraints(max_length=128, pattern=r"^[A-Za-z]+$")]
    """One word for why the status is what it is; docs/troubleshooting.md explains each."""
    message: Annotated[str, StringConstraints(max_length=2048)]
    """A sentence for a person: the object or field, what was found and what was expected."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When the status last changed to another value, in RFC 3339."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation that the condition was written for."""
