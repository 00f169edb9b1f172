"""All that the rules for a terminating object read, gathered within one reconciliation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from likeness_api.accept import Refusal
from likeness_api.personalization import Waiting
from likeness_operator.erasure.owner import Owner
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.personalization.profile import Profile


@dataclass(frozen=True)
class ErasureObservation:
    """An object that is being deleted, with the Jobs that worked for it and the Job that erases what they published.

    The answer to a question is None until a rule asks it.
    """

    owner: Owner
    now: datetime
    jobs: tuple[Job, ...] = ()
    """Those that could still publish."""
    pods: tuple[Pod, ...] = ()
    """The pods of all Jobs that ever worked for an object of this name."""
    eraser: Job | None = None
    """The Job that erases."""
    eraser_pods: tuple[Pod, ...] = ()
    job_refusal: Waiting | None = None
    """What the API server answered when it refused the erase Job in this very reconciliation."""
    profile: Profile | Refusal | None = None
    """Answer to `Question.PROFILE`."""
    namespace_terminating: bool | None = None
    """Answer to `Question.NAMESPACE_TERMINATING`."""
