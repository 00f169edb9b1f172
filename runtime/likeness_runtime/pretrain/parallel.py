"""Several processes that train one network, each on its share of every batch; torchrun may start them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Processes:
    """How many there are, and which one this is."""

    size: int = 1
    rank: int = 0
    """From 0; the process 0 writes files and the log."""
    local_rank: int = 0
    """On this machine: the number of its GPU."""

    def first_alone(self, work: Callable[[], object]) -> None:
        """Runs `work`, which writes files, in process 0, while the others wait for it."""
        if self.rank == 0:
            work()
        if self.size > 1:
            distributed.barrier()


def present_processes() -> Processes:
    """The processes of torch's default group; this one alone where there is no group."""
    if not distributed.is_initialized():
        return Processes()
    return Processes(distributed.get_world_size(), distributed.get_rank(), int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Meets the other processes where torchrun's variables name some; alone otherwise."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield present_processes()
    finally:
        distributed.destroy_process_group()


def average_gradients(network: nn.Module, loss: Tensor, seconds: float, processes: Processes) -> tuple[Tensor, float]:
    """Gives every process the mean of all gradients, and returns the mean loss and the mean seconds of the step.

    A parameter without a gradient is left out, so all processes must have gradients for the same ones, and for one at
    least: otherwise the sizes differ and the run ends with an error, or waits.
    """
    if processes.size == 1:
        return loss, seconds
    gradients = [each.grad for each in network.parameters() if each.grad is not None]
    facts = torch.stack([loss, loss.new_tensor(seconds)])
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), facts]) / processes.size
    distributed.all_reduce(flat)
    *averaged, facts = flat.split([*(gradient.numel() for gradient in gradients), len(facts)])
    for gradient, mean in zip(gradients, averaged, strict=True):
        gradient.copy_(mean.view_as(gradient))
    return facts[0].clone(), float(facts[1])  # a view would keep all gradients of the step in memory
