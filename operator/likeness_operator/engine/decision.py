"""What rules answer: at most one write, and what has to be known for it. No input or output in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import Any, ClassVar, Generic, TypeVar

from likeness_api.field import StatusModel
from likeness_operator.kubernetes.event import EventContent
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.k8s_object import K8sObject

ObservationT = TypeVar("ObservationT")
StatusT_co = TypeVar("StatusT_co", bound=StatusModel, covariant=True)


class Fresh(IntEnum):
    """What has been read from the API server within one reconciliation, and not from the watch cache."""

    NOTHING = 0
    """All is from the watch cache: enough for a status, whose write names the resourceVersion that it rests on."""
    OBJECT = 1
    """The object is still as the cache has it: enough to create a Job, whose fixed name rules out a second one."""
    EVERYTHING = 2
    """The object, its Jobs and their pods: enough for what cannot be taken back."""


class Question(Enum):
    """What a rule may want to know that is not in every observation, because it takes a request to find out."""

    PROFILE = auto()
    """The TuningProfile that a Job would be made with."""
    SLOT = auto()
    """Whether another Job may start now, where the TuningProfile limits how many do at once."""
    POD_REFUSAL = auto()
    """Why the Job has no pod, in the API server's words."""
    WORKLOADS = auto()
    """What Kueue made of the Job."""
    NAMESPACE_TERMINATING = auto()
    """Whether the namespace is being deleted."""


@dataclass(frozen=True)
class CreateJob:
    """Creates a Job with a fixed name."""

    needs_fresh: ClassVar = Fresh.OBJECT
    manifest: K8sObject


@dataclass(frozen=True)
class PatchJob:
    """Sets fields of the Job's spec, if the Job is still the one that was observed."""

    needs_fresh: ClassVar = Fresh.EVERYTHING
    job: Job
    spec: K8sObject = field(hash=False)


@dataclass(frozen=True)
class DeleteJob:
    """Deletes the Job and its pods, if the Job is still the one that was observed."""

    needs_fresh: ClassVar = Fresh.EVERYTHING
    job: Job


@dataclass(frozen=True)
class AddFinalizer:
    """Puts our finalizer on the object."""

    needs_fresh: ClassVar = Fresh.EVERYTHING


@dataclass(frozen=True)
class RemoveFinalizer:
    """Takes our finalizer off the object, after an event that outlives the object."""

    needs_fresh: ClassVar = Fresh.EVERYTHING
    event: EventContent


@dataclass(frozen=True)
class Unwatch:
    """Sets `status.unwatched` and leaves the rest of the status as it is; the watch then drops the object."""

    needs_fresh: ClassVar = Fresh.NOTHING


Action = CreateJob | PatchJob | DeleteJob | AddFinalizer | RemoveFinalizer | Unwatch


@dataclass(frozen=True)
class Decision(Generic[StatusT_co]):
    """What a rule decides: at most one write. An action goes before a status; after it everything is decided anew."""

    action: Action | None = None
    status: StatusT_co | None = None
    """What the status should be; None leaves the status as it is."""
    requeue_after_seconds: float | None = None
    """When to reconcile again though no watch may have reported anything; None for never."""
    question: Question | None = None
    """Once the observation has the answer, decide again, from the rule that asked."""
    needs_fresh: Fresh = Fresh.NOTHING
    """What must have been read from the API server first; an action may need more. Else: read, and decide anew."""


Rule = Callable[[ObservationT], Decision[Any] | None]


def decide(rules: Sequence[Rule[ObservationT]], observation: ObservationT, start: int = 0) -> tuple[int, Decision[Any]]:
    """The first rule's place and decision, among those from `start` on, that has one for `observation`."""
    for index in range(start, len(rules)):
        decision = rules[index](observation)
        if decision is not None:
            return index, decision
    raise AssertionError("the last rule always answers")


def freshness_needed(decision: Decision[Any]) -> Fresh:
    """What must have been read from the API server before `decision` may be carried out."""
    return max(decision.needs_fresh, decision.action.needs_fresh if decision.action else Fresh.NOTHING)
