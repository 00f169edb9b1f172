"""A Kubernetes object as the API server sends it, and what can be read of any of them."""

from __future__ import annotations

from typing import Any

K8sObject = dict[str, Any]
"""A Kubernetes object, or a part of one, as JSON."""


def true_conditions(manifest: K8sObject) -> dict[str, K8sObject]:
    """The conditions of an object whose status is True, by type."""
    conditions = manifest.get("status", {}).get("conditions", [])
    return {condition["type"]: condition for condition in conditions if condition.get("status") == "True"}


def controller_uid(metadata: K8sObject) -> str | None:
    """The uid of the object that controls the one with this metadata; None where nothing does."""
    owners = [owner["uid"] for owner in metadata.get("ownerReferences", []) if owner.get("controller")]
    return owners[0] if owners else None


def is_terminating(manifest: K8sObject) -> bool:
    """Whether an object is being deleted: it has a deletion timestamp."""
    return "deletionTimestamp" in manifest["metadata"]
