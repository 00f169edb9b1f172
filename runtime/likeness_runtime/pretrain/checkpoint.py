"""Where a training stands: one safetensors file, replaced as a whole, so that a kill at any moment costs minutes.

The step's number settles every random draw, so a resumed training does what an uninterrupted one would have done.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError
from likeness_runtime.pretrain.plan import TrainingProgress
from likeness_runtime.pretrain.training_run import TrainingRun

CHECKPOINT_FORMAT_VERSION = 2
MOMENTS = ("exp_avg", "exp_avg_sq")


def checkpoint_path(folder: Path, name: str) -> Path:
    """The one file that a resumption of the training `name` reads."""
    return folder / f"{name}.checkpoint.safetensors"


def has_checkpoint(folder: Path, name: str) -> bool:
    """Whether the training `name` has begun and can be read."""
    return checkpoint_path(folder, name).is_file()


def write_checkpoint(run: TrainingRun[Any]) -> None:
    """Replaces the checkpoint; a kill at any moment leaves either the old one or the new one."""
    run.folder.mkdir(parents=True, exist_ok=True)
    states = {parameter: state for parameter, state in run.optimizer.state.items() if state}
    named = {name: states[parameter] for name, parameter in run.network.named_parameters() if parameter in states}
    tensors = {f"network.{name}": tensor for name, tensor in run.network.state_dict().items()}
    if run.average is not run.network:
        tensors |= {f"average.{name}": tensor for name, tensor in run.average.state_dict().items()}
    tensors |= {f"{moment}.{name}": state[moment] for name, state in named.items() for moment in MOMENTS}
    tensors |= {f"memory.{name}": tensor for name, tensor in run.memory.items()}
    facts = {
        "formatVersion": CHECKPOINT_FORMAT_VERSION,
        "progress": asdict(run.progress),
        "basis": run.agreed_basis(),
        "steps": {name: int(state["step"]) for name, state in named.items()},
    }
    path = checkpoint_path(run.folder, run.name)
    partial = path.with_suffix(".partial")
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        partial,
        {"likeness": json.dumps(facts)},
    )
    partial.replace(path)


def resume(run: TrainingRun[Any]) -> None:
    """Takes up the run's checkpoint, if there is one.

    Raises `RunError(EncoderMismatch)` where it is of another basis, or of a release that wrote another format.
    """
    refuse_older(run.folder, run.name)
    path = checkpoint_path(run.folder, run.name)
    if not path.is_file():
        return
    facts, tensors = _read(path)
    if facts["formatVersion"] != CHECKPOINT_FORMAT_VERSION or facts["basis"] != run.agreed_basis():
        what = basis_differences(facts["basis"], run.agreed_basis()) or "its format"
        raise RunError(Reason.ENCODER_MISMATCH, f"{path}: the checkpoint differs in {what}: use another folder")
    run.network.load_state_dict(_part(tensors, "network"))
    if run.average is not run.network:
        run.average.load_state_dict(_part(tensors, "average"))
    _load_optimizer(run.optimizer, run.network, tensors, facts["steps"])
    kept = _part(tensors, "memory")
    run.memory = {name: kept[name].to(tensor.device) for name, tensor in run.memory.items()}
    run.progress = TrainingProgress(**facts["progress"])


def basis_differences(found: Any, expected: dict[str, Any], before: str = "") -> str:
    """The settings in which two bases differ, as `name: found, expected other`."""
    if not isinstance(found, dict):
        return f"all settings: {found!r:.100}"
    parts = []
    for name in sorted({*found, *expected}):
        one, other = found.get(name), expected.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            parts.append(basis_differences(one, other, f"{before}{name}."))
        elif one != other:
            parts.append(f"{before}{name}: {one!r:.100}, expected {other!r:.100}")
    return "; ".join(each for each in parts if each)


def refuse_older(folder: Path, name: str) -> None:
    """Raises `RunError(EncoderMismatch)` where the training `name` was begun with a format that is no longer read."""
    for path in (folder / f"{name}.checkpoint.pt", folder / "checkpoint.safetensors"):
        if path.is_file():
            raise RunError(
                Reason.ENCODER_MISMATCH,
                f"{path}: an earlier release wrote this checkpoint; expected {checkpoint_path(folder, name).name}:"
                " end that training with the earlier release, or use another folder to begin anew",
            )


def read_average(folder: Path, name: str) -> dict[str, Tensor]:
    """The averaged weights in the checkpoint of the training `name`, on the CPU."""
    _, tensors = _read(checkpoint_path(folder, name))
    return _part(tensors, "average")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        facts: dict[str, Any] = json.loads(file.metadata()["likeness"])
        return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict


def _part(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{kind}."): each for name, each in tensors.items() if name.startswith(f"{kind}.")}


def _load_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module, tensors: dict[str, Tensor], steps: dict[str, int]
) -> None:
    """Moments get the memory format of their parameter, as the fused AdamW of CPUs takes both for laid out alike."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {}
    for index, parameter in enumerate(trained):
        if (name := names[parameter]) in steps:
            moments = {
                moment: torch.empty_like(parameter, requires_grad=False).copy_(tensors[f"{moment}.{name}"])
                for moment in MOMENTS
            }
            state[index] = {"step": torch.tensor(float(steps[name])), **moments}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
