"""Personalization: "here is a picture of a subject; teach the profile's model this subject"."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from likeness_api.field import Condition, DnsLabel, DnsSubdomain, LocalOrS3Uri, Model, Sha256, Token
from likeness_api.tuning import MAX_IMAGES, MAX_PREVIEWS, Seed, Tuning

DateTime = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Text = Annotated[str, StringConstraints(max_length=2048)]
Name = Annotated[str, StringConstraints(max_length=253)]
Decimal = Annotated[str, StringConstraints(pattern=r"^-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?$", max_length=32)]


SUBJECT_PLACE = "{token}"
"""What a caption writes where the subject stands."""


def _names_the_subject(caption: str) -> str:
    if SUBJECT_PLACE not in caption:
        raise ValueError(
            f"{caption!r:.100} does not say where the subject is; write {SUBJECT_PLACE} in its place, such as"
            f" 'a photo of a {SUBJECT_PLACE} on a wooden table'"
        )
    return caption


Caption = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=512),
    AfterValidator(_names_the_subject),
]


class SubjectImage(Model):
    uri: Annotated[LocalOrS3Uri, Field(description="The picture's address.")]
    caption: Annotated[
        Caption | None,
        Field(
            description="What the picture shows, with {token} where the subject is, such as 'a photo of a {token} on a"
            " wooden table': what is said here is not learned as part of the subject. Where it is not said, the runtime"
            " says what it recognises; status.subject tells."
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _not_an_address_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"{value!r:.100} is an address alone; expected an object: write '- uri: {value:.100}'")
        return value


class Subject(Model):
    images: Annotated[list[SubjectImage], Field(min_length=1, max_length=MAX_IMAGES)]


class Preview(Model):
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    seed: Seed | None = None


class CredentialsSecretRef(Model):
    """A Secret of the namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, put on the pod, never read by us."""

    name: DnsSubdomain


class PersonalizationSpec(Model):
    profile: Annotated[DnsSubdomain | None, Field(description="A TuningProfile; the default one where not said.")] = (
        None
    )
    subject: Subject
    token: Annotated[Token | None, Field(description="The subject's word in prompts; <name> where not said.")] = None
    output: Annotated[LocalOrS3Uri, Field(description="Artifacts go below this prefix.")]
    previews: Annotated[list[Preview], Field(max_length=MAX_PREVIEWS)] = []
    tuning: Tuning = Tuning()
    service_account_name: DnsSubdomain | None = None
    credentials_secret_ref: CredentialsSecretRef | None = None
    suspend: bool = False
    active_deadline_seconds: Annotated[int, Field(ge=1, le=604800)] = 3600
    ttl_seconds_after_finished: Annotated[
        int, Field(ge=0, le=31536000, description="When the finished Job and its pods go; this resource stays.")
    ] = 86400
    deletion_policy: Annotated[
        Literal["Retain", "Delete"],
        Field(description="Whether artifacts outlive the resource, or are erased when it is deleted."),
    ] = "Retain"


class JobRef(Model):
    name: DnsLabel
    uid: Name


class Attempt(Model):
    """One pod that ended, or one Job that was deleted under us or sent back to its queue by Kueue."""

    pod: Name
    reason: Name
    exit_code: int | None = None
    finish_time: DateTime | None = None


class Progress(Model):
    step: Annotated[int, Field(ge=0)]
    total_steps: Annotated[int, Field(ge=0)]
    percent: Annotated[int, Field(ge=0, le=100)]
    eta_seconds: Annotated[int | None, Field(ge=0)] = None


CaptionSource = Literal["Spec", "ZeroShot", "Unsure", "NoContexts"]


class LearnedImage(Model):
    """One picture that the subject was learned from, and what was said about it."""

    sha256: Sha256
    caption: Annotated[
        Text | None, Field(description="What was said that the picture shows; nothing where it is missing.")
    ] = None
    caption_source: Annotated[
        CaptionSource,
        Field(
            description="Spec: given with the picture. ZeroShot: the encoder's image tower chose it among the context"
            " phrases in its folder. Unsure: none of these fitted clearly better than the others, so nothing was said."
            " NoContexts: there is no encoder, or its folder has no context phrases, so nothing was said."
        ),
    ]


class ManifestRef(Model):
    uri: Text
    sha256: Sha256


class Artifact(Model):
    name: Name
    format: Name
    uri: Text
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Metric(Model):
    name: Name
    value: Decimal


class Failure(Model):
    reason: Name
    message: Text
    exit_code: int | None = None
    attempt: Annotated[int, Field(ge=0)] = 0


class Waiting(Model):
    """Why it is not running, and what a person can do about it."""

    reason: Name
    message: Text
    next_step: Text


class PersonalizationStatus(Model):
    observed_generation: Annotated[int, Field(ge=0)] = 0
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
    profile: Annotated[
        Name | None, Field(description="The TuningProfile that its Job was made with; it erases with the same one.")
    ] = None
    job_ref: JobRef | None = None
    attempts: Annotated[list[Attempt], Field(max_length=10)] = []
    start_time: DateTime | None = None
    completion_time: DateTime | None = None
    settled: Annotated[
        bool | None,
        Field(description="It ended and leaves the operator nothing to do, not even when it is deleted: not watched."),
    ] = None
    progress: Progress | None = None
    token: Token | None = None
    nearest_word: Name | None = None
    subject: Annotated[
        list[LearnedImage], Field(max_length=MAX_IMAGES, description="The pictures that the subject was learned from.")
    ] = []
    manifest: ManifestRef | None = None
    artifacts: Annotated[list[Artifact], Field(max_length=16)] = []
    previews: Annotated[list[Text], Field(max_length=MAX_PREVIEWS + 1)] = []
    metrics: Annotated[list[Metric], Field(max_length=32)] = []
    failure: Failure | None = None
    waiting: Waiting | None = None


def default_token(name: str) -> str:
    """`<name>`, dots turned into dashes, cut so that it is a `Token`."""
    return f"<{name.replace('.', '-')[:63].rstrip('-')}>"
