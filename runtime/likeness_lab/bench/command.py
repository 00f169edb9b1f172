"""`likeness bench`: measure one claim, write JSON and a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from likeness_lab.bench.method_command import add_contexts, add_method, add_semantics, add_shapes, add_step
from likeness_runtime.pocket import MODEL_PATH


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("bench", help="measure what the method and the pocket model can do")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    base = commands.add_parser("base", help="how well the plain model follows prompts")
    base.add_argument("--model", type=Path, default=MODEL_PATH, help="diffusers folder (default: the shipped one)")
    base.add_argument("--out", type=Path, required=True, help="folder for base.json and base.png")
    base.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    base.add_argument("--seed", type=int, default=0, help="of prompts and noise (default: %(default)s)")
    base.add_argument("--steps", type=int, default=25, help="sampling steps (default: %(default)s)")
    base.add_argument("--guidance", type=float, default=3.0, help="classifier-free guidance (default: %(default)s)")
    base.set_defaults(handler=_base)
    judges = commands.add_parser("judges", help="how often the judges are right about true renders")
    judges.add_argument("--seed", type=int, default=0, help="of the renders (default: %(default)s)")
    judges.add_argument("--without-mobilenet", action="store_true", help="leave out the judge that has to be fetched")
    judges.set_defaults(handler=_judges)
    add_method(commands)
    add_semantics(commands)
    add_contexts(commands)
    add_step(commands)
    add_shapes(commands)


def _base(arguments: argparse.Namespace) -> int:
    import torch

    from likeness_lab.bench.base import measure_base, write_base_report
    from likeness_lab.pocket.samples import PromptSampling

    sampling = PromptSampling(steps=arguments.steps, guidance=arguments.guidance, seed=arguments.seed)
    report = measure_base(arguments.model, sampling, torch.device(arguments.device))
    print(write_base_report(report, arguments.out))
    return 0


def _judges(arguments: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from likeness_lab.bench.judges import measure_judges

    trust = measure_judges(arguments.seed, with_mobilenet=not arguments.without_mobilenet)
    print(json.dumps(asdict(trust), indent=2))
    return 0
