"""What every training stage of the pocket world shares: a plan in minutes, exact resumption, averaging, a log.

A stage is planned in minutes of its own running time, because the machine is shared and its speed unknown: the learning
rate falls along a cosine with the share of the plan that has passed, and reaches zero at its end. A run that ended can
be given a longer plan; its learning rate then rises again to where the longer cosine stands.
"""

import copy
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from likeness_lab.pocket import workers

log = logging.getLogger(__name__)

LOG_NAME = "build.log.jsonl"
"""The build log: one JSON object per line, all stages in one file."""


@dataclass(frozen=True)
class Plan:
    """How long one stage trains, and how."""

    minutes: float
    """Running time of the whole stage, over all its resumptions."""
    batch: int
    """Pictures per step, over all workers."""
    learning_rate: float
    """Largest rate, reached after the warm-up."""
    weight_decay: float = 0.01
    warmup_steps: int = 200
    ema_decay: float = 0.999
    """Decay of the averaged weights per step, reached gradually."""
    seed: int = 0
    checkpoint_seconds: float = 90.0
    log_seconds: float = 15.0


@dataclass
class Progress:
    """Where a run stands; everything but the weights that a resumption needs."""

    step: int = 0
    pictures: int = 0
    seconds: float = 0.0


Network = TypeVar("Network", bound=nn.Module)


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 where the hardware has it, float32 elsewhere: a CPU that emulates it trains at a third of the speed."""
    native = device.type != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.autocast(device.type, torch.bfloat16, enabled=native)


def channels_last(network: Network, device: torch.device) -> Network:
    """The same network on `device`, its convolutions laid out as CPUs and tensor cores like them best."""
    nn.Module.to(network, device)
    nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
    return network


@dataclass
class Run(Generic[Network]):
    """One stage under way: the network, its averaged twin, the optimizer and the progress."""

    name: str
    network: Network
    average: Network
    optimizer: torch.optim.Optimizer
    plan: Plan
    progress: Progress
    folder: Path

    @property
    def share(self) -> float:
        """Share of the plan that has passed, in [0, 1]."""
        return min(1.0, self.progress.seconds / (60 * self.plan.minutes))

    @property
    def checkpoint(self) -> Path:
        """The one file a resumption reads."""
        return checkpoint_path(self.folder, self.name)


def checkpoint_path(folder: Path, name: str) -> Path:
    """Where stage `name` keeps its checkpoint."""
    return folder / f"{name}.checkpoint.pt"


def has_checkpoint(folder: Path, name: str) -> bool:
    """Whether stage `name` has begun and can be read."""
    return checkpoint_path(folder, name).exists()


def open_run(name: str, network: Network, plan: Plan, folder: Path) -> Run[Network]:
    """Begin the stage `name`, or take it up again from its checkpoint in `folder`."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay, fused=True
    )
    average = copy.deepcopy(network).requires_grad_(False)
    run = Run(name, network, average, optimizer, plan, Progress(), folder)
    folder.mkdir(parents=True, exist_ok=True)
    if run.checkpoint.exists():
        state = torch.load(run.checkpoint, map_location=trained[0].device, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        run.progress = Progress(**state["progress"])
    return run


def save(run: Run[Any]) -> None:
    """Write the checkpoint so that a kill at any moment leaves either the old one or the new one."""
    state = {
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "progress": asdict(run.progress),
    }
    partial = run.checkpoint.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(run.checkpoint)


def learning_rate(run: Run[Any]) -> float:
    """Linear warm-up over steps, then half a cosine over the planned time."""
    warmup = min(1.0, (run.progress.step + 1) / run.plan.warmup_steps)
    return run.plan.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * run.share))


def train(run: Run[Any], loss_of: Callable[[int, int], Tensor], clock: Callable[[], float] = time.monotonic) -> None:
    """Step until the plan is over. `loss_of(draw, count)` draws `count` pictures that follow from the number `draw`.

    Checkpoints and log lines are written on the way; a resumed run continues with the same draws. Several workers
    share each batch, and agree on gradients, loss and time.
    """
    last = saved = logged = clock()
    losses: list[Tensor] = []
    share_of_batch = run.plan.batch // workers.count()
    while run.share < 1:
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate(run)
        loss = loss_of(run.progress.step * workers.count() + workers.number(), share_of_batch)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        now = clock()
        mean_loss, passed = workers.agree(run.network, torch.stack([loss.detach().cpu(), torch.tensor(now - last)]))
        nn.utils.clip_grad_norm_(run.network.parameters(), 1.0)
        run.optimizer.step()
        _follow(run)
        losses.append(mean_loss)
        run.progress.step += 1
        run.progress.pictures += share_of_batch * workers.count()
        run.progress.seconds += float(passed)
        last = now
        if workers.number() == 0 and now - saved >= run.plan.checkpoint_seconds:
            save(run)
            saved = now
        if workers.number() == 0 and now - logged >= run.plan.log_seconds:
            _report(run, float(torch.stack(losses).mean()), len(losses) * run.plan.batch / (now - logged))
            losses, logged = [], now
    workers.first_alone(lambda: save(run))


@torch.no_grad()
def _follow(run: Run[Any]) -> None:
    decay = min(run.plan.ema_decay, (1 + run.progress.step) / (10 + run.progress.step))
    averaged = list(run.average.parameters())
    current = list(run.network.parameters())
    torch._foreach_lerp_(averaged, current, 1 - decay)
    for kept, seen in zip(run.average.buffers(), run.network.buffers(), strict=True):
        kept.copy_(seen)


def _report(run: Run[Any], loss: float, pictures_per_second: float) -> None:
    left = 60 * run.plan.minutes - run.progress.seconds
    line = {
        "stage": run.name,
        "time": time.strftime("%H:%M:%S"),
        "step": run.progress.step,
        "pictures": run.progress.pictures,
        "loss": round(loss, 5),
        "learning_rate": float(f"{learning_rate(run):.3g}"),
        "pictures_per_second": round(pictures_per_second, 1),
        "minutes_left": round(max(0.0, left) / 60, 1),
    }
    write_log(run.folder, line)


def write_log(folder: Path, line: dict[str, object]) -> None:
    """Append one line to the build log, and say it."""
    log.info("%s", json.dumps(line))
    with (folder / LOG_NAME).open("a") as file:
        file.write(json.dumps(line) + "\n")


def read_average(folder: Path, name: str) -> dict[str, Tensor]:
    """The averaged weights in the checkpoint of stage `name`, on the CPU."""
    state = torch.load(checkpoint_path(folder, name), map_location="cpu", weights_only=True)
    average: dict[str, Tensor] = state["average"]
    return average
