"""The names that we put on objects (labels, annotations, finalizer, container), and what the watches select by."""

from __future__ import annotations

from likeness_api import GROUP

NAME = "app.kubernetes.io/name"
MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
TUNER, ERASER = "tuner", "eraser"
PLANNER, WORKER, COLLECTOR = "planner", "worker", "collector"
"""What a Job of ours is there for."""
PERSONALIZATION_NAME = f"{GROUP}/personalization"
BATCH_NAME = f"{GROUP}/batch"
PROFILE = f"{GROUP}/profile"
ERASES = f"{GROUP}/erases"
"""On an erase Job: the uid of the object whose artifacts the Job erases."""
QUEUE = "kueue.x-k8s.io/queue-name"

TOKEN = f"{GROUP}/token"
"""Annotation of a Job that tunes: the subject's word in prompts."""
TOKEN_WARNING = f"{GROUP}/token-warning"
"""Annotation of a Job that tunes: what is odd about the prompts of its previews."""
ENCODER_USE = f"{GROUP}/encoder-use"
"""Annotation of a Job that tunes: whether an encoder predicts where tuning starts, as `Reason: message`."""

ORDERED = f"{GROUP}/ordered"
"""Annotation of a Job that tunes: a digest over whom it is for and what it may publish."""
CONTAINER = "tuner"
"""The name of our container; a profile's pod template may add others beside it."""

PRODUCT = "likeness"
OURS = f"{MANAGED_BY}={PRODUCT}"
"""Label selector of all Jobs that the operator creates, and of their pods."""
WATCHED = "status.unwatched!=true"
"""Field selector of the Personalizations that there may be something to do about. Batches are few, and all watched."""
FINALIZER = f"{GROUP}/erase"
"""Keeps an object with `deletionPolicy: Delete` until what it published is erased."""
