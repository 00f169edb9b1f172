"""How a catalogue is cut into shards: large ones first, small ones last."""

from __future__ import annotations


def shard_sizes(subjects: int, workers: int, largest: int, smallest: int) -> list[int]:
    """The sizes of the shards in the order in which they are claimed; they fall and add up to `subjects`.

    Each is at most a share of what is left that lets every one of the workers come back twice for more (guided
    self-scheduling), so that all workers end at nearly the same moment; between `smallest` and `largest`, but for the
    last one. A single worker leaves no tail: its shards are all of the largest size.
    """
    if workers == 1:
        return [min(largest, subjects - first) for first in range(0, subjects, largest)]
    sizes: list[int] = []
    left = subjects
    while left:
        size = min(left, max(smallest, min(largest, left // (2 * workers))))
        sizes.append(size)
        left -= size
    return sizes
