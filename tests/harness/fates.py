"""What becomes of tuning pods, acted by kwok or by a shell in a real one, and what must be said about it in the end.

A fate is a TuningProfile: the label that the operator puts on Jobs and pods tells which one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from act import ENVIRONMENT, acted_result, by_kwok, by_shell
from likeness_api.reason import EXIT_CODE_OF, Reason
from likeness_operator.kubernetes.k8s_object import K8sObject
from outside import profile

LABEL = "likeness.dev/profile"
STAGES = Path(__file__).resolve().parents[1] / "cluster/burst-stages.yaml"


@dataclass(frozen=True)
class End:
    """How a pod ends. Without a reason it leaves no result."""

    reason: Reason | None
    exit_code: int
    kubelet_says: str = "Error"

    @property
    def message(self) -> str:
        if self.reason is None:
            return ""
        return acted_result(self.reason, good=self.exit_code == 0)


def by_itself(reason: Reason) -> End:
    return End(reason, int(EXIT_CODE_OF[reason]))


@dataclass(frozen=True)
class Fate:
    name: str
    share: int
    """Of so many Personalizations, in a hundred."""
    ends: tuple[End, ...]
    """Each pod gets one of these, all equally likely."""
    says: frozenset[tuple[str, str]]
    """State and reason that the Personalization may end with."""
    seconds: tuple[float, float] = (0.5, 6.0)
    """That a pod runs, evenly spread."""
    backoff_limit: int = 3
    deadline_seconds: int = 3600
    evicted: bool = False
    """Its first pod that is seen running is evicted."""
    only_acted: bool = False
    """Too much for a real node."""


def _good(reason: Reason) -> frozenset[tuple[str, str]]:
    return frozenset({("Succeeded", str(reason))})


def _bad(reason: Reason) -> frozenset[tuple[str, str]]:
    return frozenset({("Failed", str(reason))})


TUNED, UNAVAILABLE = by_itself(Reason.TUNED), by_itself(Reason.STORAGE_UNAVAILABLE)
FINAL = (
    Reason.IMAGE_UNREADABLE,
    Reason.ACCESS_DENIED,
    Reason.MODEL_NOT_FOUND,
    Reason.LOSS_NOT_FINITE,
    Reason.OUT_OF_DEVICE_MEMORY,
)
"""One for each exit code that ends a Job at once."""
FATES = (
    Fate("tuned", 40, (TUNED,), _good(Reason.TUNED)),
    Fate("published", 5, (by_itself(Reason.ALREADY_PUBLISHED),), _good(Reason.ALREADY_PUBLISHED), seconds=(0, 1)),
    *(Fate(f"exit-{int(EXIT_CODE_OF[reason])}", 3, (by_itself(reason),), _bad(reason)) for reason in FINAL),
    Fate("flaky", 10, (TUNED, UNAVAILABLE), _good(Reason.TUNED) | _bad(Reason.STORAGE_UNAVAILABLE), backoff_limit=2),
    Fate("broken", 5, (UNAVAILABLE,), _bad(Reason.STORAGE_UNAVAILABLE), backoff_limit=1),
    Fate("crashed", 5, (End(None, 1),), _bad(Reason.RUNTIME_CRASHED), backoff_limit=0),
    # Did the eviction count against backoffLimit, there would be no second attempt.
    Fate("evicted", 10, (TUNED,), _good(Reason.TUNED), seconds=(3, 8), backoff_limit=0, evicted=True),
    Fate("late", 5, (TUNED,), _bad(Reason.DEADLINE_EXCEEDED), seconds=(600, 601), deadline_seconds=4),
    Fate("too-big", 5, (End(None, 137, "OOMKilled"),), _bad(Reason.OUT_OF_MEMORY), only_acted=True),
)  # fmt: skip


def profile_of(fate: Fate, *, acted: bool) -> K8sObject:
    """Its TuningProfile. Not acted, the pod is a shell in the operator's image, which has the smallest one we build."""
    if acted:
        return profile(fate.name, backoffLimit=fate.backoff_limit)
    made = profile(fate.name, backoffLimit=fate.backoff_limit)
    container = {
        "name": "tuner",
        "image": os.environ["LIKENESS_TEST_OPERATOR_IMAGE"],
        "env": ENVIRONMENT,
        "command": ["sh", "-c", script(fate)],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    made["spec"]["runtime"] = {"image": "none:1", "podTemplate": {"spec": {"containers": [container]}}}
    return made


def script(fate: Fate) -> str:
    low, high = fate.seconds
    lines = [
        "trap 'exit 143' TERM",  # as the runtime does; a shell that is process 1 would not hear of its eviction
        "random=$(od -An -N2 -tu2 /dev/urandom)",
        f"sleep $(awk \"BEGIN {{print {low} + {high - low} * $random / 65536}}\") & wait $!",
        f"case $((random % {len(fate.ends)})) in",
        *(f"{number}) {by_shell(end.message)}; exit {end.exit_code};;"
          for number, end in enumerate(fate.ends)),
        "esac",
    ]  # fmt: skip
    return "\n".join(lines)


def stages(folder: Path) -> Path:
    """A file of kwok's Stages in which all pods have their fates."""
    usual = {stage["metadata"]["name"]: stage for stage in yaml.safe_load_all(STAGES.read_text())}
    made = [usual["node-initialize"], usual["pod-start"], *DELETED]
    made += [_stage(fate, number, end) for fate in FATES for number, end in enumerate(fate.ends)]
    path = folder / "stages.yaml"
    path.write_text(yaml.safe_dump_all(made))
    return path


def _pod_stage(name: str, expressions: list[K8sObject], **spec: Any) -> K8sObject:
    selector = {"matchExpressions": expressions, **spec.pop("selector", {})}
    pods = {"apiGroup": "v1", "kind": "Pod"}
    spec = {"resourceRef": pods, "selector": selector, **spec}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _terminated(end: End) -> str:
    state = {
        "exitCode": end.exit_code,
        "reason": end.kubelet_says if end.exit_code else "Completed",
        "message": by_kwok(end.message),
    }
    return f"""
{{{{ $now := Now }}}}
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  ready: false
  restartCount: 0
  state:
    terminated:
      startedAt: {{{{ $now | Quote }}}}
      finishedAt: {{{{ $now | Quote }}}}
{indent(yaml.safe_dump(state, width=10_000), " " * 6)}{{{{ end }}}}
phase: {"Failed" if end.exit_code else "Succeeded"}
"""


def _is(phases: list[str]) -> K8sObject:
    return {"key": ".status.phase", "operator": "In", "values": phases}


def _deleted(how: str) -> K8sObject:
    return {"key": ".metadata.deletionTimestamp", "operator": how}


def _stage(fate: Fate, number: int, end: End) -> K8sObject:
    low, high = (int(1000 * seconds) for seconds in fate.seconds)
    return _pod_stage(
        f"{fate.name}-{number}",
        [_deleted("DoesNotExist"), _is(["Running"])],
        selector={"matchLabels": {LABEL: fate.name}},
        weight=1,
        delay={"durationMilliseconds": low, "jitterDurationMilliseconds": high},
        next={"statusTemplate": _terminated(end)},
    )


# As a kubelet does it: a pod that is to go ends first, and goes when the Job controller has counted it.
DELETED = (
    _pod_stage(
        "told-to-end",
        [_deleted("Exists"), _is(["Running"])],
        next={"statusTemplate": _terminated(End(None, 143))},
    ),
    _pod_stage("gone", [_deleted("Exists"), _is(["Failed", "Succeeded", "Pending"])], next={"delete": True}),
)
