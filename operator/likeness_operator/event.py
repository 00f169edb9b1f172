"""Events (events.k8s.io/v1) about a Personalization: one when it failed, one when its artifacts were erased.

Everything else is in its conditions; these two are for when it is gone.

A tune that goes well costs three writes: its Job, `Running` and `Succeeded`. The Job has events of its own.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from likeness_api import API_VERSION
from likeness_api.personalization import Failure
from likeness_api.reason import Reason
from likeness_operator.decision import Release
from likeness_operator.observed import Manifest, Personalization

LONGEST_NOTE_BYTES = 1024
CONTROLLER = "likeness.dev/operator"


def last_seen(event: Manifest) -> str:
    """When it happened last, as RFC 3339; the Job controller still writes events of the older kind."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime") or "")


def failure_event(about: Personalization, failure: Failure, instance: str, now: datetime) -> Manifest:
    """The event of an end in failure."""
    return _event(about, failure.reason, failure.message, instance, now) | {"type": "Warning", "action": "Finish"}


def tombstone(about: Personalization, release: Release, instance: str, now: datetime) -> Manifest:
    """What became of the artifacts of one that is about to go.

    A namespace that is being deleted takes no event any more, so that one is about the namespace and in `default`,
    where the API server wants the events of what has no namespace.
    """
    event = _event(about, release.reason, release.note, instance, now) | {"action": "Erase"}
    if release.reason != Reason.NAMESPACE_TERMINATING:
        return event | {"type": "Normal"}
    return event | {
        "type": "Warning",
        "metadata": event["metadata"] | {"namespace": "default"},
        "regarding": {"apiVersion": "v1", "kind": "Namespace", "name": about.namespace},
        "related": event["regarding"],
    }


def _event(about: Personalization, reason: str, note: str, instance: str, now: datetime) -> Manifest:
    """Its name says whom it is about and why, so that telling it twice is telling it once."""
    digest = hashlib.sha256(f"{about.uid} {reason}".encode()).hexdigest()[:16]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name}.{digest}", "namespace": about.namespace},
        "reason": reason,
        "note": note.encode()[:LONGEST_NOTE_BYTES].decode(errors="ignore"),
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": "Personalization",
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        },
    }
