"""Whether a namespace is being deleted, found out without the right to read namespaces."""

from __future__ import annotations

from datetime import datetime

from likeness_operator.kubernetes.api_error import AlreadyExistsError, RefusedError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.event import EventContent, ObjectReference, build_event

DRY_RUN = EventContent("Normal", "DryRun", "Erase", "a dry run")


async def is_namespace_terminating(api: ApiServer, about: ObjectReference, instance: str, now: datetime) -> bool:
    """Whether the namespace of an object is being deleted: nothing can be created in it then, not even an event.

    Raises the errors of api_error.py.
    """
    try:
        await api.create_event(build_event(about, DRY_RUN, instance, now), dry_run=True)
    except RefusedError as error:
        return error.namespace_terminating
    except AlreadyExistsError:
        return False
    return False
