"""What the training stages of the pocket world share beside the loop: precision, memory format, optimizer."""

from pathlib import Path

import torch
from torch import nn

from likeness_runtime.pretrain.checkpoint import resume
from likeness_runtime.pretrain.plan import TrainingPlan
from likeness_runtime.pretrain.training_run import Network, TrainingRun, averaged_copy

LOG_NAME = "build.log.jsonl"
"""The build log: one JSON object per line, all stages in one file."""


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 where the hardware has it, float32 elsewhere: a CPU that emulates it trains at a third of the speed."""
    native = device.type != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.autocast(device.type, torch.bfloat16, enabled=native)


def channels_last(network: Network, device: torch.device) -> Network:
    """The same network on `device`, its convolutions laid out as CPUs and tensor cores like them best."""
    nn.Module.to(network, device)
    nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
    return network


def open_stage(name: str, network: Network, plan: TrainingPlan, folder: Path) -> TrainingRun[Network]:
    """Begins the stage `name`, or takes it up again from its checkpoint in `folder`.

    Raises `RunError(EncoderMismatch)` where the checkpoint is of another plan or of an earlier release.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay, fused=True
    )
    run = TrainingRun(
        name=name,
        network=network,
        average=averaged_copy(network, plan),
        optimizer=optimizer,
        plan=plan,
        folder=folder,
        log=folder / LOG_NAME,
        basis={"stage": name},
    )
    resume(run)
    return run
