"""PersonalizationBatch: a catalogue of subjects overnight. The type only; its controller is not there yet."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from likeness_api.field import Condition, DnsSubdomain, LocalOrS3Uri, Model, StatusModel
from likeness_api.personalization import CredentialsSecretRef, DateTime, Metric, Name, Preview, Text
from likeness_api.tuning import MAX_PREVIEWS, Tuning


class BatchSource(Model):
    """Exactly one: a JSON-lines object (one subject a line), or a prefix whose sub-folders are subjects."""

    manifest: LocalOrS3Uri | None = None
    """Address of a JSON-lines file with one subject a line; not together with prefix."""
    prefix: LocalOrS3Uri | None = None
    """Address below which each sub-folder holds the pictures of one subject; not together with manifest."""


class BatchTemplate(Model):
    """What all subjects share."""

    profile: DnsSubdomain | None = None
    """Name of the TuningProfile to tune with; the default one where it is not given."""
    output: LocalOrS3Uri
    """Prefix below which artifacts of all subjects are published, such as s3://artifacts/shop."""
    previews: Annotated[list[Preview], Field(max_length=MAX_PREVIEWS)] = []
    """Pictures to draw of each subject once it is learned."""
    tuning: Tuning = Tuning()
    """Settings of the tuning; what is not given comes from the TuningProfile's defaults."""
    service_account_name: DnsSubdomain | None = None
    """ServiceAccount that the pods run as and reach the object store with; not together with credentialsSecretRef."""
    credentials_secret_ref: CredentialsSecretRef | None = None
    """Secret that the pods reach the object store with; not together with serviceAccountName."""


class PersonalizationBatchSpec(Model):
    source: BatchSource
    """Where the subjects are listed; exactly one of manifest, prefix."""
    template: BatchTemplate
    """Settings that all subjects share: profile, output, previews, tuning and credentials."""
    subjects_per_shard: Annotated[int, Field(ge=1, le=1000)] = 200
    """How many subjects one pod tunes, one after the other, with the model loaded once."""
    parallelism: Annotated[int, Field(ge=1, le=1000)] = 1
    """The most pods that tune at once."""
    complete_by: DateTime | None = None
    """When all subjects should be done, in RFC 3339; a wish, not a deadline."""
    max_failed_percent: Annotated[int, Field(ge=0, le=100)] = 10
    """Share of the subjects that may fail, in percent, before the batch fails."""
    suspend: bool = False
    """Whether tuning is held: true stops it or keeps it from starting, false lets it go on."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] = 86400
    """Seconds after which the finished Jobs and their pods are deleted; this resource stays."""


class Counts(StatusModel):
    total: Annotated[int, Field(ge=0)] = 0
    """Subjects in the source."""
    succeeded: Annotated[int, Field(ge=0)] = 0
    """Subjects that were learned and published."""
    skipped: Annotated[int, Field(ge=0)] = 0
    """Subjects that needed no tuning, because the very same had been published before."""
    failed: Annotated[int, Field(ge=0)] = 0
    """Subjects that failed for good."""
    running: Annotated[int, Field(ge=0)] = 0
    """Subjects that are being tuned."""
    pending: Annotated[int, Field(ge=0)] = 0
    """Subjects that have not been started."""


class SubjectFailure(StatusModel):
    """One subject that failed for good."""

    id: Annotated[str, StringConstraints(max_length=256)]
    """Id of the subject in the source."""
    reason: Name
    """One word for why it failed; docs/troubleshooting.md explains each."""
    message: Text
    """A sentence for a person: the object or field, what was found and what was expected."""


class PersonalizationBatchStatus(StatusModel):
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation that this status was written for."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
    """Conditions, one for each type; the first that is True is the state."""
    counts: Counts = Counts()
    """How many subjects are in which state."""
    eta_time: DateTime | None = None
    """When the last subject will be done by the present pace, in RFC 3339."""
    subjects_per_hour: Annotated[int | None, Field(ge=0)] = None
    """Subjects that are done in an hour by the present pace."""
    gpu_seconds: Annotated[int | None, Field(ge=0)] = None
    """Seconds of GPU time that were used, all pods together."""
    failures: Annotated[list[SubjectFailure], Field(max_length=10)] = []
    """Ten subjects that failed, as samples; the report has all."""
    report: Text | None = None
    """Address of the report with one line for each subject."""
    metrics: Annotated[list[Metric], Field(max_length=32)] = []
    """Measurements over all subjects."""
