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


def audit(user: str, since: str = STARTED) -> list[dict[str, Any]]:
    path = os.environ.get("LIKENESS_TEST_AUDIT_LOG")
    if not path:
        pytest.skip("this cluster's audit log is not known: set LIKENESS_TEST_AUDIT_LOG")
    whole_lines = Path(path).read_text().split("\n")[:-1]  # the last one may be being written
    events = [json.loads(line) for line in whole_lines]
    return [
        event
        for event in events
        if event["user"].get("username") == user and event["requestReceivedTimestamp"] >= since
    ]


def right(verb: str, group: str, resource: str, subresource: str = "") -> str:
    """As a person would write it: `update personalizations/status.likeness.dev`."""
    return f"{verb} {resource}{subresource and '/'}{subresource}{group and '.'}{group}"


def granted() -> set[str]:
    """The rights of the operator's roles as they are in the API server."""
    roles = json.loads(
        kubectl("get", "clusterroles,roles", "-A", "-l", "app.kubernetes.io/instance=likeness", "-o", "json")
    )
    mine = [role for role in roles["items"] if role["metadata"]["name"].startswith("likeness-operator")]
    return {
        right(verb, group, resource)
        for role in mine
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def used() -> set[str]:
    """What the operator was allowed to do since the cluster is there: it makes its Lease only once."""
    allowed = [event for event in audit(OPERATOR, since="") if "objectRef" in event and not denied(event)]
    parts = ("apiGroup", "resource", "subresource")
    return {right(event["verb"], *(event["objectRef"].get(part, "") for part in parts)) for event in allowed}


def denied(event: dict[str, Any]) -> bool:
    """By the authorizer: a 403 of an admission plugin (a quota, in another test) is no missing right."""
    return str(event["annotations"]["authorization.k8s.io/decision"]) != "allow"


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
    assert [event["requestURI"] for event in audit(OPERATOR) if denied(event)] == []


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


@pytest.mark.last
def test_the_chart_gives_exactly_the_rights_that_all_these_tests_made_the_operator_use(
    release: str, request: pytest.FixtureRequest, figure: Callable[[str], None]
) -> None:
    ran = {item.path.name for item in request.session.items}
    left_out = {path.name for path in Path(__file__).parent.glob("test_*.py")} - ran
    if left_out:
        pytest.skip(f"an unused right is one that no cluster test needs, and {', '.join(sorted(left_out))} did not run")
    assert [event["requestURI"] for event in audit(OPERATOR) if denied(event)] == []
    assert used() == granted()
    figure(f"{len(granted())} rights, all used: {', '.join(sorted(granted()))}")
