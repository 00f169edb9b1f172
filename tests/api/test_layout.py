"""Guards the folder layout: `operator/__init__.py` at the root would shadow the standard library's `operator`."""

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", ["crds", "operator", "runtime"])
def test_a_top_folder_holds_packages_but_is_none(folder: str) -> None:
    assert list((ROOT / folder).glob("*.py")) == []


@pytest.mark.parametrize(
    "package", ["crds/likeness_api", "operator/likeness_operator", "runtime/likeness_runtime", "runtime/likeness_lab"]
)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    """Without it, type checkers take nothing from our annotations (PEP 561)."""
    assert (ROOT / package / "py.typed").is_file()


def test_no_package_below_tests() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_standard_librarys_operator_is_found_from_the_root() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import operator; print(operator.__file__)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stdout.startswith(str(ROOT))


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        pytest.param("likeness_api.order", ("torch", "kopf", "boto3", "yaml"), id="the API"),
        pytest.param("likeness_operator.main", ("torch", "boto3", "likeness_runtime"), id="the operator"),
        pytest.param(
            "likeness_runtime.cli", ("torch", "kopf", "kubernetes", "likeness_operator"), id="the command line"
        ),
    ],
)
def test_importing_brings_nothing_foreign(module: str, forbidden: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print(*[name for name in {forbidden!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_project_speaks_of_itself() -> None:
    """A reader has this repository: neither our tracker nor what lies beside the folder we happen to work in."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = [name for name in listed.stdout.split("\0") if (ROOT / name).is_file() and not name.startswith(".ci/")]
    assert "README.md" in ours
    elsewhere = re.compile(rb"\.\./shared|\bissue #?\d", re.IGNORECASE)
    assert [name for name in ours if elsewhere.search((ROOT / name).read_bytes())] == []


FOREIGN = re.compile(r"(?:\bpip3? +install\b.*?\s|\bpackage +)[`'\"]?likeness(?![-\w./])")
"""PyPI's distribution `likeness`, asked for by name, is somebody else's code."""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pip {} likeness", True),
        ('pip {} --upgrade "likeness[runtime]"', True),
        ("needs the package `likeness`.", True),
        ("pip {} likeness-tuner", False),
        ('pip {} "likeness-tuner[runtime]"', False),
        ("pip {} likeness_tuner-0.1.0-py3-none-any.whl", False),
    ],
)
def test_the_foreign_name_is_recognised(text: str, found: bool) -> None:
    assert bool(FOREIGN.search(text.format("install"))) is found


def test_nobody_is_told_to_install_somebody_elses_distribution() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    told = {
        f"{name}: {found.group()}"
        for name in tracked.strip("\0").split("\0")
        if (path := ROOT / name).is_file() and path != Path(__file__)
        for found in FOREIGN.finditer(path.read_text(errors="replace"))
    }
    assert told == set()


def test_the_distribution_has_a_name_of_its_own_and_the_command_stays() -> None:
    ours = distribution("likeness-tuner")
    assert {script.name for script in ours.entry_points} == {"likeness", "likeness-operator"}
