"""kubectl for the cluster tests: manifests in, objects out, and waiting that says what did not come."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from likeness_operator.kubernetes.k8s_object import K8sObject

T = TypeVar("T")

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


class CommandFailedError(Exception):
    """A program ended with another code than 0; the message has its standard error."""


def run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailedError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    return run("kubectl", *arguments, stdin=stdin)


def apply(*manifests: K8sObject) -> None:
    everything = {"apiVersion": "v1", "kind": "List", "items": manifests}
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(everything))


def fetch(kind: str, name: str, namespace: str) -> K8sObject | None:
    """The object, or None where there is none."""
    text = kubectl("-n", namespace, "get", kind, name, "--ignore-not-found", "-o", "json")
    return json.loads(text) if text else None


def fetch_all(kind: str, namespace: str, selector: str = "") -> list[K8sObject]:
    answer: K8sObject = json.loads(kubectl("-n", namespace, "get", kind, "-l", selector, "-o", "json"))
    items: list[K8sObject] = answer["items"]
    return items


def wait_for(what: str, look: Callable[[], T | None], seconds: float, every: float = 0.25) -> T:
    """The first thing that `look` finds (not None, not False, not empty)."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(every)


def true_conditions(subject: K8sObject) -> dict[str, K8sObject]:
    conditions = subject.get("status", {}).get("conditions", [])
    return {condition["type"]: condition for condition in conditions if condition["status"] == "True"}


def diagnosis(namespaces: list[str]) -> str:
    """What a person would ask for next: objects, events, the ends of the logs."""
    commands = []
    for namespace in namespaces:
        commands += [
            ("kubectl", "-n", namespace, "get", "pz,jobs,pods", "-o", "wide"),
            ("kubectl", "-n", namespace, "get", "events", "--sort-by=.metadata.creationTimestamp"),
            ("kubectl", "-n", namespace, "logs", "--prefix", "--tail=60", "--ignore-errors", "--all-containers",
             "-l", "app.kubernetes.io/name=likeness", "--max-log-requests=50"),
        ]  # fmt: skip
    parts = []
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        parts.append(f"$ {' '.join(command)}\n{(done.stdout + done.stderr)[-12000:]}")
    return "\n".join(parts)


def missing_programs() -> list[str]:
    return [program for program in ("kubectl", "helm") if not shutil.which(program)]
