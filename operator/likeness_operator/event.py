"""Events (events.k8s.io/v1) about a Personalization: one, when it failed. Everything else is in its conditions.

A tune that goes well costs three writes: its Job, `Running` and `Succeeded`. The Job has events of its own.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from likeness_api import API_VERSION
from likeness_api.personalization import Failure
from likeness_operator.observed import Manifest, Personalization

LONGEST_NOTE_BYTES = 1024
CONTROLLER = "likeness.dev/operator"


def last_seen(event: Manifest) -> str:
    """When it happened last, as RFC 3339; the Job controller still writes events of the older kind."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime") or "")


def failure_event(about: Personalization, failure: Failure, instance: str, now: datetime) -> Manifest:
    """The event of an end in failure. Its name is that of the end, so that telling it twice is telling it once."""
    digest = hashlib.sha256(f"{about.uid} {failure.reason}".encode()).hexdigest()[:16]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name}.{digest}", "namespace": about.namespace},
        "type": "Warning",
        "reason": failure.reason,
        "note": failure.message.encode()[:LONGEST_NOTE_BYTES].decode(errors="ignore"),
        "action": "Finish",
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
