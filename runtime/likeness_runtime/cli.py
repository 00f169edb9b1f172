"""`likeness`: one command, a sub-command for each thing to do. Nothing heavy is imported before a handler runs."""

from __future__ import annotations

import argparse
import importlib
import sys

from likeness_runtime.extension import COMMAND_GROUP, LAB, LAB_COMMANDS, extensions
from likeness_runtime.process import prepare_process
from likeness_runtime.version import CODE_VERSION

COMMANDS = (
    "likeness_runtime.local.run",
    "likeness_runtime.order.pod",
    "likeness_runtime.batch.pod",
    "likeness_runtime.denoiser.tiny",
    "likeness_runtime.pretrain.command",
    "likeness_runtime.pretrain.contexts_command",
)
"""Modules with `add_parser`, in the order of the help text; installed extensions add theirs after them."""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="likeness", description="Teach a text-to-image model a subject from one picture."
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {CODE_VERSION}")
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(name).add_parser(subparsers)
    for extension in extensions(COMMAND_GROUP):
        try:
            extension.load()(subparsers)
        except (ImportError, AttributeError) as error:  # half an uninstallation must not take the other commands along
            sys.stderr.write(f"likeness: {extension.name} is left out: {error}; pip install '{LAB}' mends it\n")
    if missing := missing_commands():
        top.epilog = f"{' and '.join(missing)} come with: pip install '{LAB}'"
    return top


def missing_commands() -> list[str]:
    """The laboratory's commands that no installed distribution brings."""
    installed = {extension.name for extension in extensions(COMMAND_GROUP)}
    return [name for name in LAB_COMMANDS if name not in installed]


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in missing_commands():
        sys.stderr.write(f"likeness {arguments[0]}: not installed; expected: pip install '{LAB}'\n")
        return 2
    prepare_process()
    parsed = parser().parse_args(arguments)
    status: int = parsed.handler(parsed)
    return status


if __name__ == "__main__":
    sys.exit(main())
