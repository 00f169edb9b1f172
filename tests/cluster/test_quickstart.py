"""The README's quickstart, its commands as they stand there, on the images of this run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from kube import CommandFailedError, diagnosis, kubectl, run
from shop import SYSTEM, install_chart

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "quickstart"


def commands() -> str:
    """The second block of the section: the first one builds images and makes a cluster."""
    (section,) = re.findall(r"^## Quickstart in a cluster\n(.*?)^## ", (ROOT / "README.md").read_text(), re.M | re.S)
    _, block = re.findall(r"^```\n(.*?)^```", section, re.M | re.S)
    return str(block)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the commands need of a clone, word for word but for the tags of our own images."""
    for folder in ("charts", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    repository, _, tag = os.environ["LIKENESS_TEST_OPERATOR_IMAGE"].rpartition(":")
    replace(
        tmp_path / "charts/likeness/values.yaml",
        'repository: docker.io/likeness/operator\n  tag: ""',
        f"repository: {repository}\n  tag: {tag}",
    )
    replace(
        tmp_path / "examples/quickstart/personalization.yaml",
        "docker.io/likeness/runtime:0.1.0",
        os.environ["LIKENESS_TEST_RUNTIME_IMAGE"],
    )
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new))


def test_the_quickstart_leaves_a_picture(release: str, clone: Path) -> None:
    run("helm", "-n", SYSTEM, "uninstall", release, "--wait")
    try:
        done = subprocess.run(
            ["bash", "-eux", "-c", commands()], cwd=clone, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CommandFailedError(f"{done.stdout}{done.stderr}\n{diagnosis([NAMESPACE, SYSTEM])}")
        assert re.search(r"^hamster +Succeeded +12 ", done.stdout, re.M)
        with Image.open(clone / "hamster-preview.png") as picture:
            assert picture.size == (64, 64)
            assert all(band.getextrema()[0] != band.getextrema()[1] for band in picture.split())
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
        kubectl("delete", "tuningprofile", "pocket", "--ignore-not-found")
        run("helm", "-n", SYSTEM, "uninstall", release, "--wait", "--ignore-not-found")
        install_chart()
