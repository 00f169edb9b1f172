"""Guards the folder layout: `operator/__init__.py` at the root would shadow the standard library's `operator`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", ["crds", "operator", "runtime"])
def test_a_top_folder_holds_packages_but_is_none(folder: str) -> None:
    assert list((ROOT / folder).glob("*.py")) == []


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
