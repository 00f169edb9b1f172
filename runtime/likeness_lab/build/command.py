"""`likeness pocket`: build the pocket model from scratch, write it out, look at what it draws."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from likeness_lab.failures import reporting_failures
from likeness_runtime.pocket import MODEL_PATH

BUILD_STAGES = ("vae", "clip", "unet", "decoder")
POCKET_HOME = Path.home() / ".cache" / "likeness" / "pocket"


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("pocket", help="build the small text-to-image model that ships with Likeness")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    build = commands.add_parser("build", help="train all of it; resumes where it was cut off")
    _add_places(build)
    build.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    build.add_argument(
        "--workers", type=int, default=1, help="processes of one thread each (default: one, all threads)"
    )
    for stage in BUILD_STAGES:
        build.add_argument(
            f"--minutes-{stage}",
            type=float,
            help=f"planned length of the {stage} stage over all its runs; a longer one takes a finished stage up again",
        )
    build.set_defaults(handler=reporting_failures("pocket", _build))

    judge = commands.add_parser("judge", help="train the glyph judge apart from the model; writes the shipped files")
    judge.add_argument("--home", type=Path, default=POCKET_HOME, help="downloads and checkpoints (%(default)s)")
    judge.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    judge.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    judge.add_argument("--minutes", type=float, help="planned length of its training over all its runs")
    judge.set_defaults(handler=reporting_failures("pocket", _judge))

    export = commands.add_parser("export", help="write the model out as it stands in the checkpoints")
    _add_places(export)
    export.set_defaults(handler=reporting_failures("pocket", _export))

    samples = commands.add_parser("samples", help="draw a grid of random scenes' captions")
    samples.add_argument("--model", type=Path, default=MODEL_PATH, help="diffusers folder (default: the shipped one)")
    samples.add_argument("--out", type=Path, default=Path("samples.png"), help="PNG to write (default: %(default)s)")
    samples.add_argument("--count", type=int, default=64, help="pictures (default: %(default)s)")
    samples.add_argument("--prompt", action="append", help="draw this instead of random captions; may be repeated")
    samples.add_argument("--seed", type=int, default=0, help="of captions and noise (default: %(default)s)")
    samples.add_argument("--steps", type=int, default=25, help="sampling steps (default: %(default)s)")
    samples.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    samples.set_defaults(handler=_samples)


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", type=Path, default=POCKET_HOME, help="downloads and checkpoints (%(default)s)")
    parser.add_argument("--out", type=Path, default=MODEL_PATH, help="folder for the model (default: the shipped one)")
    parser.add_argument(
        "--start",
        type=Path,
        help="the finished model whose weights the build begins with, and whose latents it keeps",
    )


def _build(arguments: argparse.Namespace) -> int:
    from functools import partial

    import torch

    from likeness_lab.build.model import BuildPlans, build_model, refuse_older_checkpoints
    from likeness_lab.pocket.workers import spawn

    given = {stage: getattr(arguments, f"minutes_{stage}") for stage in BUILD_STAGES}
    plans = BuildPlans().with_minutes({stage: minutes for stage, minutes in given.items() if minutes is not None})
    device = torch.device(arguments.device)
    refuse_older_checkpoints(arguments.home, BUILD_STAGES)
    spawn(arguments.workers, partial(build_model, arguments.home, arguments.out, plans, device, arguments.start))
    return 0


def _judge(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    import torch

    from likeness_lab.build.model import build_judge
    from likeness_lab.judge.glyph import JUDGE_PLAN

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    plan = replace(JUDGE_PLAN, minutes=arguments.minutes or JUDGE_PLAN.minutes)
    build_judge(arguments.home, plan, torch.device(arguments.device))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from likeness_lab.build.model import export_checkpoints

    export_checkpoints(arguments.home, arguments.out, arguments.start)
    return 0


def _samples(arguments: argparse.Namespace) -> int:
    import torch

    from likeness_lab.pocket.caption import random_prompts
    from likeness_lab.pocket.samples import PromptSampling, grid, open_pipeline, sample

    prompts = arguments.prompt or random_prompts(arguments.count, arguments.seed)
    pipeline = open_pipeline(arguments.model, torch.device(arguments.device))
    pictures = sample(pipeline, prompts, PromptSampling(steps=arguments.steps, seed=arguments.seed))
    grid(pictures, columns=min(8, len(prompts))).save(arguments.out)
    print(f"{len(prompts)} pictures in {arguments.out}")
    for number, prompt in enumerate(prompts):
        print(f"{number:3d} {prompt}")
    return 0
