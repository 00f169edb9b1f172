"""What time work took: wall time on a GPU, the process's own time on a CPU, which others may be using too."""

from __future__ import annotations

import time

import torch


def now(device: torch.device) -> float:
    """Seconds from no particular moment, once all work that was handed to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()
