"""Personalization: "here is a picture of a subject; teach the profile's model this subject"."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from likeness_api.field import Condition, DnsLabel, DnsSubdomain, LocalOrS3Uri, Model, Sha256, StatusModel, Token
from likeness_api.tuning import MAX_IMAGES, MAX_PREVIEWS, Seed, Tuning

DateTime = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Text = Annotated[str, StringConstraints(max_length=2048)]
Name = Annotated[str, StringConstraints(max_length=253)]
Decimal = Annotated[str, StringConstraints(pattern=r"^-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?$", max_length=32)]


MOST_ARTIFACTS, MOST_METRICS = 16, 32
"""In a status, and so in a result."""
SUBJECT_PLACE = "{token}"
"""What a caption writes where the subject stands."""


def _one_line_of_text(caption: Any) -> Any:
    """What YAML makes of a caption that is written without quotes, or over several lines."""
    if isinstance(caption, dict):
        raise ValueError(f"it is a mapping; expected text: write it in quotes, such as 'a {SUBJECT_PLACE} on a table'")
    if isinstance(caption, str) and "\n" in caption:
        raise ValueError(
            f"{caption!r:.100} has a line break; expected one line, such as 'a {SUBJECT_PLACE} on a table'"
        )
    return caption


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
    BeforeValidator(_one_line_of_text),  # last, or the schema loses the pattern
]


class SubjectImage(Model):
    """One picture of the subject."""

    uri: LocalOrS3Uri
    """Address of the picture, such as s3://catalogue/teapot/00.jpg."""
    caption: Caption | None = None
    """What the picture shows, with {token} where the subject is, such as 'a photo of a {token} on a wooden table': what
    it names beside the subject is not learned as part of it. Without a caption the runtime uses the background that it
    recognises; status.subject has the one that was used.
    """

    @model_validator(mode="before")
    @classmethod
    def _not_an_address_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"{value!r:.100} is an address alone; expected an object: write '- uri: {value:.100}'")
        return value


class Subject(Model):
    images: Annotated[list[SubjectImage], Field(min_length=1, max_length=MAX_IMAGES)]
    """Pictures of the one subject to be learned; one is enough."""


class Preview(Model):
    """One picture to draw with the subject learned, so that a person can judge it."""

    prompt: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """What to draw, with the subject's token in it, such as "a <red-teapot> on a beach"."""
    seed: Seed | None = None
    """Seed of the picture's noise; tuning.seed plus the preview's place in the list where it is not given."""


class CredentialsSecretRef(Model):
    """A Secret of the namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, put on the pod, never read by us."""

    name: DnsSubdomain
    """Name of a Secret in this namespace with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if needed,
    AWS_SESSION_TOKEN.
    """


class PersonalizationSpec(Model):
    profile: DnsSubdomain | None = None
    """Name of the TuningProfile to tune with; the default one where it is not given."""
    subject: Subject
    """The subject to be learned."""
    token: Token | None = None
    """The subject's word in prompts, in angle brackets; <metadata.name> where it is not given."""
    output: LocalOrS3Uri
    """Prefix below which artifacts are published, such as s3://artifacts/shop."""
    previews: Annotated[list[Preview], Field(max_length=MAX_PREVIEWS)] = []
    """Pictures to draw once the subject is learned; they are published beside the other artifacts."""
    tuning: Tuning = Tuning()
    """Settings of the tuning; what is not given comes from the TuningProfile's defaults."""
    service_account_name: DnsSubdomain | None = None
    """ServiceAccount that the pods run as and reach the object store with; not together with credentialsSecretRef."""
    credentials_secret_ref: CredentialsSecretRef | None = None
    """Secret that the pods reach the object store with; not together with serviceAccountName."""
    suspend: bool = False
    """Whether tuning is held: true stops it or keeps it from starting, false lets it go on."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=604800)] = 3600
    """Seconds that the Job may take, all attempts together; it then fails with DeadlineExceeded."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] = 86400
    """Seconds after which the finished Job and its pods are deleted, 60 at least; this resource stays."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """Whether artifacts outlive this resource (Retain) or are erased when it is deleted (Delete)."""


class JobRef(StatusModel):
    name: DnsLabel
    """Name of the Job, in this namespace."""
    uid: Name
    """UID of the Job, by which a later one of the same name is told apart."""


class Attempt(StatusModel):
    """One pod that ended, or one Job that was deleted under us or sent back to its queue by Kueue."""

    pod: Name
    """Name of the pod that ended; of the Job, where the Job was deleted or sent back to its queue."""
    reason: Name
    """One word for how the attempt ended; docs/troubleshooting.md explains each."""
    exit_code: int | None = None
    """Exit code of the tuner; missing where its container did not end by itself."""
    finish_time: DateTime | None = None
    """When the attempt ended, in RFC 3339."""


class Progress(StatusModel):
    step: Annotated[int, Field(ge=0)]
    """Optimizer steps that are done."""
    total_steps: Annotated[int, Field(ge=0)]
    """Optimizer steps that the run has in all."""
    percent: Annotated[int, Field(ge=0, le=100)]
    """Share of the steps that are done, in percent."""
    eta_seconds: Annotated[int | None, Field(ge=0)] = None
    """Estimated seconds until the last step; missing until there is enough to go by."""


CaptionSource = Literal["Spec", "ZeroShot", "Unsure", "NoContexts"]
"""Those that there are now; a status is read with any, so that a later one does not make all of it unreadable."""


class LearnedImage(StatusModel):
    """One picture that the subject was learned from, and the caption that it was tuned under."""

    sha256: Sha256
    """SHA-256 of the picture's file, 64 hexadecimal digits."""
    caption: Text | None = None
    """The caption, with {token} where the subject is; missing where only the subject was named."""
    caption_source: Name
    """Where the caption comes from. Spec: given with the picture. ZeroShot: recognised, one of the context phrases in
    the encoder's folder. Unsure: none of these fitted clearly better than the others, so there is none. NoContexts:
    there is no encoder, or its folder has no context phrases, so there is none.
    """


class ManifestRef(StatusModel):
    uri: Text
    """Address of manifest.json, which names every published file."""
    sha256: Sha256
    """SHA-256 of manifest.json, 64 hexadecimal digits."""


class Artifact(StatusModel):
    """One published file."""

    name: Name
    """Name of the file within the published folder."""
    format: Name
    """Format of the file, such as lora-diffusers or textual-inversion."""
    uri: Text
    """Address of the file."""
    sha256: Sha256
    """SHA-256 of the file, 64 hexadecimal digits."""
    bytes: Annotated[int, Field(ge=0)]
    """Size of the file in bytes."""


class Metric(StatusModel):
    """One measurement of the run."""

    name: Name
    """Name of the measurement, such as lossAfter or totalSeconds."""
    value: Decimal
    """The measured value, a decimal as text."""


class Failure(StatusModel):
    """Why it failed for good."""

    reason: Name
    """One word for why it failed; docs/troubleshooting.md explains each."""
    message: Text
    """A sentence for a person: the object or field, what was found and what was expected."""
    exit_code: int | None = None
    """Exit code of the tuner in its last attempt; missing where no container ended by itself."""
    attempt: Annotated[int, Field(ge=0)] = 0
    """Which attempt was the last one, counted from 1; 0 where none was made."""


class Waiting(StatusModel):
    """Why it is not running, and what a person can do about it."""

    reason: Name
    """One word for why it waits: Likeness' own, or that of Kubernetes or Kueue, such as Unschedulable."""
    message: Text
    """A sentence for a person: what it waits for, in the words of whoever holds it up."""
    next_step: Text
    """What a person can do about it, or that nothing needs to be done."""


class PersonalizationStatus(StatusModel):
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation that this status was written for."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
    """Conditions, one for each type: Failed, Succeeded, Suspended, Running, Waiting, Accepted, EncoderUsed,
    TokenInPrompts, Erased. The first that is True is the state.
    """
    profile: Name | None = None
    """The TuningProfile that the Job was made with; artifacts are erased with the same one."""
    job_ref: JobRef | None = None
    """The Job that tunes; missing where there is none."""
    attempts: Annotated[list[Attempt], Field(max_length=10)] = []
    """Attempts that ended, the newest last; the ten newest are kept."""
    start_time: DateTime | None = None
    """When the tuner of the first attempt started, in RFC 3339."""
    completion_time: DateTime | None = None
    """When it ended, well or not, in RFC 3339."""
    unwatched: bool | None = None
    """Whether it ended and leaves the operator nothing to do, not even on deletion, and is not watched any more."""
    progress: Progress | None = None
    """How far the tuning is; first written after half a minute and 5 % of the steps."""
    token: Token | None = None
    """The subject's word in prompts."""
    nearest_word: Name | None = None
    """The word of the model's vocabulary that is nearest to what was learned; it takes the token's place on the vanilla
    path.
    """
    subject: Annotated[list[LearnedImage], Field(max_length=MAX_IMAGES)] = []
    """The pictures that the subject was learned from."""
    manifest: ManifestRef | None = None
    """The published manifest, which names every file of the result."""
    artifacts: Annotated[list[Artifact], Field(max_length=MOST_ARTIFACTS)] = []
    """The published files other than pictures and the manifest."""
    previews: Annotated[list[Text], Field(max_length=MAX_PREVIEWS + 1)] = []
    """Addresses of the published pictures: the input as it was learned from, then the previews."""
    metrics: Annotated[list[Metric], Field(max_length=MOST_METRICS)] = []
    """Measurements of the run."""
    failure: Failure | None = None
    """Why it failed for good; missing where it did not."""
    waiting: Waiting | None = None
    """Why it is not running, and what a person can do about it; missing where it does not wait."""


def default_token(name: str) -> str:
    """`<name>`, dots turned into dashes, cut so that it is a `Token`."""
    return f"<{name.replace('.', '-')[:63].rstrip('-')}>"
