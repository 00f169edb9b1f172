"""What goes into the two images: their locks are parts of the one that the tests ran with; no wheel brings the lab."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^[a-z0-9][^\s#]*==\S+(?: \\\n    --hash=\S+)+", re.MULTILINE)


def in_wheel(folder: Path) -> set[str]:
    """The files that a wheel of the distribution in this folder has, as it names them."""
    return {file.distribution_path for file in WheelBuilder(str(folder)).recurse_included_files()}


def pins(path: Path) -> dict[str, str]:
    """Name -> version and hashes."""
    return {found.partition("==")[0]: found for found in PIN.findall(path.read_text())}


def closure(extra: str) -> set[str]:
    """The names of all that the package needs with this extra, as installed here; torch has a build of its own."""
    names: set[str] = set()
    waiting = [("likeness-tuner", frozenset({extra}))]
    while waiting:
        name, extras = waiting.pop()
        for text in distribution(name).requires or []:
            need = Requirement(text)
            wanted = need.marker is None or any(need.marker.evaluate({"extra": one}) for one in extras | {""})
            known = re.sub(r"[-_.]+", "-", need.name).lower()
            if wanted and known not in names and known != "torch":
                names.add(known)
                waiting.append((known, frozenset(need.extras)))
    return names


@pytest.mark.parametrize("side", ["operator", "runtime"])
def test_an_image_lock_is_a_part_of_the_whole_lock(side: str) -> None:
    part = pins(ROOT / side / "requirements.lock")
    assert part
    assert part.items() <= pins(ROOT / "requirements.lock").items()


@pytest.mark.parametrize("side", ["operator", "runtime"])
def test_an_image_lock_has_all_that_its_side_needs(side: str) -> None:
    assert closure(side) <= pins(ROOT / side / "requirements.lock").keys()


def test_the_operator_image_has_neither_torch_nor_boto3() -> None:
    lock = pins(ROOT / "operator/requirements.lock").keys()
    assert not lock & {"torch", "boto3", "botocore", "numpy", "diffusers", "transformers"}


def test_the_wheel_that_the_images_install_has_no_module_of_the_laboratory() -> None:
    packages = {name.partition("/")[0] for name in in_wheel(ROOT)}
    assert packages == {"likeness_api", "likeness_operator", "likeness_runtime"}


def test_the_laboratorys_wheel_has_all_of_it_and_nothing_else() -> None:
    folder = ROOT / "runtime/likeness_lab"
    there = {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    there.remove(folder / "pyproject.toml")
    licence = {"likeness_lab/LICENSE"}
    assert in_wheel(folder) - licence == {str(path.relative_to(folder.parent)) for path in there}
    assert licence <= in_wheel(folder)


@pytest.mark.parametrize("side", ["operator", "runtime"])
def test_a_dockerfile_copies_nothing_of_the_laboratory(side: str) -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / side / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    assert not any("likeness_lab" in sources or sources in (".", "runtime") for sources in copied)


def test_both_distributions_have_one_version() -> None:
    main = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lab = tomllib.loads((ROOT / "runtime/likeness_lab/pyproject.toml").read_text())["project"]
    assert lab["version"] == main["version"]
    assert main["optional-dependencies"]["lab"] == [f"{lab['name']}=={main['version']}"]
    assert f"{main['name']}[runtime]=={main['version']}" in lab["dependencies"]
