"""The chart in all its modes, by the word of a real API server: nothing in it is unknown, misspelt or refused.

Runs on a fake node too; only `helm test` needs the operator's pods.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kube import RESTRICTED, CommandFailedError, apply, kubectl, run
from shop import CHART, SYSTEM

HERE = Path(__file__).resolve().parent
SANDBOX = "likeness-modes"
MONITORING = ("serviceMonitor.enabled=true", "prometheusRule.enabled=true", "grafanaDashboard.enabled=true")
POLICY = "networkPolicy.egress=true"
TUNER = "tunerServiceAccounts[0]"
MODES: dict[str, tuple[str, ...]] = {
    "cluster-wide": (),
    "by-namespace": (f"watchNamespaces={{{SANDBOX},default}}",),
    "with-kueue": ("kueue.enabled=true",),
    "without-progress": ("progress.enabled=false", POLICY),
    "single": ("replicas=1",),
    "stopped": ("replicas=0",),
    "monitored": (*MONITORING, "serviceMonitor.labels.team=ml", "service.annotations.scrape=yes"),
    "walled-in": (
        POLICY,
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
        "networkPolicy.apiServerCidrs={10.0.0.1/32}",
        "networkPolicy.apiServerPorts={6443}",
    ),
    "open-policy": (POLICY,),
    "others-crds-and-accounts": ("crds.install=false", "serviceAccount.create=false", "serviceAccount.name=mine"),
    "no-roles-for-people": ("userRoles.create=false",),
    "tuners": (f"{TUNER}.namespace={SANDBOX}", f"{TUNER}.name=tuner", f"{TUNER}.annotations.role=painter"),
    "placed": (
        "imagePullSecrets[0].name=pull", "priorityClassName=system-cluster-critical", "nodeSelector.disk=ssd",
        "tolerations[0].operator=Exists", "podLabels.team=ml", "podAnnotations.note=x", "logFormat=text",
        "image.tag=1.2.3", "image.pullPolicy=Always", "resources.limits.cpu=1",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
        ".matchExpressions[0].key=a",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
        ".matchExpressions[0].operator=Exists",
    ),
    "held": (
        f"watchNamespaces={{{SANDBOX}}}", "admissionPolicy.enabled=true", "admissionPolicy.images={likeness/runtime}",
        "admissionPolicy.serviceAccounts={default}", "admissionPolicy.exemptNamespaces={default}",
    ),
    "unheld": ("admissionPolicy.enabled=false",),
    "everything": (f"watchNamespaces={{{SANDBOX}}}", *MONITORING, POLICY),
}  # fmt: skip


def helm(*command: str, values: tuple[str, ...]) -> str:
    """helm on the chart, as for this cluster's version of Kubernetes."""
    version = json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    sets = [word for value in values for word in ("--set", value)]
    return run("helm", *command, str(CHART), "--namespace", SANDBOX, "--kube-version", version, *sets)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    """A namespace at the restricted level, and the monitoring kinds for as long as it is there."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no disposable cluster: KUBECONFIG is not set")
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SANDBOX, "labels": RESTRICTED}})
    crds = str(HERE / "monitoring-crds.yaml")
    kubectl("apply", "--server-side", "-f", crds)
    kubectl("wait", "--for=condition=Established", "-f", crds)
    yield SANDBOX
    kubectl("delete", "-f", crds)
    kubectl("delete", "namespace", SANDBOX)


def dry_run(text: str) -> str:
    """Has the API server validate and admit all of it, strictly, and keep nothing."""
    return kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-",
                   stdin=text)  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_taken_by_the_api_server(sandbox: str, figure: Callable[[str], None], mode: str) -> None:
    helm("lint", "--strict", values=MODES[mode])
    taken = dry_run(helm("template", "modes", values=MODES[mode]))
    assert "serverside-applied" in taken
    assert "Warning" not in taken
    figure(f"{len(taken.splitlines())} objects")


def test_an_unknown_field_would_be_noticed(sandbox: str) -> None:
    text = helm("template", "modes", values=MONITORING)
    for known, misspelt in (("maxUnavailable: 1\n  unhealthy", "maxUnvailable: 1\n  unhealthy"), ("expr:", "exprs:")):
        assert known in text
        with pytest.raises(CommandFailedError, match=misspelt.split(":")[0]):
            dry_run(text.replace(known, misspelt))


def test_helm_test_finds_an_operator_that_leads(release: str) -> None:
    assert "Succeeded" in run("helm", "-n", SYSTEM, "test", release, "--timeout", "2m")
