"""Several processes that train one network, each on its share of every batch.

On a busy machine two processes of one thread are faster than one of two: threads wait for each other hundreds of times
in a step, processes once.
"""

import logging
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn as spawn_processes


def spawn(workers: int, work: Callable[[], None]) -> None:
    """Runs `work` (picklable) in `workers` processes of one thread each; one worker is this process itself.

    SIGINT and SIGTERM to this process end all of them.
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
