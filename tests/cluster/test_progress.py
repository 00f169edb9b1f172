"""A real pod reports how far it is, and nobody else can do so in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from kube import apply, kubectl, true_conditions, wait_for
from likeness_api.progress_report import PROGRESS_AUDIENCE
from likeness_operator.kubernetes.k8s_object import K8sObject
from shop import SHOP, create, profile, read, running_pod

POST = """
import http.client, os, pathlib, sys, urllib.parse
url = urllib.parse.urlsplit(os.environ["LIKENESS_PROGRESS_URL"])
token = sys.argv[2] or pathlib.Path("/var/run/secrets/likeness.dev/progress/token").read_text()
for _ in range(20):
    try:
        connection = http.client.HTTPConnection(url.netloc, timeout=5)
        connection.request("POST", url.path, sys.argv[1], {"Authorization": "Bearer " + token})
        print(connection.getresponse().status)
        break
    except ConnectionRefusedError:
        continue  # a standby
"""
"""Run in a tuning pod: standard input would be closed before it is read, so all comes as arguments."""


@pytest.fixture(scope="module")
def tuning(shop: str) -> Iterator[tuple[str, K8sObject]]:
    """A Personalization that tunes for minutes, and its pod."""
    apply(profile("long", limits={"steps": 1000, "batchSize": 16}))
    name = create("long", profile="long", tuning={"steps": 1000, "batchSize": 16})
    yield name, running_pod(name)
    kubectl("-n", SHOP, "delete", "pz", name)


def post_from(pod: K8sObject, about: str, token: str = "") -> int:
    """The operator's answer to a report about `about` from inside `pod`, with its own token or another one."""
    report = json.dumps({"personalization": about, "step": 999, "totalSteps": 1000})
    where = ("-n", SHOP, "exec", pod["metadata"]["name"], "-c", "tuner", "--")
    return int(kubectl(*where, "/venv/bin/python", "-c", POST, report, token))


def test_a_long_tune_says_how_far_it_is_while_it_runs(tuning: tuple[str, K8sObject]) -> None:
    name, _ = tuning

    def progress() -> K8sObject | None:
        found: K8sObject | None = read(name)["status"].get("progress")
        return found

    told = wait_for("progress", progress, seconds=300, every=2)
    assert "Running" in true_conditions(read(name))
    assert 0 < told["step"] < told["totalSteps"] == 1000
    assert told["percent"] == 100 * told["step"] // 1000
    assert told["etaSeconds"] > 0


def test_a_pod_reports_for_itself_only_and_others_not_at_all(tuning: tuple[str, K8sObject]) -> None:
    name, pod = tuning
    create("another", suspend=True)
    unbound = kubectl("-n", SHOP, "create", "token", "default", f"--audience={PROGRESS_AUDIENCE}").strip()
    for_another = kubectl(
        "-n", SHOP, "create", "token", "default", "--bound-object-kind=Pod",
        f"--bound-object-name={pod['metadata']['name']}",
    ).strip()  # fmt: skip
    assert post_from(pod, "another") == 403
    assert post_from(pod, name, unbound) == 401
    assert post_from(pod, name, for_another) == 401
    assert post_from(pod, name, "rubbish") == 401
    assert post_from(pod, name) in (204, 429)
    kubectl("-n", SHOP, "delete", "pz", "another")


def test_the_token_of_a_pod_opens_nothing_else(tuning: tuple[str, K8sObject]) -> None:
    _, pod = tuning
    ask = (
        "import http.client, os, pathlib, ssl\n"
        "token = pathlib.Path('/var/run/secrets/likeness.dev/progress/token').read_text()\n"
        "host = os.environ['KUBERNETES_SERVICE_HOST'] + ':' + os.environ['KUBERNETES_SERVICE_PORT']\n"
        "connection = http.client.HTTPSConnection(host, context=ssl._create_unverified_context(), timeout=5)\n"
        "connection.request('GET', '/api', headers={'Authorization': 'Bearer ' + token})\n"
        "print(connection.getresponse().status)\n"
    )
    name = pod["metadata"]["name"]
    assert kubectl("-n", SHOP, "exec", name, "-c", "tuner", "--", "/venv/bin/python", "-c", ask).strip() == "401"
