"""What goes into the two images: their locks are parts of the one that the tests ran with."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^[a-z0-9][^\s#]*==\S+(?: \\\n    --hash=\S+)+", re.MULTILINE)


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
