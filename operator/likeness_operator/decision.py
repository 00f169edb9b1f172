"""What the rules are given and what they answer: an observation in, a decision out, no input or output in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from likeness_api.accept import Refusal
from likeness_api.personalization import PersonalizationStatus, Progress, Waiting
from likeness_api.reason import Reason
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_operator.observed import Job, Manifest, Personalization, Pod
from likeness_operator.workload import Workload


@dataclass(frozen=True)
class Profile:
    """A TuningProfile that fits its types."""

    name: str
    spec: TuningProfileSpec


@dataclass(frozen=True)
class Observation:
    """All that a decision rests on, read within one pass."""

    personalization: Personalization
    now: datetime
    job: Job | None = None
    pods: tuple[Pod, ...] = ()
    """The pods of `job`; of one that is being deleted, those of any other Job of its name, too."""
    taken_away: tuple[Pod, ...] = ()
    """Pods of `job` that ended by an eviction, or well, and are gone: for the history, and for the result."""
    profile: Profile | Refusal | None = None
    """Looked up only where a Job may have to be made or resumed."""
    turn: bool = True
    """Whether it may start now, where the profile limits how many do at once."""
    pod_refusal: str | None = None
    """Why the Job has no pod, in the API server's words; "" where nobody said. Asked for where a rule wants to know."""
    workloads: tuple[Workload, ...] | None = None
    """What Kueue made of the Job, at most one; None where nobody asked. Asked for where a rule wants to know."""
    progress: Progress | None = None
    """The pod's own word, where it is time to tell."""
    progress_url: str | None = None
    """Where a new Job's pods should report to; None for nowhere."""
    eraser: Job | None = None
    """The Job that erases what was published, of one that is being deleted."""
    eraser_pods: tuple[Pod, ...] = ()
    namespace_goes: bool | None = None
    """Whether its namespace is being deleted; None where nobody asked. Asked for where a rule wants to know."""
    job_refusal: Waiting | None = None
    """What the API server said when it refused the Job in this very pass."""


@dataclass(frozen=True)
class CreateJob:
    manifest: Manifest


@dataclass(frozen=True)
class PatchJob:
    """Sets fields of the Job's spec, if it is still the Job that was looked at."""

    job: Job
    spec: Manifest = field(hash=False)


@dataclass(frozen=True)
class DeleteJob:
    job: Job


@dataclass(frozen=True)
class Guard:
    """Puts our finalizer on the Personalization."""


@dataclass(frozen=True)
class Release:
    """Takes our finalizer off, after an event that says what became of the artifacts."""

    reason: Reason
    note: str


Action = CreateJob | PatchJob | DeleteJob | Guard | Release


@dataclass(frozen=True)
class Decision:
    """At most one write. An action comes first; after it everything is decided anew."""

    action: Action | None = None
    status: PersonalizationStatus | None = None
    """What the status should say; None leaves it as it is."""
    look_again_seconds: float | None = None
    """Nothing may happen by then that a watch would tell."""
    asks_for_pod_refusal: bool = False
    """Decide anew once `Observation.pod_refusal` is known."""
    asks_for_workloads: bool = False
    """Decide anew once `Observation.workloads` is known."""
    asks_for_namespace: bool = False
    """Decide anew once `Observation.namespace_goes` is known."""
