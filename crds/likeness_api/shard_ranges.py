"""Sets of whole numbers as text, such as "0-311,313": what is done of a hundred thousand shards takes a few bytes."""

from __future__ import annotations

from collections.abc import Iterable


def encode_ranges(numbers: Iterable[int], longest: int | None = None) -> str:
    """The numbers in ascending order, those that follow each other as first and last; of so many characters at most,
    with the last ones left out.
    """
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    text = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
    return text if longest is None or len(text) <= longest else text[: longest + 1].rpartition(",")[0]


def decode_ranges(text: str) -> list[range]:
    """The ranges in the text, which fits `ShardRanges`; one that runs backwards is empty."""
    ranges = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        ranges.append(range(int(first), int(last or first) + 1))
    return ranges
