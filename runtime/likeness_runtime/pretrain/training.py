"""The one training loop: of encoders (`pretrain.py`), and of everything that the laboratory trains.

A training is planned in steps or in minutes (`plan.py`), resumes where it was cut off (`checkpoint.py`), and may be
shared by several processes (`parallel.py`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from likeness_runtime.pretrain.checkpoint import write_checkpoint
from likeness_runtime.pretrain.parallel import average_gradients
from likeness_runtime.pretrain.plan import learning_rate
from likeness_runtime.pretrain.training_run import TrainingRun, follow

MAX_GRADIENT_NORM = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepDraw:
    """Which examples a process draws in a step: all its random numbers follow from this."""

    step: int
    rank: int
    size: int
    """Number of processes."""
    count: int
    """Examples that this process draws."""

    @property
    def number(self) -> int:
        """Another one for each step and process."""
        return self.step * self.size + self.rank


def train(
    run: TrainingRun[Any],
    loss_of: Callable[[StepDraw], Tensor],
    *,
    clock: Callable[[], float] = time.monotonic,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Steps until the plan is over, writing checkpoints and log lines on the way.

    `loss_of` gives the mean loss of a process's examples. `check` may raise between steps to stop.
    """
    last = saved = logged = clock()
    losses: list[Tensor] = []
    while run.share < 1.0:
        check()
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate(run.plan, run.progress)
        draw = _draw(run)
        loss = loss_of(draw)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        now = clock()
        mean_loss, passed = average_gradients(run.network, loss.detach(), now - last, run.processes)
        nn.utils.clip_grad_norm_(run.network.parameters(), MAX_GRADIENT_NORM)
        run.optimizer.step()
        follow(run)
        losses.append(mean_loss)
        run.progress.step += 1
        run.progress.examples += draw.count * draw.size
        run.progress.seconds += passed
        last = now
        if now - logged >= run.plan.log_seconds:
            _report(run, losses, now - logged)
            losses, logged = [], now
        if run.processes.rank == 0 and now - saved >= run.plan.checkpoint_seconds:
            write_checkpoint(run)
            saved = now
    if losses:
        _report(run, losses, last - logged)
    run.processes.first_alone(lambda: write_checkpoint(run))


def _draw(run: TrainingRun[Any]) -> StepDraw:
    size = run.processes.size
    return StepDraw(run.progress.step, run.processes.rank, size, run.plan.batch // size)


def _report(run: TrainingRun[Any], losses: list[Tensor], seconds: float) -> None:
    if run.processes.rank != 0:
        return
    line = {
        "stage": run.name,
        "step": run.progress.step,
        "examples": run.progress.examples,
        "seconds": round(run.progress.seconds, 1),
        "loss": round(float(torch.stack(losses).mean()), 5),
        "learningRate": float(f"{learning_rate(run.plan, run.progress):.3g}"),
        "examplesPerSecond": round(len(losses) * run.plan.batch / seconds, 1) if seconds else None,
        "share": round(run.share, 4),
    }
    append_line(run.log, line)
    log.info("Training of %(stage)s: step %(step)d, loss %(loss).4f, %(share).2f of the plan.", line)


def append_line(path: Path, line: dict[str, object]) -> None:
    """Appends one JSON line to a log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
