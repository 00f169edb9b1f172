"""helm for the chart's tests: from PATH, or from the program that makes clusters (LIKENESS_TEST_CLUSTER)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/likeness"
Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def helm() -> str:
    found = shutil.which("helm")
    if found:
        return found
    cluster = os.environ.get("LIKENESS_TEST_CLUSTER")
    if not cluster:
        pytest.skip("helm is not on PATH, and LIKENESS_TEST_CLUSTER names no program that has it")
    programs = subprocess.run([cluster, "unpack"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{programs}/helm"


@pytest.fixture(scope="session")
def template(helm: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`helm template` with these `--set` values."""

    def run(*values: str) -> subprocess.CompletedProcess[str]:
        sets = [word for value in values for word in ("--set", value)]
        command = [helm, "template", "likeness", str(CHART), "--namespace", "system", "--kube-version", "1.34.0", *sets]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def render(template: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """The chart's objects under these `--set` values."""

    def objects(*values: str) -> list[dict[str, Any]]:
        done = template(*values)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return objects
