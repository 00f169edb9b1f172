"""One training under way: what its loop changes and its checkpoint keeps."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from likeness_runtime.pretrain.parallel import Processes, present_processes
from likeness_runtime.pretrain.plan import TrainingPlan, TrainingProgress, share_done

Network = TypeVar("Network", bound=nn.Module)


@dataclass
class TrainingRun(Generic[Network]):
    """A network, its optimizer, and how far its plan has come. `folder` keeps the checkpoint, `log` gets JSON lines."""

    name: str
    network: Network
    average: Network
    """The averaged weights; the network itself where the plan averages nothing."""
    optimizer: torch.optim.Optimizer
    plan: TrainingPlan
    folder: Path
    log: Path
    basis: dict[str, Any] = field(default_factory=dict)
    """What the training is of beside its plan, as JSON: a checkpoint of another basis is not resumed."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """Tensors that the loss keeps from step to step, by name."""
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    processes: Processes = field(default_factory=present_processes)

    @property
    def share(self) -> float:
        """The share of the plan that has passed, in [0, 1]."""
        return share_done(self.plan, self.progress)

    def agreed_basis(self) -> dict[str, Any]:
        """What this training must share with the checkpoint that it resumes from, as JSON has it."""
        agreed: dict[str, Any] = json.loads(json.dumps({**self.basis, "plan": self.plan.settled()}))
        return agreed


def averaged_copy(network: Network, plan: TrainingPlan) -> Network:
    """A frozen copy of the network to average its weights in; the network itself where the plan averages nothing."""
    return network if plan.ema_decay is None else copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def follow(run: TrainingRun[Any]) -> None:
    """Moves the averaged weights towards the network's after a step; its buffers are copied."""
    if run.plan.ema_decay is None:
        return
    decay = min(run.plan.ema_decay, (1 + run.progress.step) / (10 + run.progress.step))
    torch._foreach_lerp_(list(run.average.parameters()), list(run.network.parameters()), 1 - decay)
    for kept, seen in zip(run.average.buffers(), run.network.buffers(), strict=True):
        kept.copy_(seen)
