"""How much of a tuning step fits into a device's memory at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from likeness_runtime.denoiser.model import DiffusionModel

USABLE_SHARE = 0.8
"""Share of a GPU's free memory that a pass may keep; single operations need some, and some is lost between blocks."""
CPU_PASS_BYTES = 2**30
"""What a pass may keep on a CPU: rows one after the other take hardly longer there than side by side, and a pod's
memory is limited. A constant, so that the same order gives the same bytes."""


def draws_that_fit(kept_bytes: int, budget_bytes: int, draws: int) -> int:
    """How many of `draws` go through the model at once, at least one, where one keeps `kept_bytes`."""
    return max(1, min(draws, budget_bytes // max(kept_bytes, 1)))


def budget_bytes(device: torch.device) -> int:
    """What one pass may keep for its backward pass."""
    if device.type != "cuda":
        return CPU_PASS_BYTES
    free, _total = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(
        device
    )  # torch's own, and as good as free
    return int(USABLE_SHARE * (free + cached))


def saved_bytes(model: DiffusionModel, take: Callable[[], object]) -> int:
    """Bytes that autograd keeps for the backward pass of `take`; shared storage counts once, weights do not."""
    # Storages are told apart by themselves and not by their address, which the meta device has none of.
    weights = {each.untyped_storage()._cdata for network in model.networks for each in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage  # held, so that no other one gets its place meanwhile
        return tensor.detach()  # itself, it would hold the graph that holds it

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        take()
    return sum(storage.nbytes() for storage in kept.values())
