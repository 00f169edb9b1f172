"""What the pages mention is there: paths, `module.NAME`, fields, values of the chart, make targets, links, anchors."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from likeness_api.crd import KINDS, manifest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("crds/likeness_api", "operator/likeness_operator", "runtime/likeness_runtime", "runtime/likeness_lab")
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
DATED = [ROOT / "CHANGELOG.md", *sorted((ROOT / "docs/design").glob("*.md"))]
"""Changes and decisions of a day: their links are kept, what they speak of may go."""

NOT_OURS = {
    "personalization.json", "manifest.json", "previews/", "embeddings/NAME.safetensors",  # published
    "NAME.safetensors", "NAME.diffusers.safetensors",
    "encoder/contexts.safetensors", "log.jsonl",  # in an encoder's folder, and its pre-training's
    "records.jsonl", "results.md", "curves.png",  # written by likeness bench
    "results.jsonl", "index.jsonl", "failed.jsonl", "removed.jsonl", "report.html",  # of a catalogue
    "plan.json", "shards/", "segments/", "quarantined.jsonl", "skipped.jsonl",
    ".jsonl", ".jsonl.gz", ".csv", ".parquet",  # endings of its manifest
}  # fmt: skip
"""Names of files that Likeness writes, wherever it is told to."""
NOT_TO_BE = {"operator/__init__.py", "docs/design/YYYYMMDD-title.md"}
"""A file that must not be, and a pattern."""


# What is there


@cache
def tracked() -> frozenset[str]:
    """Files and folders, relative to the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [Path(name) for name in listed.strip("\0").split("\0") if (ROOT / name).exists()]
    return frozenset(str(path) for file in files for path in (file, *file.parents))


@cache
def ignored(path: str) -> bool:
    """Whether it is something that is made here and not kept, such as `.venv`."""
    return subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT, check=False).returncode == 0


@cache
def modules() -> dict[str, list[Path]]:
    """Every tail of a module's dotted name -> the files it may mean: `likeness_api.order`, `order`."""
    found: dict[str, list[Path]] = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to((ROOT / package).parent).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            for start in range(len(parts)):
                found.setdefault(".".join(parts[start:]), []).append(file)
    return found


@cache
def names_in(file: Path) -> frozenset[str]:
    """What a module defines or imports, read without running it; `Class.member` as well."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        names = list(bound(node))
        found.update(names)
        if isinstance(node, ast.ClassDef):
            found.update(f"{node.name}.{member}" for inner in node.body for member in bound(inner))
    return frozenset(found)


def bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                yield target.id
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)


@cache
def fields() -> frozenset[str]:
    """Every field of the three kinds and every value of the chart, dotted, with and without the leading `spec.`."""
    found: set[str] = set()
    for kind in KINDS:
        for version in manifest(kind)["spec"]["versions"]:
            found.update(dotted(version["schema"]["openAPIV3Schema"]))
    found |= {name.removeprefix("spec.") for name in found}
    found.update(keys(yaml.safe_load((ROOT / "charts/likeness/values.yaml").read_text())))
    return frozenset(found)


def dotted(schema: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        yield before + name
        yield from dotted(inner, f"{before}{name}.")
        yield from dotted(inner.get("items", {}), f"{before}{name}.")
    if "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields"):
        yield f"{before}*"


def keys(values: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, inner in values.items():
        yield before + name
        if isinstance(inner, dict):
            yield from keys(inner, f"{before}{name}.")


# What is mentioned


@dataclass(frozen=True)
class Block:
    """A row or paragraph, and where its bare file names are to be looked for."""

    spans: list[str]
    in_table: bool
    folders: list[str]


FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w.@{},/-]*\w[\w.{},/-]*")
SUFFIXES = (".py", ".yaml", ".md", ".lock", ".json", ".jsonl", ".png", ".toml", ".safetensors", ".txt", ".zip")
DOTTED = re.compile(r"[A-Za-z_][\w]*(\[\])?(\.[A-Za-z_]\w*(\[\])?)+")


def expanded(word: str) -> list[str]:
    """`a/{b,c}.py` -> `a/b.py`, `a/c.py`."""
    found = re.fullmatch(r"([^{]*)\{([^{}]*)\}(.*)", word)
    return [found[1] + one + found[3] for one in found[2].split(",")] if found else [word]


def blocks(text: str) -> Iterator[Block]:
    """Of a page without its fenced code. The first row of a table may name the folder of a column."""
    heading: list[str] = []
    table = False
    for line in FENCE.sub("", text).splitlines():
        spans = SPAN.findall(line)
        row = line.startswith("|")
        if row and not table:
            heading = [span for span in spans if span.endswith("/")]
        table = row
        named = [str(Path(one).parent) for span in spans if PATH.fullmatch(span) for one in expanded(span)]
        yield Block(spans, row, [*named, *(heading if row else [])])


def code(text: str) -> Iterator[str]:
    """Lines of fenced code, then spans."""
    for fence in FENCE.findall(text):
        yield from fence.splitlines()[1:-1]
    yield from SPAN.findall(FENCE.sub("", text))


def paths(block: Block) -> Iterator[str]:
    """Words of commands that start at a folder of ours, and spans that are a file's name."""
    top = {name for name in tracked() if "/" not in name}
    for span in block.spans:
        words = span.split()
        for word in words:
            alone = len(words) == 1 and (word.endswith(SUFFIXES) or word.endswith("/"))
            if PATH.fullmatch(word) and (alone or ("/" in word and word.split("/")[0] in top)):
                yield from expanded(word)


def is_there(path: str, page: Path, block: Block) -> bool:
    if path in NOT_OURS | NOT_TO_BE:
        return True
    beside = str(page.parent.relative_to(ROOT))
    if any(str(Path(folder, path)) in tracked() for folder in ("", beside, *block.folders, *PACKAGES)):
        return True
    # In a sentence, a bare name may be that of a file anywhere; a table says where to look.
    if not block.in_table and "/" not in path and any(name.endswith(f"/{path}") for name in tracked()):
        return True
    return ignored(path)


def is_known(name: str) -> bool:
    plain = name.replace("[]", "")
    parts = plain.split(".")
    if plain in fields() or any(".".join([*parts[:end], "*"]) in fields() for end in range(1, len(parts))):
        return True
    return plain in modules() or any(
        ".".join(parts[end:]) in names_in(file)
        for end in range(1, len(parts))
        for file in modules().get(".".join(parts[:end]), [])
    )


def unknown_names(spans: Iterable[str]) -> Iterator[str]:
    """Dotted names whose first part is a module, field or value of ours, and whose rest is nothing."""
    for span in spans:
        for word in re.split(r"[\s:=(,]+", span):
            first = word.split(".")[0].removesuffix("[]")
            ours = first in modules() or first in fields() or first in ("spec", "status")
            if DOTTED.fullmatch(word) and not word.endswith(SUFFIXES) and ours and not is_known(word):
                yield word


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(found) for found in re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)}


def broken_links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if str(file.relative_to(ROOT)) not in tracked() or (anchor and anchor not in anchors(file)):
            yield target


named = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@named
def test_the_paths_that_a_page_mentions_are_there(page: Path) -> None:
    text = page.read_text()
    lines = [line for fence in FENCE.findall(text) for line in fence.splitlines()[1:-1]]
    mentions = [*blocks(text), *(Block([line], in_table=False, folders=[]) for line in lines)]
    assert {path for block in mentions for path in paths(block) if not is_there(path, page, block)} == set()


@named
def test_the_names_that_a_page_mentions_are_there(page: Path) -> None:
    assert set(unknown_names(span for block in blocks(page.read_text()) for span in block.spans)) == set()


@named
def test_the_make_targets_that_a_page_mentions_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = {found for line in code(page.read_text()) for found in re.findall(r"\bmake ([a-z-]+)", line)}
    assert mentioned - targets == set()


@pytest.mark.parametrize("page", [*PAGES, *DATED], ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert set(broken_links(page)) == set()


@pytest.mark.parametrize(
    "stale",
    [
        "status.nowhere",
        "spec.subject.pictures",
        "tune.NOT_THERE",
        "likeness_api.tuning.NotThere",
        "runtime.rowsPerStep",
    ],
)
def test_a_name_that_is_gone_is_found(stale: str) -> None:
    assert list(unknown_names([f"see {stale}"])) == [stale]


def test_a_path_that_is_gone_is_found() -> None:
    page = ROOT / "ARCHITECTURE.md"
    for stale in (
        "`operator/likeness_operator/nowhere.py`",
        "`runtime/likeness_runtime/method/{tune,nowhere}.py`",
        "`nowhere.py`",
    ):
        (block,) = blocks(f"| a thing | {stale} |")
        gone = [path for path in paths(block) if not is_there(path, page, block)]
        assert [Path(path).name for path in gone] == ["nowhere.py"]
    (block,) = blocks("| a thing | `test_docs.py` |")
    assert not is_there("test_docs.py", page, block), "a table says where a file is"
