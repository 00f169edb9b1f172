"""PersonalizationBatch: a catalogue of subjects overnight. The type only; its controller is not there yet."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from likeness_api.field import Condition, DnsSubdomain, LocalOrS3Uri, Model
from likeness_api.personalization import CredentialsSecretRef, DateTime, Metric, Name, Preview, Text
from likeness_api.tuning import MAX_PREVIEWS, Tuning


class BatchSource(Model):
    """Exactly one: a JSON-lines object (one subject a line), or a prefix whose sub-folders are subjects."""

    manifest: LocalOrS3Uri | None = None
    prefix: LocalOrS3Uri | None = None


class BatchTemplate(Model):
    """What all subjects share."""

    profile: DnsSubdomain | None = None
    output: LocalOrS3Uri
    previews: Annotated[list[Preview], Field(max_length=MAX_PREVIEWS)] = []
    tuning: Tuning = Tuning()
    service_account_name: DnsSubdomain | None = None
    credentials_secret_ref: CredentialsSecretRef | None = None


class PersonalizationBatchSpec(Model):
    source: BatchSource
    template: BatchTemplate
    subjects_per_shard: Annotated[int, Field(ge=1, le=1000)] = 200
    parallelism: Annotated[int, Field(ge=1, le=1000)] = 1
    complete_by: Annotated[DateTime | None, Field(description="Wanted finish time.")] = None
    max_failed_percent: Annotated[int, Field(ge=0, le=100)] = 10
    suspend: bool = False
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] = 86400


class Counts(Model):
    total: Annotated[int, Field(ge=0)] = 0
    succeeded: Annotated[int, Field(ge=0)] = 0
    skipped: Annotated[int, Field(ge=0)] = 0
    failed: Annotated[int, Field(ge=0)] = 0
    running: Annotated[int, Field(ge=0)] = 0
    pending: Annotated[int, Field(ge=0)] = 0


class SubjectFailure(Model):
    id: Annotated[str, StringConstraints(max_length=256)]
    reason: Name
    message: Text


class PersonalizationBatchStatus(Model):
    observed_generation: Annotated[int, Field(ge=0)] = 0
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
    counts: Counts = Counts()
    eta_time: DateTime | None = None
    subjects_per_hour: Annotated[int | None, Field(ge=0)] = None
    gpu_seconds: Annotated[int | None, Field(ge=0)] = None
    failures: Annotated[list[SubjectFailure], Field(max_length=10)] = []
    report: Text | None = None
    metrics: Annotated[list[Metric], Field(max_length=32)] = []
