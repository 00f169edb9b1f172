"""What every process of ours does first."""

from __future__ import annotations

import logging
import os
import sys

from likeness_runtime.cores import usable_cores

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""The libraries ask no hub for anything, their advice to programmers is not for our users, and idle threads sleep
instead of spinning: pods share their cores."""


def prepare_process() -> None:
    """Environment and log. Before anything heavy is imported, which reads the environment."""
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
