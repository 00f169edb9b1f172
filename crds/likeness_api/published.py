"""What a result may claim: that its own subject was published, where its order said, and nothing else.

A result is text that whoever may run a pod in the namespace can write. Its types bound it (result.py); this holds it to
what was ordered. The operator asks before it believes a pod, the runtime before it ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from likeness_api.order import SubjectOrder
from likeness_api.personalization import PersonalizationSpec, default_token
from likeness_api.result import Result

DIGEST_AND_MANIFEST = re.compile(r"[0-9a-f]{64}/manifest\.json")


@dataclass(frozen=True)
class Ordered:
    """What a result has to agree with."""

    home: str
    """The address below which the subject's artifact folders are, with its closing slash."""
    namespace: str
    name: str
    token: str
    images: int
    previews: int
    """Pictures that are drawn: one where no prompt is given."""


def subject_home(output: str, namespace: str, folder: str) -> str:
    """Where the artifact folders of one subject are, with its closing slash."""
    return f"{output.rstrip('/')}/{namespace}/{folder}/"


def batch_home(output: str, namespace: str, name: str) -> str:
    """Where the revisions of a batch are, with its closing slash; no subject's folder has such a name."""
    return subject_home(output, namespace, f".batches/{name}")


def ordered_by(namespace: str, name: str, spec: PersonalizationSpec) -> Ordered:
    """What the result of a Personalization has to agree with: its spec's word, so that no Job is believed."""
    return Ordered(
        home=subject_home(spec.output, namespace, name),
        namespace=namespace,
        name=name,
        token=spec.token or default_token(name),
        images=len(spec.subject.images),
        previews=len(spec.previews) or 1,
    )


def ordered_in(subject: SubjectOrder) -> Ordered:
    """The same of an order."""
    return Ordered(
        home=subject_home(subject.output, subject.namespace, subject.folder),
        namespace=subject.namespace,
        name=subject.name,
        token=subject.token,
        images=len(subject.images),
        previews=len(subject.previews) or 1,
    )


def contradiction(result: Result, ordered: Ordered) -> str | None:
    """A sentence that names the first field of a good result that is not as ordered; None where all of it is."""
    manifest = result.manifest
    if manifest is None:
        return "manifest is missing; expected the address of what was published"
    below = manifest.uri.removeprefix(ordered.home)
    if below == manifest.uri or not DIGEST_AND_MANIFEST.fullmatch(below):
        return f"manifest.uri is {manifest.uri!r:.300}; expected {ordered.home}<digest>/manifest.json"
    if result.token != ordered.token:
        return f"token is {result.token!r:.100}; expected {ordered.token}"
    if len(result.subject) > ordered.images:
        return f"subject has {len(result.subject)} pictures; expected at most {ordered.images}"
    if len(result.previews) > ordered.previews + 1:
        return f"previews has {len(result.previews)} names; expected at most {ordered.previews + 1}"
    names = [*(artifact.name for artifact in result.artifacts), *result.previews]
    twice = [name for name in names if names.count(name) > 1]
    return f"{twice[0]!r:.300} is named twice; expected each file once" if twice else None
