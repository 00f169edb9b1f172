"""The labels that our Jobs and pods carry, and that the watches select by."""

from __future__ import annotations

from likeness_api import GROUP

NAME = "app.kubernetes.io/name"
MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
PERSONALIZATION = f"{GROUP}/personalization"
PROFILE = f"{GROUP}/profile"
QUEUE = "kueue.x-k8s.io/queue-name"

PRODUCT = "likeness"
OURS = f"{MANAGED_BY}={PRODUCT}"
"""Label selector of everything the operator creates."""
