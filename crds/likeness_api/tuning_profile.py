"""TuningProfile: where the platform team says which model, which GPUs, which buckets, which limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from likeness_api.audience import AllowedNamespaces
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
    """Name of a PersistentVolumeClaim in the Personalization's namespace."""


class ImageVolume(Model):
    reference: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """The OCI image or artifact to mount, such as registry.example/models/sd15:1."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the kubelet pulls the image: Always, IfNotPresent or Never."""


class EmptyDirVolume(Model):
    size_limit: Quantity | None = None
    """The most that the folder may hold, such as 20Gi; the pod is evicted beyond it."""


class ModelVolume(Model):
    """What holds `file://` models (mounted read-only) or caches `s3://` ones. Exactly one kind."""

    mount_path: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]+$", max_length=256)] = "/models"
    """Absolute path in the pod where the volume is mounted."""
    persistent_volume_claim: PersistentVolumeClaimVolume | None = None
    """Mounts a PersistentVolumeClaim of the Personalization's namespace."""
    image: ImageVolume | None = None
    """Mounts the content of an OCI image, read-only; holds file:// models only."""
    empty_dir: EmptyDirVolume | None = None
    """Mounts a folder that is empty when the pod starts and goes with it; caches an s3:// model for one run."""


class ModelSource(Model):
    """A folder in diffusers layout, or a pre-trained encoder."""

    uri: ModelUri
    """Where the folder is: s3://bucket/prefix, file:///path in the pod (on the volume or in the image), or
    builtin://pocket.
    """
    digest: Sha256 | None = None
    """SHA-256 over the folder's files, 64 hexadecimal digits; checked before tuning where it is given."""
    volume: ModelVolume | None = None
    """The volume that holds the files or caches them; exactly one of persistentVolumeClaim, image, emptyDir."""


class EnvironmentVariable(Model):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
    """Name of the environment variable."""
    value: Annotated[str, StringConstraints(max_length=4096)] = ""
    """Value of the environment variable; empty where it is not given."""


class Resources(Model):
    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = {}
    """What the scheduler sets aside for the tuner, by resource name, such as cpu: "2"; a limit is also a request."""
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = {}
    """The most that the tuner may use, by resource name, such as memory: 16Gi or nvidia.com/gpu: 1."""


class Runtime(Model):
    """The pod that tunes. Pod-level fields keep the names they have in Kubernetes."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """Container image of the tuner; use the one of the operator's release."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the kubelet pulls the image: Always, IfNotPresent or Never."""
    image_pull_secrets: Annotated[list[DnsSubdomain], Field(max_length=8)] = []
    """Names of Secrets in the Personalization's namespace that the kubelet pulls the image with."""
    env: Annotated[list[EnvironmentVariable], Field(max_length=64)] = []
    """Environment variables of the tuner; they can replace neither the order nor the credentials."""
    resources: Resources = Resources()
    """CPU, memory and GPUs of the tuner, as in a container."""
    node_selector: Annotated[dict[str, ShortText], Field(max_length=32)] = {}
    """Labels that a node must have for the pod to run on it."""
    tolerations: Annotated[list[Free], Field(max_length=32)] = []
    """Taints of nodes that the pod tolerates; each is passed on as it is and checked when the Job is created."""
    affinity: Free | None = None
    """Affinity of the pod; passed on as it is and checked when the Job is created."""
    runtime_class_name: DnsSubdomain | None = None
    """RuntimeClass of the pod, such as nvidia; the cluster's default where it is not given."""
    priority_class_name: DnsSubdomain | None = None
    """PriorityClass of the pod; the cluster's default where it is not given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What the tuner computes on: cpu, cuda, or auto, which takes a GPU where there is one."""
    rows_per_pass: RowsPerPass | None = None
    """The most of a step's draws that pass through the model at once; the others follow, and their gradients add up to
    the same step. Where it is not given, as many as fit into the device's memory.
    """
    pod_template: Free | None = None
    """JSON merge patch (RFC 7386) applied to the Job's pod template last."""


class Storage(Model):
    """The object store, and where in it a namespace may read and write. A tenant can never set an endpoint."""

    endpoint: Annotated[
        str | None, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", max_length=253)
    ] = None
    """URL of the S3-compatible server, such as https://s3.example:9000; AWS itself where it is not given."""
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$", max_length=32)] = "us-east-1"
    """Region that requests are signed for."""
    path_style: bool = False
    """Whether the bucket stands in the path (https://host/bucket/key) instead of the host name; most servers other than
    AWS need true.
    """
    checksum_mode: Literal["WhenSupported", "WhenRequired"] = "WhenSupported"
    """When requests carry CRC checksums: WhenRequired leaves out those that older S3-compatible servers refuse."""
    ca_bundle: Annotated[str | None, StringConstraints(max_length=65536)] = None
    """Certificates in PEM that the server's certificate is checked against, instead of the public ones."""
    source_prefixes: Annotated[list[Prefix], Field(min_length=1, max_length=32)]
    """Addresses below which subject images may be read, such as s3://catalogue/{namespace}; {namespace} is the
    Personalization's own.
    """
    output_prefixes: Annotated[list[Prefix], Field(min_length=1, max_length=32)]
    """Addresses below which artifacts may be written, such as s3://artifacts/{namespace}; {namespace} is the
    Personalization's own.
    """
    node_identity: bool = False
    """Whether a pod without credentials may use the cloud role of its node (EC2 instance metadata); otherwise pods
    reach the object store by credentialsSecretRef or by the role of their service account alone.
    """


class ProfileLimits(TuningLimits):
    """The most that a Personalization may ask for, beside the numbers of its tuning."""

    active_deadline_seconds: Annotated[int | None, Field(ge=1, le=604800)] = None
    """The longest activeDeadlineSeconds that a Personalization may have."""
    ttl_seconds_after_finished: Annotated[int | None, Field(ge=60, le=31536000)] = None
    """The longest ttlSecondsAfterFinished that a Personalization or a batch may have."""
    priority_class_names: Annotated[list[DnsSubdomain], Field(max_length=16)] = []
    """The PriorityClasses that a PersonalizationBatch may name in its priorityClassName; none where it is not given."""


Price = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}(\.[0-9]{1,4})? [A-Z]{3}$", max_length=15)]
"""An amount and a currency, such as 2.50 EUR."""


class TuningProfileSpec(Model):
    default: bool = False
    """Whether a Personalization that names no profile uses this one; at most one TuningProfile should say so."""
    allowed_namespaces: AllowedNamespaces | None = None
    """The namespaces whose Personalizations may use this profile; all of them where it is not given."""
    model: ModelSource
    """The text-to-image model that subjects are taught to: a folder in diffusers layout."""
    encoder: ModelSource | None = None
    """The pre-trained encoder that predicts where tuning starts, made for this model; without one, tuning starts from
    the word "object".
    """
    runtime: Runtime
    """The pod that tunes: its image, its resources and the nodes it may run on."""
    defaults: Tuning = Tuning()
    """What a Personalization gets for each tuning setting that it does not give."""
    limits: ProfileLimits = ProfileLimits()
    """The most that a Personalization may ask for; one that asks for more fails and is never silently cut."""
    storage: Storage
    """The object store that images are read from and artifacts are written to."""
    queue_name: DnsLabel | None = None
    """Kueue LocalQueue, in the Personalization's namespace, that Jobs are put into; without one, Kueue is not used."""
    max_concurrent: Annotated[int | None, Field(ge=1, le=100000)] = None
    """The most Personalizations of one namespace that tune at once with this profile; the others wait, the oldest goes
    first. No limit where it is not given.
    """
    price_per_worker_hour: Price | None = None
    """What one worker costs in an hour, such as 2.50 EUR; what a batch's plan estimates is told in it."""
    backoff_limit: Annotated[int, Field(ge=0, le=10)] = 3
    """How often a run is tried again after a transient error such as StorageUnavailable."""


def is_allowed(uri: str, prefixes: list[str], namespace: str) -> bool:
    """Whether `uri` is one of `prefixes` or below it, `{namespace}` filled in; whole path segments only."""
    for pattern in prefixes:
        prefix = pattern.replace("{namespace}", namespace).rstrip("/")
        if uri.rstrip("/") == prefix or uri.startswith(prefix + "/"):
            return True
    return False
