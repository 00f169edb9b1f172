"""What runs elsewhere and cannot be run here (a public forge, pre-commit): it is at least what runs here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
MAKEFILE = (ROOT / "Makefile").read_text()
MAKE = re.compile(r"^make ([a-z-]+)$", re.MULTILINE)


def jobs(path: Path) -> dict[str, Any]:
    """Name -> job."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job.get("steps", [])]


def scripts(path: Path) -> list[str]:
    return [step["run"] for step in steps(path) if "run" in step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_only_targets_that_exist(path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)
    assert set(MAKE.findall("\n".join(scripts(path)))) <= set(targets)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_scripts_of_a_workflow_can_be_read_by_bash(path: Path) -> None:
    for script in scripts(path):
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_actions_of_others_are_held_to_one_version(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert [action for action in used if not re.search(r"@v\d+\.\d+\.\d+$", action)] == []
    local = [job["uses"] for job in jobs(path).values() if "uses" in job]
    assert [name for name in local if not (ROOT / name).is_file()] == []


def test_the_public_ci_runs_what_must_pass_here() -> None:
    here = MAKE.findall((ROOT / ".ci/run").read_text())
    there = MAKE.findall("\n".join(scripts(ROOT / ".github/workflows/ci.yaml")))
    assert list(dict.fromkeys(there)) == here


def test_pre_commit_runs_what_make_check_runs() -> None:
    recipe = re.search(r"^check:.*\n\t(.*)$", MAKEFILE, re.MULTILINE)
    assert recipe
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["entry"] for hook in repo["hooks"]] == recipe[1].split(" && ")
    assert {(hook["language"], hook["pass_filenames"]) for hook in repo["hooks"]} == {("system", False)}
