"""Several processes that train one network, one for each GPU, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Processes:
    """How many there are, and which one this is."""

    size: int = 1
    rank: int = 0
    local_rank: int = 0
    """On this machine: the number of its GPU."""


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Meets the other processes where torchrun's variables name some; alone otherwise."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Processes()
        return
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Processes(size, distributed.get_rank(), int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        distributed.destroy_process_group()


def average_gradients(network: nn.Module, processes: Processes) -> None:
    """Every process gets the mean gradient.

    A parameter without one is left out, so all processes must have gradients for the same ones, and for one at least:
    otherwise the sizes differ and the run ends with an error, or waits. Pre-training's stages change at the same step
    everywhere, and offsets that are dropped still have gradients, of zero.
    """
    if processes.size == 1:
        return
    gradients = [each.grad for each in network.parameters() if each.grad is not None]
    flat = torch.cat([each.flatten() for each in gradients])
    distributed.all_reduce(flat)
    flat /= processes.size
    for gradient, part in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
