from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness_runtime.batch.shard_sizes import shard_sizes


@given(st.integers(0, 5000), st.integers(1, 64), st.integers(4, 400))
def test_sizes_fall_and_add_up(subjects: int, workers: int, largest: int) -> None:
    sizes = shard_sizes(subjects, workers, largest, 4)
    assert sum(sizes) == subjects
    assert sizes == sorted(sizes, reverse=True)
    assert all(4 <= size <= largest for size in sizes[:-1])


@pytest.mark.parametrize("subjects", [2_000, 100_000])
def test_the_tail_is_small(subjects: int) -> None:
    """Eight workers claim shards of subjects whose cost varies 1:10: idle time once the first one has ended."""
    draw = random.Random(3)  # noqa: S311
    ends = [(0.0, worker) for worker in range(8)]
    for size in shard_sizes(subjects, 8, 200, 4):
        end, worker = heapq.heappop(ends)
        heapq.heappush(ends, (end + sum(draw.uniform(1, 10) for _ in range(size)), worker))
    last = max(end for end, _ in ends)
    assert sum(last - end for end, _ in ends) / (8 * last) <= 0.03
