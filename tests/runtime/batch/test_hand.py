"""Who is suspected of a death, and who is convicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from likeness_runtime.batch.batch_folder import BatchFolder, hand_name
from likeness_runtime.batch.hand import MOST_DEATHS, Hand, HandNote
from likeness_runtime.storage.local import LocalStore


def a_hand(*lines: int, apart: set[int] | None = None, **deaths: int) -> Hand:
    """`deaths` by line number, as in `_3=1`."""
    counted = {int(name.removeprefix("_")): count for name, count in deaths.items()}
    return Hand(lines, frozenset(apart or ()), counted)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(a_hand(1, 2, 3), a_hand(apart={1, 2, 3}), id="a group is taken apart"),
        pytest.param(a_hand(1, 2, apart={7}), a_hand(apart={1, 2, 7}), id="as others were before"),
        pytest.param(a_hand(3), a_hand(_3=1), id="one alone is counted"),
        pytest.param(a_hand(3, apart={3}, _3=1), a_hand(apart={3}, _3=2), id="and counted again"),
        pytest.param(a_hand(3, _5=1), a_hand(_3=1, _5=1), id="each by itself"),
        pytest.param(a_hand(1, 2, _1=1), a_hand(apart={1, 2}, _1=1), id="nobody in company is counted"),
        pytest.param(a_hand(), a_hand(), id="nobody was in hand"),
    ],
)
def test_what_is_known_after_a_death(before: Hand, after: Hand) -> None:
    assert before.after_a_death() == after


def test_only_deaths_alone_lose_one() -> None:
    hand = Hand()
    for _ in range(10):
        hand = hand.holding([1, 2]).after_a_death()
    assert hand.lost == frozenset()
    for _ in range(MOST_DEATHS):
        assert hand.lost == frozenset()
        hand = hand.holding([2]).after_a_death()
    assert hand.lost == {2}


def test_what_is_in_hand_changes_nothing_of_what_is_known() -> None:
    hand = a_hand(1, apart={1, 2}, _4=1)
    assert hand.holding([9, 8]) == a_hand(9, 8, apart={1, 2}, _4=1)
    assert hand.holding(()).after_a_death() == hand.holding(())


@pytest.fixture
def folder(tmp_path: Path) -> BatchFolder:
    return BatchFolder(LocalStore(), f"file://{tmp_path}/", 1)


def test_a_note_is_read_as_it_was_written(folder: BatchFolder) -> None:
    hand = a_hand(4, 5, apart={1, 2}, _7=1, _9=2)
    HandNote(folder, 1, 3).write(hand)
    assert HandNote(folder, 1, 3).read() == hand
    assert HandNote(folder, 0, 3).read() == Hand()
    assert HandNote(folder, 1, 2).read() == Hand()


def test_a_note_that_is_removed_says_nothing(folder: BatchFolder) -> None:
    note = HandNote(folder, 0, 0)
    note.write(a_hand(1))
    note.remove()
    note.remove()
    assert note.read() == Hand()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"lines": ["a"]}', b'{"lines": [%s]}' % b",".join([b"1"] * 1001)])
def test_a_note_that_cannot_be_read_says_nothing(folder: BatchFolder, data: bytes) -> None:
    folder.write(hand_name(0, 0), data)
    assert HandNote(folder, 0, 0).read() == Hand()


def test_a_note_of_a_later_release_is_read(folder: BatchFolder) -> None:
    folder.write(hand_name(0, 0), b'{"lines": [3], "since": "now"}')
    assert HandNote(folder, 0, 0).read() == a_hand(3)
