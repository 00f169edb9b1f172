"""How many cores this process may really use: a container's CPU quota is invisible to torch, which counts the node's.

Dozens of threads on a quota of two cores are slower than two.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota_file: Path = CGROUP_QUOTA) -> int:
    """At least 1: the cores this process is bound to, or the cgroup's quota where that is less."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(bound, quota_cores(quota_file) or bound))


def quota_cores(quota_file: Path) -> int | None:
    """The quota in whole cores, rounded up; None where there is none. Format: cgroup v2, `<quota|max> <period>`."""
    if not quota_file.is_file():
        return None
    quota, period = quota_file.read_text().split()
    return None if quota == "max" else math.ceil(int(quota) / int(period))
