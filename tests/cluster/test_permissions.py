"""What the operator may do and what it did, by the API server's own word."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kube import CommandFailedError, kubectl
from shop import SHOP, SYSTEM, create, succeeded

STARTED = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
"""A cluster that is kept has the log of earlier runs too."""
OPERATOR = f"system:serviceaccount:{SYSTEM}:likeness-operator"


def audit(user: str) -> list[dict[str, Any]]:
    path = os.environ.get("LIKENESS_TEST_AUDIT_LOG")
    if not path:
        pytest.skip("this cluster's audit log is not known: set LIKENESS_TEST_AUDIT_LOG")
    events = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return [
        event for event in events if event["user"]["username"] == user and event["requestReceivedTimestamp"] >= STARTED
    ]


@pytest.mark.parametrize(
    "may_not",
    [
        "get secrets",
        "list secrets",
        "create pods",
        "delete pods",
        "get configmaps",
        "create serviceaccounts/token",
    ],
)
def test_the_operator_may_not(release: str, may_not: str) -> None:
    verb, resource = may_not.split()
    with pytest.raises(CommandFailedError, match=r"ended with 1: $"):
        kubectl("auth", "can-i", verb, resource, "-n", SHOP, f"--as={OPERATOR}")


def test_the_operator_runs_as_its_own_service_account_and_not_as_root(release: str) -> None:
    selector = "app.kubernetes.io/component=operator"
    pods = json.loads(kubectl("-n", SYSTEM, "get", "pods", "-l", selector, "-o", "json"))["items"]
    assert len(pods) == 2
    for pod in pods:
        assert pod["spec"]["serviceAccountName"] == "likeness-operator"
        assert all(status["restartCount"] == 0 for status in pod["status"]["containerStatuses"])


def test_no_request_of_the_operator_is_ever_refused_as_forbidden(shop: str) -> None:
    succeeded(create())
    # By the authorizer: a 403 of an admission plugin (a quota, in another test) is no missing right.
    refused = [event for event in audit(OPERATOR) if event["annotations"]["authorization.k8s.io/decision"] != "allow"]
    assert [event["requestURI"] for event in refused] == []


def test_one_life_takes_one_job_and_few_writes(shop: str, figure: Callable[[str], None]) -> None:
    name = create("counted")
    succeeded(name)
    changes = [event for event in audit(OPERATOR) if event["verb"] in ("create", "update", "patch", "delete")]
    writes = [
        f"{event['verb']} {event['objectRef']['resource']}"
        for event in changes
        if event["objectRef"].get("name", "").startswith(name)
    ]
    figure(f"{len(writes)} writes: {', '.join(writes)}")
    assert writes.count("create jobs") == 1
    assert len(writes) <= 4
