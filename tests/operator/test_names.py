"""A public name means one thing in the operator and in what it shares with the runtime."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import likeness_api
import likeness_operator

IN_MORE_THAN_ONE = {"main"}
"""Entry points."""


def test_no_public_name_is_defined_in_two_modules() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for package in (likeness_api, likeness_operator):
        root = Path(package.__path__[0])
        for file in root.rglob("*.py"):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    places[node.name].append(str(file.relative_to(root.parent)))
    twice = {name: files for name, files in places.items() if len(files) > 1 and not name.startswith("_")}
    assert {name: files for name, files in twice.items() if name not in IN_MORE_THAN_ONE} == {}
