import ast
import re
from pathlib import Path

from likeness_api.reason import Reason

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
PACKAGES = ("crds/likeness_api", "operator/likeness_operator", "runtime/likeness_runtime")


def test_the_troubleshooting_page_explains_every_reason_once() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(Reason)


def test_no_reason_is_a_bare_string() -> None:
    """Ours are in the enum; those of Kubernetes and Kueue that are passed on have a name that says whose they are."""
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 50
    assert [f"{path.name}: {word}" for path in sources for word in bare_reasons(path.read_text())] == []


def bare_reasons(source: str) -> list[str]:
    """Texts that are given as `reason=` in a call."""
    arguments = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.keyword) and node.arg == "reason"]
    return [str(argument.value.value) for argument in arguments if isinstance(argument.value, ast.Constant)]


def test_a_bare_reason_is_found() -> None:
    assert bare_reasons('Waiting(reason="NoPod", message="m")') == ["NoPod"]
    assert bare_reasons('Waiting(reason=Reason.NO_POD, message="m")') == []
