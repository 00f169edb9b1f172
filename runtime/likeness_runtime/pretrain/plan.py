"""How long a network is trained, and how; where a training stands. The learning rate follows from both."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

CHANGEABLE = ("steps", "minutes", "batch", "checkpoint_seconds", "log_seconds")
"""What the plan of a resumed training may say differently; the batch, because it follows the number of processes."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """The length of a training, in `steps` or in `minutes`, and its settings.

    Minutes suit a shared machine of unknown speed: they count running time, over all resumptions. A training that
    ended can be given a longer plan; its learning rate then rises again to where the longer cosine stands.
    Raises ValueError unless exactly one of `steps` and `minutes` is given.
    """

    steps: int | None = None
    minutes: float | None = None
    batch: int
    """Examples of one step, over all processes."""
    learning_rate: float
    """Largest rate, reached after the warm-up."""
    weight_decay: float = 0.01
    warmup_steps: int = 200
    ema_decay: float | None = None
    """Decay of the averaged weights per step, reached gradually; None keeps no averaged weights."""
    seed: int = 0
    checkpoint_seconds: float = 90.0
    log_seconds: float = 15.0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError(f"steps is {self.steps}, minutes is {self.minutes}; expected exactly one of them")

    def settled(self) -> dict[str, Any]:
        """Every setting that a resumed training must share with the checkpoint."""
        return {name: value for name, value in asdict(self).items() if name not in CHANGEABLE}


@dataclass
class TrainingProgress:
    """How far a training has come."""

    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    """Running time, over all resumptions."""


def share_done(plan: TrainingPlan, progress: TrainingProgress) -> float:
    """The share of the plan that has passed, in [0, 1]."""
    if plan.steps is not None:
        done, planned = float(progress.step), float(plan.steps)
    else:
        done, planned = progress.seconds, 60 * (plan.minutes or 0.0)
    return min(1.0, done / planned) if planned > 0 else 1.0


def learning_rate(plan: TrainingPlan, progress: TrainingProgress) -> float:
    """Linear warm-up over steps, then half a cosine that reaches zero at the end of the plan."""
    warmup = min(1.0, (progress.step + 1) / plan.warmup_steps)
    return plan.learning_rate * warmup * 0.5 * (1.0 + math.cos(math.pi * share_done(plan, progress)))
