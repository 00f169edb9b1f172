"""The tenant of the cluster tests: builders of its resources, and questions about them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from act import ENVIRONMENT, acted_result, by_shell
from kube import apply, fetch, fetch_all, kubectl, run, true_conditions, wait_for
from likeness_api.reason import EXIT_CODE_OF, Reason
from likeness_operator.kubernetes.k8s_object import K8sObject
from seaweed import Seaweed

CHART = Path(__file__).resolve().parents[2] / "charts/likeness"
SYSTEM = "likeness-system"
SHOP = "shop"
SECRET = "storage-keys"
MODEL_PREFIX = "stable-diffusion-v1-5"
PICTURE = "s3://catalogue/teapot/00.jpg"
numbers = itertools.count(1)


def install_chart(*values: str) -> None:
    """helm, with the operator's image of this run and these `--set` values.

    Returns when the operator is ready and its kinds are known.
    """
    repository, _, tag = os.environ["LIKENESS_TEST_OPERATOR_IMAGE"].rpartition(":")
    kueue = "false" if fetch("crd", "workloads.kueue.x-k8s.io", "") is None else "true"
    run(
        "helm", "upgrade", "--install", "likeness", str(CHART), "--namespace", SYSTEM,
        "--set", f"image.repository={repository}", "--set", f"image.tag={tag}", "--set", f"kueue.enabled={kueue}",
        *(word for value in values for word in ("--set", value)), "--wait", "--timeout", "2m",
    )  # fmt: skip
    kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/instance=likeness")


def profile(name: str, **changes: object) -> K8sObject:
    """A TuningProfile for the small model; `changes` replace fields of its spec."""
    return {
        "apiVersion": "likeness.dev/v1alpha1",
        "kind": "TuningProfile",
        "metadata": {"name": name},
        "spec": {
            "model": {"uri": f"s3://models/{MODEL_PREFIX}", "volume": {"emptyDir": {}}},
            "runtime": {
                "image": os.environ["LIKENESS_TEST_RUNTIME_IMAGE"],
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "2Gi"}},
                "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
            },
            "limits": {"steps": 500},
            "storage": {
                "endpoint": "http://s3.storage.svc.cluster.local:8333",
                "pathStyle": True,
                "sourcePrefixes": [f"s3://{bucket}" for bucket in ("catalogue", "private", "not-made")],
                "outputPrefixes": ["s3://artifacts/{namespace}", "s3://artifacts/forbidden"],
            },
            **changes,
        },
    }


def acted(reason: Reason, seconds: float = 0, **changes: object) -> K8sObject:
    """A profile whose pods end after so many seconds with a result of this reason, so that a life takes no more."""
    told = by_shell(acted_result(reason, good=reason is Reason.TUNED))
    act = f"trap 'exit 143' TERM; sleep {seconds} & wait $!"
    container = {
        "name": "tuner",
        "image": os.environ["LIKENESS_TEST_OPERATOR_IMAGE"],
        "env": ENVIRONMENT,
        "command": ["sh", "-c", f"{act}; {told}; exit {int(EXIT_CODE_OF[reason])}"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    manifest = profile(f"act-{reason.lower()}", **changes)
    manifest["spec"]["runtime"]["podTemplate"] = {"spec": {"containers": [container]}}
    return manifest


def personalization(name: str = "", **changes: object) -> K8sObject:
    """A Personalization of the photograph; `changes` replace fields of its spec."""
    return {
        "apiVersion": "likeness.dev/v1alpha1",
        "kind": "Personalization",
        "metadata": {"name": name or f"subject-{next(numbers)}", "namespace": SHOP},
        "spec": {
            "profile": "tiny",
            "subject": {"images": [{"uri": PICTURE}]},
            "output": f"s3://artifacts/{SHOP}",
            "credentialsSecretRef": {"name": SECRET},
            "tuning": {"steps": 2},
            **changes,
        },
    }


def create(name: str = "", **changes: object) -> str:
    """Applies a Personalization and returns its name."""
    manifest = personalization(name, **changes)
    apply(manifest)
    return str(manifest["metadata"]["name"])


def read(name: str) -> K8sObject:
    found = fetch("pz", name, SHOP)
    assert found is not None, f"personalization {name} is gone"
    return found


def finished(name: str, seconds: float = 120) -> K8sObject:
    """The Personalization once it is Succeeded or Failed."""

    def look() -> K8sObject | None:
        subject = read(name)
        return subject if {"Succeeded", "Failed"} & true_conditions(subject).keys() else None

    return wait_for(f"end of {name}", look, seconds)


def succeeded(name: str, seconds: float = 120) -> K8sObject:
    """The Personalization once it is Succeeded; a failure is shown in its own words."""
    subject = finished(name, seconds)
    assert "Succeeded" in true_conditions(subject), subject["status"].get("failure")
    return subject


def waiting(name: str, reason: str, seconds: float = 60) -> K8sObject:
    """`status.waiting` once it has this reason."""

    def look() -> K8sObject | None:
        found: K8sObject = read(name).get("status", {}).get("waiting", {})
        return found if found.get("reason") == reason else None

    return wait_for(f"{name} waits for {reason}", look, seconds)


def jobs_of(name: str) -> list[K8sObject]:
    return fetch_all("jobs", SHOP, f"likeness.dev/personalization={name}")


def pods_of(name: str) -> list[K8sObject]:
    return fetch_all("pods", SHOP, f"likeness.dev/personalization={name}")


def running_pod(name: str, after: frozenset[str] = frozenset(), seconds: float = 60) -> K8sObject:
    """A running pod of this Personalization whose uid is not in `after`."""

    def look() -> K8sObject | None:
        for pod in pods_of(name):
            if pod["status"]["phase"] == "Running" and pod["metadata"]["uid"] not in after:
                return pod
        return None

    return wait_for(f"a running pod of {name}", look, seconds)


def logs_of(pod: K8sObject) -> str:
    return kubectl("-n", SHOP, "logs", pod["metadata"]["name"])


def published_keys(storage: Seaweed, name: str) -> list[str]:
    """Every object below the output prefix of `personalization(name)`."""
    return storage.keys("artifacts", f"{SHOP}/{SHOP}/{name}/")
