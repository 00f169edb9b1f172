"""A public name has one meaning in the whole project: it is defined in one module, or what it means is said here."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("crds/likeness_api", "operator/likeness_operator", "runtime/likeness_runtime", "runtime/likeness_lab")

SAME_EVERYWHERE = {
    "main",  # what a command starts
    "parser",  # its arguments
    "add_parser",  # adds a sub-command's arguments (cli.py)
    "handle",  # runs that sub-command
    "log",  # the runtime's logger of a module
    "logger",  # the operator's
    "RULES",  # a kind's decision table, read in order
}
"""Names that mean the same wherever they are defined."""


def public_names(module: Path) -> Iterator[str]:
    """Classes, functions and constants at the top of a module, without those that begin with an underscore."""
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


def test_a_public_name_has_one_meaning() -> None:
    defined: dict[str, set[str]] = defaultdict(set)
    for package in PACKAGES:
        for module in sorted((ROOT / package).rglob("*.py")):
            for name in public_names(module):
                defined[name].add(str(module.relative_to(ROOT)))
    assert len(defined) > 500  # it has looked
    several = {name: modules for name, modules in defined.items() if len(modules) > 1}
    assert {name: modules for name, modules in several.items() if name not in SAME_EVERYWHERE} == {}
