"""TuningProfile: where the platform team says which model, which GPUs, which buckets, which limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from likeness_api.field import DnsLabel, DnsSubdomain, Model, ModelUri, Quantity, Sha256
from likeness_api.tuning import RowsPerPass, Tuning, TuningLimits

Free = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""A Kubernetes object that is passed on as it is; the API server checks it when the Job is created."""
ShortText = Annotated[str, StringConstraints(max_length=253)]
Prefix = Annotated[
    str,
    StringConstraints(pattern=r"^s3://[a-z0-9{][a-z0-9.{}-]*(/[^\x00-\x1f\x7f?#\\]*)?$", max_length=1024),
]
"""An `s3://` prefix that may contain `{namespace}`. `s3://bucket/shop` allows `s3://bucket/shop/...`, not `s3://bucket/shopping`."""


class PersistentVolumeClaimVolume(Model):
    claim_name: DnsSubdomain


class ImageVolume(Model):
    reference: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"


class EmptyDirVolume(Model):
    size_limit: Quantity | None = None


class ModelVolume(Model):
    """What holds `file://` models (mounted read-only) or caches `s3://` ones. Exactly one kind."""

    mount_path: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]+$", max_length=256)] = "/models"
    persistent_volume_claim: PersistentVolumeClaimVolume | None = None
    image: ImageVolume | None = None
    empty_dir: EmptyDirVolume | None = None


class ModelSource(Model):
    """A folder in diffusers layout, or a pre-trained encoder."""

    uri: ModelUri
    digest: Annotated[Sha256 | None, Field(description="SHA-256 over the folder's files; checked when given.")] = None
    volume: ModelVolume | None = None


class EnvironmentVariable(Model):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
    value: Annotated[str, StringConstraints(max_length=4096)] = ""


class Resources(Model):
    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = {}
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = {}


class Runtime(Model):
    """The pod that tunes. Pod-level fields keep the names they have in Kubernetes."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Annotated[list[DnsSubdomain], Field(max_length=8)] = []
    env: Annotated[list[EnvironmentVariable], Field(max_length=64)] = []
    resources: Resources = Resources()
    node_selector: Annotated[dict[str, ShortText], Field(max_length=32)] = {}
    tolerations: Annotated[list[Free], Field(max_length=32)] = []
    affinity: Free | None = None
    runtime_class_name: DnsSubdomain | None = None
    priority_class_name: DnsSubdomain | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    rows_per_pass: RowsPerPass | None = None
    pod_template: Annotated[
        Free | None, Field(description="JSON merge patch (RFC 7386) applied to the Job's pod template last.")
    ] = None


class Storage(Model):
    """The object store, and where in it a namespace may read and write. A tenant can never set an endpoint."""

    endpoint: Annotated[
        str | None, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", max_length=253)
    ] = None
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$", max_length=32)] = "us-east-1"
    path_style: bool = False
    checksum_mode: Annotated[
        Literal["WhenSupported", "WhenRequired"],
        Field(description="WhenRequired leaves out the CRC checksums that older S3-compatible servers refuse."),
    ] = "WhenSupported"
    ca_bundle: Annotated[str | None, StringConstraints(max_length=65536)] = None
    source_prefixes: Annotated[list[Prefix], Field(min_length=1, max_length=32)]
    output_prefixes: Annotated[list[Prefix], Field(min_length=1, max_length=32)]


class TuningProfileSpec(Model):
    default: Annotated[bool, Field(description="Used by a Personalization that names no profile.")] = False
    model: ModelSource
    encoder: ModelSource | None = None
    runtime: Runtime
    defaults: Tuning = Tuning()
    limits: TuningLimits = TuningLimits()
    storage: Storage
    queue_name: Annotated[DnsLabel | None, Field(description="Kueue LocalQueue that Jobs are put into.")] = None
    max_concurrent: Annotated[
        int | None, Field(ge=1, le=100000, description="So many of one namespace tune at once; the others wait.")
    ] = None
    backoff_limit: Annotated[int, Field(ge=0, le=10, description="Retries after passing trouble.")] = 3


def is_allowed(uri: str, prefixes: list[str], namespace: str) -> bool:
    """Whether `uri` is one of `prefixes` or below it, `{namespace}` filled in; whole path segments only."""
    for pattern in prefixes:
        prefix = pattern.replace("{namespace}", namespace).rstrip("/")
        if uri.rstrip("/") == prefix or uri.startswith(prefix + "/"):
            return True
    return False
