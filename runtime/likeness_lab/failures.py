"""How the laboratory's commands end when something they need is missing: with one sentence and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TypeAlias

from likeness_api.reason import EXIT_CODE_OF
from likeness_runtime.failure import RunError

Handler: TypeAlias = Callable[[argparse.Namespace], int]
"""What a sub-command does: parsed arguments to an exit code."""


def reporting_failures(command: str, handler: Handler) -> Handler:
    """The handler, with a `RunError` written to stderr in one sentence; `command` is the one that failed."""

    def handle(arguments: argparse.Namespace) -> int:
        try:
            return handler(arguments)
        except RunError as failed:
            sys.stderr.write(f"likeness {command}: {failed.message}\n")
            return int(EXIT_CODE_OF[failed.reason])

    return handle
