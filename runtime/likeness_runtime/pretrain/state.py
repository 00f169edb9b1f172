"""Where a pre-training stands: one safetensors file, replaced as a whole, so that a kill at any moment costs minutes.

The step number settles every random draw, so a resumed run does what an uninterrupted one would have done.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError

NAME = "checkpoint.safetensors"
FORMAT_VERSION = 1
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """What a resumption needs beside tensors."""

    step: int = 0
    examples: int = 0
    seconds: float = 0.0


@dataclass
class State:
    """A pre-training under way."""

    encoder: nn.Module
    optimizer: torch.optim.AdamW
    bank: list[Tensor]
    """The latest predictions, (m, d) for each text encoder, newest first."""
    progress: Progress


def write(state: State, folder: Path, basis: dict[str, Any]) -> None:
    """`basis` says what the run is of; a checkpoint of another basis is not resumed."""
    folder.mkdir(parents=True, exist_ok=True)
    named = dict(state.encoder.named_parameters())
    tensors = {f"encoder.{name}": parameter.detach() for name, parameter in named.items()}
    for name, parameter in named.items():
        moments = state.optimizer.state.get(parameter, {})
        tensors |= {f"{moment}.{name}": moments[moment] for moment in MOMENTS if moment in moments}
    tensors |= {f"bank.{n}": bank for n, bank in enumerate(state.bank)}
    steps = {
        name: int(state.optimizer.state[each]["step"]) for name, each in named.items() if each in state.optimizer.state
    }
    facts = {"formatVersion": FORMAT_VERSION, "progress": asdict(state.progress), "basis": basis, "steps": steps}
    partial = folder / f"{NAME}.partial"
    save_file(
        {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, partial, {"likeness": json.dumps(facts)}
    )
    partial.replace(folder / NAME)


def resume(state: State, folder: Path, basis: dict[str, Any]) -> None:
    """Takes up the checkpoint in `folder`, if any. Raises `RunError(EncoderMismatch)` where its basis differs."""
    path = folder / NAME
    if not path.is_file():
        return
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["likeness"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    if facts["formatVersion"] != FORMAT_VERSION or facts["basis"] != basis:
        raise RunError(
            Reason.ENCODER_MISMATCH,
            f"{path}: the checkpoint is of {facts['basis']!r:.300}; expected {basis!r:.300}: use another folder",
        )
    for name, parameter in state.encoder.named_parameters():
        parameter.data.copy_(tensors[f"encoder.{name}"])
        if name in facts["steps"]:
            moments = {moment: tensors[f"{moment}.{name}"].to(parameter.device) for moment in MOMENTS}
            state.optimizer.state[parameter] = {"step": torch.tensor(float(facts["steps"][name])), **moments}
    state.bank = [tensors[f"bank.{n}"].to(bank.device) for n, bank in enumerate(state.bank)]
    state.progress = Progress(**facts["progress"])
