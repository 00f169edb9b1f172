"""The names that we put on objects: labels of our Jobs and pods, the finalizer; and what the watches select by."""

from __future__ import annotations

from likeness_api import GROUP

NAME = "app.kubernetes.io/name"
MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
TUNER, ERASER = "tuner", "eraser"
"""What a Job of ours is there for."""
PERSONALIZATION = f"{GROUP}/personalization"
PROFILE = f"{GROUP}/profile"
ERASES = f"{GROUP}/erases"
"""On an erase Job: the uid of the Personalization whose artifacts it erases."""
QUEUE = "kueue.x-k8s.io/queue-name"

PRODUCT = "likeness"
OURS = f"{MANAGED_BY}={PRODUCT}"
"""Label selector of all Jobs that the operator creates, and of their pods."""
UNSETTLED = "status.settled!=true"
"""Field selector of the Personalizations that there may be something to do about."""
FINALIZER = f"{GROUP}/erase"
"""Keeps a Personalization with `deletionPolicy: Delete` until what it published is erased."""
