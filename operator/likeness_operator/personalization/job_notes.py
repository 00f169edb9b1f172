"""What the operator writes down in a Job's annotations, to know it later without reading the order again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from likeness_api.accept import prompt_warning
from likeness_api.encoder_use import EncoderUse, encoder_use
from likeness_api.field import Token
from likeness_api.order import Order
from likeness_api.reason import Reason
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.job import LONGEST_ANNOTATION, Job

TOKEN_TYPE: TypeAdapter[str] = TypeAdapter(Token)


@dataclass(frozen=True)
class JobNotes:
    """What a Job's annotations say about its order, as far as they can be read: anybody may have edited them, and the
    Job of an operator from before has none.
    """

    token: str | None
    """The subject's word in prompts."""
    token_warning: str | None
    """What is odd about the prompts of the previews."""
    encoder_use: EncoderUse | None
    """Whether an encoder predicts where tuning starts."""


def job_notes(order: Order, owner_uid: str) -> dict[str, str]:
    """The annotations of a Job that tunes: the other way round of `read_job_notes`."""
    use, warning, subject = encoder_use(order), prompt_warning(order), order.subject
    notes = {
        label.TOKEN: subject.token,
        label.ENCODER_USE: f"{use.reason}: {use.message}",
        label.ORDERED: ordered_digest(owner_uid, subject.namespace, subject.name, subject.output, subject.token),
    }
    return notes | ({label.TOKEN_WARNING: warning[:LONGEST_ANNOTATION]} if warning else {})


def ordered_digest(owner_uid: str, namespace: str, name: str, output: str, token: str) -> str:
    """Tells a Job that the operator made for an object from one that somebody else gave its name and owner.

    No secret: who copies it is held to what was ordered like anybody else (likeness_api/published.py).
    """
    return hashlib.sha256(" ".join((owner_uid, namespace, name, output, token)).encode()).hexdigest()[:32]


def read_job_notes(job: Job) -> JobNotes:
    """Leaves out what does not fit: a status with it would be refused by the API server."""
    reason, _, message = (job.annotation(label.ENCODER_USE) or "").partition(": ")
    known = reason in (Reason.ENCODER_NAMED, Reason.NO_ENCODER)
    return JobNotes(
        token=_token(job.annotation(label.TOKEN)),
        token_warning=job.annotation(label.TOKEN_WARNING),
        encoder_use=EncoderUse(reason == Reason.ENCODER_NAMED, Reason(reason), message) if known else None,
    )


def _token(text: str | None) -> str | None:
    try:
        return TOKEN_TYPE.validate_python(text)
    except ValidationError:
        return None
