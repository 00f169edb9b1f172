"""The most memory that work held: the GPU's by torch's own count, else the whole process's by the kernel's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written to clear_refs, sets the peak back to what is resident now: proc(5)."""

Returned = TypeVar("Returned")


def peak_bytes_of(work: Callable[[], Returned], device: torch.device) -> tuple[Returned, int | None]:
    """What `work` returns and the peak in bytes; None where neither CUDA nor Linux counts."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return work(), torch.cuda.max_memory_allocated(device)
    if not CLEAR.exists():
        return work(), None
    CLEAR.write_text(RESET_PEAK)
    return work(), _resident_peak()


def _resident_peak() -> int | None:
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    return int(found[1]) * 1024 if found else None
