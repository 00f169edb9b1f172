"""What pods that only act say in the end: a result that is believed, because it is about the subject they run for."""

from __future__ import annotations

from likeness_api.personalization import ManifestRef
from likeness_api.published import subject_home
from likeness_api.reason import Reason
from likeness_api.result import Result, ResultArtifact
from likeness_operator.kubernetes.k8s_object import K8sObject

NAMESPACE, NAME = "acted-namespace", "acted-name"
"""Stand where the subject's own are to be."""
SHA256 = "0" * 64


def acted_result(reason: Reason, *, good: bool) -> str:
    """For `s3://artifacts/<namespace>` and the token `<name>`, with the two placeholders in it."""
    home = subject_home(f"s3://artifacts/{NAMESPACE}", NAMESPACE, NAME)
    result = Result(
        reason=reason,
        message="an act",
        token=f"<{NAME}>" if good else None,
        manifest=ManifestRef(uri=f"{home}{SHA256}/manifest.json", sha256=SHA256) if good else None,
        artifacts=[ResultArtifact(name="x", format="likeness", sha256=SHA256, bytes=1)] if good else [],
        steps=2 if good else None,
    )
    return result.encode().decode()


def by_kwok(message: str) -> str:
    """For a Stage's template, within which the pod is the root."""
    name = '{{ index $.metadata.labels "likeness.dev/personalization" }}'
    return message.replace(NAMESPACE, "{{ $.metadata.namespace }}").replace(NAME, name)


def by_shell(message: str) -> str:
    """A command that leaves the message, in a container with `ENVIRONMENT`."""
    change = f"s/{NAMESPACE}/$ACTED_NAMESPACE/g; s/{NAME}/$ACTED_NAME/g"
    return f"printf %s '{message}' | sed \"{change}\" >/dev/termination-log"


def _from_field(name: str, path: str) -> K8sObject:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


ENVIRONMENT = [
    _from_field("ACTED_NAMESPACE", "metadata.namespace"),
    _from_field("ACTED_NAME", "metadata.labels['likeness.dev/personalization']"),
]
