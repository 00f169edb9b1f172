"""`.ci/install`: what cannot work stops before anything is made, and says the way out."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INSTALL = Path(__file__).parents[2] / ".ci/install"
UNREACHABLE = "http://127.0.0.1:9/cpu"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    shutil.copy(INSTALL, tmp_path / ".ci/install")
    return tmp_path


def refused(folder: Path, stage: str = "demo", **settings: str) -> str:
    """What it says when it refuses to install anything."""
    offline = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "TORCH": "cpu", "TORCH_CPU_INDEX": UNREACHABLE}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(
        [".ci/install", stage],
        cwd=folder,
        env=environment | offline | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert not (folder / ".venv").exists()
    return done.stderr


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_another_python_is_refused_by_name(folder: Path, version: str) -> None:
    """A program that answers as this version of Python would."""
    python = folder / "python"
    major, minor = version.split(".")
    python.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = ({major}, {minor}, 0)\n$2"\n'
    )
    python.chmod(0o755)
    message = refused(folder, PYTHON=str(python))
    assert f"PYTHON is '{python}'; expected Python 3.11, 3.12 or 3.13" in message
    assert "make install PYTHON=" in message
    python.write_text(python.read_text().replace(f"({major}, {minor}, 0)", "(3, 12, 0)"))
    assert "PYTHON is" not in refused(folder, PYTHON=str(python)), "the stand-in itself was refused"


def test_an_unknown_stage_is_refused(folder: Path) -> None:
    assert "the stage is 'all'; expected demo, test or ready" in refused(folder, "all")


def test_an_unknown_build_of_torch_is_refused(folder: Path) -> None:
    assert "TORCH is 'gpu'; expected cpu or cuda" in refused(folder, PYTHON=sys.executable, TORCH="gpu")


@pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere PyPI's torch is the CPU build")
def test_where_no_cpu_build_is_within_reach_the_ways_out_are_named(folder: Path) -> None:
    message = refused(folder, PYTHON=sys.executable)
    assert UNREACHABLE in message
    for way in ("TORCH_CPU_INDEX=URL", "PIP_FIND_LINKS=FOLDER", "TORCH=cuda"):
        assert f"make install {way} " in message
