"""PersonalizationBatch: a catalogue of subjects overnight."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from likeness_api.field import Condition, DnsSubdomain, LocalOrS3Uri, Model, StatusModel
from likeness_api.personalization import CredentialsSecretRef, DateTime, Name, Preview, Text, Waiting
from likeness_api.subject_id import SubjectId
from likeness_api.tuning import MAX_PREVIEWS, Steps, Tuning

TOKEN_PLACE, ID_PLACE = "{token}", "{id}"
"""What a preview's prompt writes where each subject's own token or id stands."""
MOST_WORKERS = 1000
MOST_PASSES = 4
MOST_SHARDS = 100_000
MOST_FAILURES = 10
JUDGED_FROM = 100
"""Subjects that are through, before too many failures end a batch that runs."""
MOST_SUBJECTS = 10_000_000

MOST_RANGE_CHARACTERS = 6000
ShardRanges = Annotated[
    str,
    StringConstraints(
        pattern=r"^([0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*)?$", max_length=MOST_RANGE_CHARACTERS
    ),
]
"""Numbers of shards, such as "0-311,313"."""


class BatchSource(Model):
    """Exactly one: a manifest, or a prefix whose sub-folders are subjects."""

    manifest: LocalOrS3Uri | None = None
    """Address of a file with one subject a line: .jsonl, .jsonl.gz, .csv or .parquet; not together with prefix."""
    prefix: LocalOrS3Uri | None = None
    """Address below which each sub-folder holds the pictures of one subject; not together with manifest."""

    @model_validator(mode="after")
    def _one_of_them(self) -> BatchSource:
        if (self.manifest is None) == (self.prefix is None):
            found = "neither" if self.manifest is None else "both"
            raise ValueError(f"{found} of manifest and prefix given; expected exactly one")
        return self


class BatchTemplate(Model):
    """What all subjects share."""

    profile: DnsSubdomain | None = None
    """Name of the TuningProfile to tune with; the default one where it is not given."""
    output: LocalOrS3Uri
    """Prefix below which artifacts of all subjects are published, such as s3://artifacts/shop."""
    previews: Annotated[list[Preview], Field(max_length=MAX_PREVIEWS)] = []
    """Pictures to draw of each subject once it is learned. {token} in a prompt stands for the subject's own token, and
    {id} for its id, such as "a photo of a {token} on a beach".
    """
    tuning: Tuning = Tuning()
    """Settings of the tuning; what is not given comes from the TuningProfile's defaults. Its steps are in passes."""
    service_account_name: DnsSubdomain | None = None
    """ServiceAccount that the pods run as and reach the object store with; not together with credentialsSecretRef."""
    credentials_secret_ref: CredentialsSecretRef | None = None
    """Secret that the pods reach the object store with; not together with serviceAccountName."""

    @model_validator(mode="after")
    def _shows_the_subject(self) -> BatchTemplate:
        for index, preview in enumerate(self.previews):
            if TOKEN_PLACE not in preview.prompt:
                raise ValueError(
                    f"previews[{index}].prompt is {preview.prompt!r:.100} and would not show the subject; write"
                    f" {TOKEN_PLACE} in its place, such as 'a photo of a {TOKEN_PLACE} on a beach'"
                )
        if self.tuning.steps is not None:
            raise ValueError(f"tuning.steps is {self.tuning.steps}; a batch says its steps in spec.passes")
        return self


class Workers(Model):
    """How many pods work at once."""

    min: Annotated[int, Field(ge=0, le=MOST_WORKERS)] = 1
    """The fewest, also where the batch is ahead of completeBy."""
    max: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = 1
    """The most, also where it is behind."""

    @model_validator(mode="after")
    def _in_order(self) -> Workers:
        if self.min > self.max:
            raise ValueError(f"min is {self.min} and max is {self.max}; expected min to be at most max")
        return self


class PersonalizationBatchSpec(Model):
    source: BatchSource
    """Where the subjects are listed; exactly one of manifest, prefix."""
    revision: Annotated[int, Field(ge=1)] = 1
    """Raise it to have the source read again: what is unchanged is skipped without fetching a picture."""
    template: BatchTemplate
    """Settings that all subjects share: profile, output, previews, tuning and credentials."""
    mode: Literal["Run", "Plan"] = "Run"
    """Run tunes; Plan ends once the source is read and checked: counts, broken lines and what it will take, by a pilot
    of a dozen subjects of which nothing is published.
    """
    workers: Workers = Workers()
    """Bounds of the number of pods that work at once."""
    complete_by: DateTime | None = None
    """When all subjects should be done, in RFC 3339; a wish, not a deadline."""
    passes: Annotated[list[Steps], Field(min_length=1, max_length=MOST_PASSES)] = [12]
    """Optimizer steps of each pass over all subjects: [0, 12] publishes everybody's prediction first and then tunes."""
    max_failed_percent: Annotated[int, Field(ge=0, le=100)] = 10
    """Share of the subjects that may fail, in percent, before the batch fails; judged from 100 subjects on."""
    retry_failed: bool = False
    """Whether what succeeded in the last revision is left as it is, changed or not: only failures and new subjects are
    tuned.
    """
    suspend: bool = False
    """Whether tuning is held: true stops it or keeps it from starting, false lets it go on."""
    priority_class_name: DnsSubdomain | None = None
    """PriorityClass of the pods, where the TuningProfile allows one."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] = 86400
    """Seconds after which the finished Jobs and their pods are deleted; this resource stays."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """Whether artifacts outlive this resource (Retain) or are erased when it is deleted (Delete)."""

    @model_validator(mode="after")
    def _passes_grow(self) -> PersonalizationBatchSpec:
        if any(later <= earlier for earlier, later in zip(self.passes, self.passes[1:], strict=False)):
            raise ValueError(f"passes is {self.passes}; expected each pass to have more steps than the one before it")
        return self


class Counts(StatusModel):
    """Every subject is counted once, whatever the number of passes."""

    total: Annotated[int, Field(ge=0)] = 0
    """Lines in the source, broken ones included."""
    succeeded: Annotated[int, Field(ge=0)] = 0
    """Subjects that were learned and published."""
    skipped: Annotated[int, Field(ge=0)] = 0
    """Subjects that needed no tuning, because the very same had been published before."""
    failed: Annotated[int, Field(ge=0)] = 0
    """Subjects that failed for good, and lines that say no subject."""
    running: Annotated[int, Field(ge=0)] = 0
    """Subjects that are being tuned."""
    pending: Annotated[int, Field(ge=0)] = 0
    """Subjects that have not been started."""


class FailureSample(StatusModel):
    """A reason for which subjects failed, with one of them."""

    reason: Name
    """One word for why they failed; docs/troubleshooting.md explains each."""
    count: Annotated[int, Field(ge=1)]
    """How many failed for this reason."""
    id: SubjectId | None = None
    """Id of one of them; missing where its line does not say one."""
    message: Text
    """A sentence about that one: the object or field, what was found and what was expected."""


class PassProgress(StatusModel):
    """How far one of spec.passes is."""

    steps: Annotated[int, Field(ge=0)]
    """Optimizer steps of the pass."""
    done: Annotated[int, Field(ge=0)] = 0
    """Subjects that the pass is through with, be it well or not."""


class Shards(StatusModel):
    """What the present pass is cut into. What is worked on is known to the operator alone."""

    total: Annotated[int, Field(ge=0, le=MOST_SHARDS)] = 0
    """How many there are."""
    done: ShardRanges = ""
    """The finished ones, such as 0-311,313."""
    succeeded: Annotated[int, Field(ge=0)] = 0
    """Subjects of the finished ones that were published."""
    failed: Annotated[int, Field(ge=0)] = 0
    """Subjects of the finished ones that failed."""
    again: ShardRanges = ""
    """Those that were called finished and are not; their subjects stay counted as they were."""


class BatchPlanStatus(StatusModel):
    """What the source came to when it was read."""

    lines: Annotated[int, Field(ge=0)] = 0
    """Lines in the source."""
    subjects: Annotated[int, Field(ge=0)] = 0
    """Subjects to be worked on."""
    skipped: Annotated[int, Field(ge=0)] = 0
    """Subjects that are as they were in the last revision."""
    failed: Annotated[int, Field(ge=0)] = 0
    """Lines that say no subject."""
    removed: Annotated[int, Field(ge=0)] = 0
    """Subjects of the last revision that the source lists no more."""


class BatchEstimate(StatusModel):
    """What the whole batch will take, by what a pilot of a few subjects took."""

    gpu_seconds: Annotated[int, Field(ge=0)]
    """Seconds of workers, added up."""
    seconds: Annotated[int, Field(ge=0)]
    """With spec.workers.max of them at work all the time."""
    price: Annotated[str | None, StringConstraints(max_length=64)] = None
    """By the TuningProfile's pricePerWorkerHour; missing where it says none."""


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
    revision: Annotated[int, Field(ge=0)] = 0
    """The revision that the counts are of."""
    profile: Name | None = None
    """The TuningProfile that it is worked on with."""
    plan: BatchPlanStatus | None = None
    """What the source came to; missing until it is read."""
    estimate: BatchEstimate | None = None
    """What it will take; missing where mode is not Plan, or nothing could be measured."""
    counts: Counts = Counts()
    """How many subjects are in which state."""
    passes: Annotated[list[PassProgress], Field(max_length=MOST_PASSES)] = []
    """The passes that have begun, the present one last."""
    shards: Shards | None = None
    """The shards of the present pass."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Pods that work."""
    workers_wanted: Annotated[int, Field(ge=0)] = 0
    """Pods that should work, between spec.workers.min and max, as spec.completeBy asks for."""
    gpu_seconds: Annotated[int, Field(ge=0)] = 0
    """Seconds that workers worked on finished shards, added up."""
    waiting: Waiting | None = None
    """Why it does not go on, and what to do about it; missing where nothing is in its way."""
    collections: Annotated[int, Field(ge=0)] = 0
    """How often results were collected: again where they showed that shards were not done after all."""
    start_time: DateTime | None = None
    """When the first subject was started, in RFC 3339."""
    completion_time: DateTime | None = None
    """When the last subject was done, in RFC 3339."""
    eta_time: DateTime | None = None
    """When the last subject will be done by the present pace, in RFC 3339."""
    subjects_per_hour: Annotated[int | None, Field(ge=0)] = None
    """Subjects that are done in an hour by the present pace; once all are done, by the whole run's."""
    failures: Annotated[list[FailureSample], Field(max_length=MOST_FAILURES)] = []
    """The ten most frequent reasons, most frequent first; failed.jsonl has every one that failed."""
    results: Text | None = None
    """Address of results.jsonl, with one line for each subject."""
    report: Text | None = None
    """Address of report.html."""
