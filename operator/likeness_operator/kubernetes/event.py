"""Events (events.k8s.io/v1) about our objects: what they say, and how they are written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from likeness_api import API_VERSION
from likeness_operator.kubernetes.k8s_object import K8sObject

LONGEST_NOTE_BYTES = 1024
CONTROLLER = "likeness.dev/operator"


@dataclass(frozen=True)
class ObjectReference:
    """Which version of which object of ours an event is about."""

    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str


@dataclass(frozen=True)
class EventContent:
    """What an event says."""

    type: Literal["Normal", "Warning"]
    reason: str
    action: str
    note: str
    of: str = ""
    """What tells it from others of the same object and reason, such as a revision; told once each."""
    about_namespace: bool = False
    """Whether its object's namespace is being deleted and takes no event any more. The event is then about the
    namespace, in `default`, where the API server wants the events of what has no namespace.
    """


def last_seen(event: K8sObject) -> str:
    """When an event happened last, in RFC 3339; the Job controller still writes events of the older kind."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime") or "")


def build_event(about: ObjectReference, content: EventContent, instance: str, now: datetime) -> K8sObject:
    """The event as it is sent. Its name follows from the object's uid and the reason: sent twice, it is there once."""
    digest = hashlib.sha256(f"{about.uid} {content.reason}{content.of}".encode()).hexdigest()[:16]
    regarding = {
        "apiVersion": API_VERSION,
        "kind": about.kind,
        "namespace": about.namespace,
        "name": about.name,
        "uid": about.uid,
        "resourceVersion": about.resource_version,
    }
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name}.{digest}", "namespace": about.namespace},
        "type": content.type,
        "reason": content.reason,
        "action": content.action,
        "note": content.note.encode()[:LONGEST_NOTE_BYTES].decode(errors="ignore"),
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "regarding": regarding,
    }
    if not content.about_namespace:
        return event
    return event | {
        "metadata": {"name": f"{about.name}.{digest}", "namespace": "default"},
        "regarding": {"apiVersion": "v1", "kind": "Namespace", "name": about.namespace},
        "related": regarding,
    }
