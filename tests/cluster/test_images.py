"""What is in the images as they were built: our packages of that side, and nothing of the laboratory."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kube import apply, kubectl, wait_for

NAMESPACE = "image-contents"
PROGRAM = """
import importlib.util, pkgutil
from importlib.metadata import entry_points
print(*sorted(module.name for module in pkgutil.iter_modules() if module.name.startswith("likeness")))
print(*sorted(name for name in ("matplotlib", "mypy", "peft", "pytest") if importlib.util.find_spec(name)))
print(*entry_points(group="likeness.commands"))
"""


@pytest.fixture(scope="module")
def namespace(cluster: None) -> Iterator[str]:
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield NAMESPACE
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize("side", ["operator", "runtime"])
def test_an_image_has_its_own_side_and_nothing_of_the_laboratory(namespace: str, side: str) -> None:
    image = os.environ[f"LIKENESS_TEST_{side.upper()}_IMAGE"]
    container = {"name": "look", "image": image, "command": ["python", "-c", PROGRAM]}
    spec = {"restartPolicy": "Never", "containers": [container]}
    apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": side, "namespace": namespace}, "spec": spec})

    def ended() -> str:
        phase = kubectl("-n", namespace, "get", "pod", side, "-o", "jsonpath={.status.phase}")
        return phase if phase in ("Succeeded", "Failed") else ""

    assert wait_for("the pod's end", ended, 120) == "Succeeded"
    modules, foreign, commands = kubectl("-n", namespace, "logs", side).split("\n")[:3]
    assert modules.split() == ["likeness_api", f"likeness_{side}"]
    assert (foreign, commands) == ("", "")
