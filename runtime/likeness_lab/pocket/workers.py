"""Several processes that train one network, each on its share of every batch.

On a busy machine two processes of one thread are faster than one of two: threads wait for each other hundreds of times
in a step, processes once. A process that was not started by `spawn` is a crew of one.
"""

import logging
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn as spawn_processes


def number() -> int:
    """This worker's number, from 0; the worker 0 writes files and the log."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    """How many workers there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def spawn(workers: int, work: Callable[[], None]) -> None:
    """Run `work` (picklable) in `workers` processes of one thread each, or right here when one is asked for.

    They end with this process when it is told to (SIGINT, SIGTERM).
    """
    if workers == 1:
        work()
        return
    signal.signal(signal.SIGTERM, _leave)  # an exit takes the daemons along, the signal alone does not
    with tempfile.TemporaryDirectory() as folder:
        spawn_processes(_join, args=(workers, Path(folder) / "meeting", work), nprocs=workers, daemon=True)


def _leave(signal_number: int, _frame: object) -> None:
    sys.exit(128 + signal_number)


def _join(rank: int, workers: int, meeting: Path, work: Callable[[], None]) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=workers)
    work()
    distributed.destroy_process_group()


def first_alone(work: Callable[[], object]) -> None:
    """Let worker 0 do what writes files, while the others wait for it."""
    if number() == 0:
        work()
    if distributed.is_initialized():
        distributed.barrier()


def agree(network: nn.Module, facts: Tensor) -> Tensor:
    """Average the gradients of `network`, and the few numbers in `facts` (n,), over all workers; return the facts."""
    if count() == 1:
        return facts
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), facts]) / count()
    distributed.all_reduce(flat)
    sizes = [gradient.numel() for gradient in gradients]
    *averaged, facts = flat.split([*sizes, len(facts)])
    for gradient, mean in zip(gradients, averaged, strict=True):
        gradient.copy_(mean.view_as(gradient))
    return facts.clone()  # a view would keep all gradients of the step in memory
