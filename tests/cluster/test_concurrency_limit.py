"""`maxConcurrent`: never more Jobs at once than the profile says, the oldest first, and who waits says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from kube import apply, true_conditions, wait_for
from likeness_api.reason import Reason
from likeness_operator.kubernetes.k8s_object import K8sObject
from shop import acted, create, jobs_of, read, succeeded

LIMIT = 2
NAMES = ("turn-e", "turn-d", "turn-c", "turn-b", "turn-a")
"""By age; by name it would be the other way round."""


def moments(job: K8sObject) -> tuple[datetime, datetime]:
    """When it was made and when it completed."""
    return (
        datetime.fromisoformat(job["metadata"]["creationTimestamp"]),
        datetime.fromisoformat(job["status"]["completionTime"]),
    )


def test_the_limit_holds_and_the_oldest_is_first(shop: str, figure: Callable[[str], None]) -> None:
    by_turns = acted(Reason.TUNED, seconds=8, maxConcurrent=LIMIT)
    by_turns["metadata"]["name"] = "by-turns"
    apply(by_turns)
    for name in NAMES:
        create(name, profile="by-turns")
        time.sleep(1.1)  # creation times have whole seconds
    last = wait_for("a reason", lambda: read(NAMES[-1]).get("status", {}).get("waiting"), seconds=30)
    assert last["reason"] == "ConcurrencyLimit"
    assert "maxConcurrent" in last["nextStep"]
    assert true_conditions(read(NAMES[-1])).keys() == {"Accepted", "Waiting"}
    for name in NAMES:
        succeeded(name, seconds=180)
    lives = [moments(jobs_of(name)[0]) for name in NAMES]
    most = max(sum(start <= moment < end for start, end in lives) for moment, _ in lives)
    figure(f"{most} at once of {len(NAMES)}; made {', '.join(f'{made:%H:%M:%S}' for made, _ in lives)}")
    assert most == LIMIT
    assert lives == sorted(lives, key=lambda life: life[0])
