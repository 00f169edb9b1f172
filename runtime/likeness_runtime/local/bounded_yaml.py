"""YAML from whoever wrote it: as kubectl takes it, with bounds on what it may come to.

PyYAML reads it. What is added: a file has a size, a document that refers to itself or grows by its aliases is refused,
so is a key that is given twice, a date is a text, and a number is one that fits into 64 bits.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

STANDARD_INPUT = Path("-")
MOST_YAML_BYTES = 4 * 2**20
MOST_NODES = 100_000
"""Of a document, counted as often as aliases repeat them."""
LONGEST_NUMBER = 32
MOST_WAIT_SECONDS = 30.0
"""For a pipe that nobody writes into."""


class YamlError(Exception):
    """A file is no YAML within these bounds; the message says why, without the file's name."""


class _Loader(yaml.SafeLoader):
    """Keys once, numbers of 64 bits, dates as texts."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise YamlError(f"line {key.start_mark.line + 1}: {key.value!r:.60} is given twice; expected it once")
            seen.add(getattr(key, "value", "") if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        where = f"line {node.start_mark.line + 1}"
        if len(node.value) > LONGEST_NUMBER:
            raise YamlError(
                f"{where}: a number of {len(node.value)} digits; expected one of 64 bits, or a text in quotes"
            )
        number: int = super().construct_yaml_int(node)
        if not -(2**63) <= number < 2**63:
            raise YamlError(f"{where}: {number}; expected a number of 64 bits, or a text in quotes")
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> Iterator[Any]:
    """The documents of a file, or of standard input for "-". Raises `YamlError` and OSError."""
    try:
        text = _read(path).decode("utf-8-sig")
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            _check_size(node)
            yield loader.construct_document(node)
    except UnicodeDecodeError as error:
        raise YamlError(f"it is not UTF-8 (byte {error.start}); expected YAML in UTF-8") from None
    except RecursionError:
        raise YamlError("it is nested too deeply; expected YAML as kubectl takes it") from None
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(f"{' '.join(str(error).split())[:300]}; expected YAML") from None


def _read(path: Path) -> bytes:
    if path == STANDARD_INPUT:
        data = sys.stdin.buffer.read(MOST_YAML_BYTES + 1)
    elif stat.S_ISREG(path.stat().st_mode):
        with path.open("rb") as file:
            data = file.read(MOST_YAML_BYTES + 1)
    else:
        data = _from_pipe(path)
    if len(data) > MOST_YAML_BYTES:
        raise YamlError(f"it has more than {MOST_YAML_BYTES / 2**20:.0f} MiB; expected a few resources")
    return data


def _from_pipe(path: Path) -> bytes:
    """What is written into a pipe or comes from a device, up to the bound."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    data, until = b"", time.monotonic() + MOST_WAIT_SECONDS
    try:
        while len(data) <= MOST_YAML_BYTES:
            if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
                raise YamlError(f"nothing came for {MOST_WAIT_SECONDS:.0f} s; expected a file, or somebody who writes")
            part = os.read(descriptor, 2**16)
            if not part:
                break
            data += part
    finally:
        os.close(descriptor)
    return data


def _check_size(root: yaml.Node) -> None:
    """Counts what a document comes to, each alias as what it stands for."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting[-1]
        children = _children(node)
        if id(node) not in open_nodes and id(node) not in sizes:
            open_nodes.add(id(node))
            for child in children:
                if id(child) in open_nodes:
                    raise YamlError(f"line {node.start_mark.line + 1}: it refers to itself; expected an end")
                if id(child) not in sizes:
                    waiting.append(child)
            continue
        waiting.pop()
        if id(node) in open_nodes:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
            if sizes[id(node)] > MOST_NODES:
                raise YamlError(f"it comes to more than {MOST_NODES} values; expected a few resources")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
