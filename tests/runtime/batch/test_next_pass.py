"""From what a pass came to, to the next one: who was learned worst comes first, who failed stays out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from likeness_runtime.batch.batch_folder import PLAN_NAME, BatchFolder, plan_name, segment_name, shard_name
from likeness_runtime.batch.later_passes import LaterPasses
from likeness_runtime.batch.next_pass import own_score, plan_next_pass, read_plan
from likeness_runtime.batch.plan import LARGEST_SHARD, BatchPlan, PlannedSubject
from likeness_runtime.batch.result_line import Outcome, ResultLine
from likeness_runtime.batch.subject_line import SubjectLine
from likeness_runtime.storage.local import LocalStore

Loss = str | None
"""None: nothing is said about it."""
FAILED = "failed"


def planned(number: int) -> PlannedSubject:
    document = {"id": f"茶 {number}\u2028", "images": [f"s3://c/{number}.png"], "metadata": {"row": number}}
    return PlannedSubject(number, SubjectLine.model_validate(document), f"{number:064x}")


def result(number: int, loss: Loss, steps: int = 0) -> ResultLine:
    if loss == FAILED:
        return ResultLine(line=number, id="x", outcome=Outcome.FAILED, reason="ImageUnreadable", message="broken")
    return ResultLine(
        line=number,
        id=f"sku {number}",
        outcome=Outcome.SUCCEEDED,
        reason="Tuned",
        message=f"tuned in {steps} steps",
        steps=steps,
        metrics={"lossAfter": loss} if loss is not None else {},
    )


class Books:
    """Those of a batch that is through with a pass."""

    def __init__(self, home: Path, scratch: Path) -> None:
        self.folder = BatchFolder(LocalStore(), f"file://{home}/", 1)
        self.scratch = scratch

    def begin(self, shards: list[list[int]], which_pass: int = 0) -> BatchPlan:
        """Plans a pass."""
        lines = sum(map(len, shards))
        plan = BatchPlan(basis="b" * 64, model="c" * 64, lines=lines, quarantined=0, skipped=0,
                         shards=[len(shard) for shard in shards])  # fmt: skip
        for index, numbers in enumerate(shards):
            data = b"".join(planned(number).encode() for number in numbers)
            self.folder.write(shard_name(which_pass, index), data)
        self.folder.write(plan_name(which_pass), plan.encode())
        return plan

    def segment(self, index: int, losses: Mapping[int, Loss], which_pass: int = 0, steps: int = 0) -> None:
        lines = [result(number, loss, steps) for number, loss in losses.items()]
        self.folder.write(segment_name(which_pass, index), b"".join(line.encode() for line in lines))

    def plan_next(self, workers: int = 1, which_pass: int = 1) -> BatchPlan:
        return plan_next_pass(self.folder, which_pass, workers, self.scratch)

    def shards(self, which_pass: int) -> list[list[int]]:
        """The line numbers in each."""
        found = []
        for index in range(len(read_plan(self.folder, which_pass).shards)):
            data = self.folder.read(shard_name(which_pass, index)) or b""
            found.append([PlannedSubject.decode(line).number for line in data.splitlines()])
        return found


@pytest.fixture
def books(tmp_path: Path) -> Books:
    (tmp_path / "scratch").mkdir()
    return Books(tmp_path / "home", tmp_path / "scratch")


def test_who_was_learned_worst_comes_first(books: Books) -> None:
    books.begin([[1, 2, 3], [4, 5]])
    books.segment(0, {1: "0.2", 2: "10.5", 3: "0.09"})
    books.segment(1, {4: "1e-3", 5: "0.3"})
    books.plan_next()
    assert books.shards(1) == [[2, 5, 1, 3, 4]]


def test_who_nothing_is_known_about_comes_before_all_and_equals_stay_in_order(books: Books) -> None:
    books.begin([[1, 2, 3, 4]])
    books.segment(0, {4: "0.5", 3: None, 2: "0.5", 1: "0.5"})
    books.plan_next()
    assert books.shards(1) == [[3, 1, 2, 4]]
    assert own_score(result(1, None)) < own_score(result(1, "1e9"))


def test_who_failed_and_who_was_not_reached_is_left_out(books: Books) -> None:
    books.begin([[1, 2, 3], [4]])
    books.segment(0, {1: "0.2", 2: FAILED})
    made = books.plan_next()
    assert books.shards(1) == [[1]]
    assert (made.shards, made.subjects) == ([1], 1)


def test_a_subject_is_planned_as_it_was(books: Books) -> None:
    books.begin([[1]])
    books.segment(0, {1: "0.2"})
    books.plan_next()
    assert books.folder.read(shard_name(1, 0)) == books.folder.read(shard_name(0, 0))


def test_the_plan_is_that_of_the_pass_before_but_for_its_shards(books: Books) -> None:
    before = books.begin([[1, 2], [3]])
    books.segment(0, {1: "0.2", 2: FAILED})
    books.segment(1, {3: "0.2"})
    made = books.plan_next()
    assert made == before.model_copy(update={"shards": [2]})
    assert read_plan(books.folder, 1) == made
    assert read_plan(books.folder, 0) == before


def test_made_again_it_is_the_same_and_nothing_is_written(books: Books) -> None:
    """Also where the pass before has changed meanwhile: workers may have begun."""
    books.begin([[1, 2]])
    books.segment(0, {1: "0.2", 2: "0.3"})
    made, shards = books.plan_next(), books.shards(1)
    books.segment(0, {1: "0.9", 2: FAILED})
    (books.scratch / "subjects").unlink()
    assert books.plan_next(workers=9) == made
    assert books.shards(1) == shards
    assert not (books.scratch / "subjects").exists()


def test_stopped_before_its_plan_is_written_it_is_made_the_same_again(books: Books) -> None:
    books.begin([list(range(1, 30))])
    books.segment(0, {number: f"0.{number:02}" for number in range(1, 30)})
    made, shards = books.plan_next(workers=2), books.shards(1)
    books.folder.delete(plan_name(1))
    books.folder.delete(shard_name(1, 1))
    assert books.plan_next(workers=2) == made
    assert books.shards(1) == shards


def test_the_plan_is_written_last(books: Books) -> None:
    written: list[str] = []

    class Noting(LocalStore):
        def write(self, uri: str, data: bytes, media_type: str) -> None:
            written.append(uri.removeprefix(books.folder.address))
            super().write(uri, data, media_type)

    books.begin([list(range(20))])
    books.segment(0, dict.fromkeys(range(20), "0.1"))
    plan_next_pass(BatchFolder(Noting(), books.folder.home, 1), 1, 2, books.scratch)
    assert written[-1] == plan_name(1)
    assert set(written[:-1]) == {shard_name(1, index) for index in range(len(written) - 1)}


def test_nobody_is_lost_in_many_shards(books: Books) -> None:
    """Sorted over all of them, cut anew."""
    count = 3 * LARGEST_SHARD + 7
    numbers = list(range(count))
    cut = [numbers[first : first + 150] for first in range(0, count, 150)]
    books.begin(cut)
    for index, shard in enumerate(cut):
        books.segment(index, {number: str((number * 7919) % 1009 + 1) for number in shard})
    books.plan_next(workers=3)
    order = [number for shard in books.shards(1) for number in shard]
    assert sorted(order) == numbers
    assert order == sorted(numbers, key=lambda number: (-((number * 7919) % 1009), number))


def test_where_all_failed_nothing_is_left_to_do(books: Books) -> None:
    books.begin([[1]])
    books.segment(0, {1: FAILED})
    assert books.plan_next().shards == []


def test_a_third_pass_follows_from_the_second(books: Books) -> None:
    books.begin([[1, 2]])
    books.segment(0, {1: "0.1", 2: "0.2"})
    books.plan_next()
    books.segment(0, {1: "0.4", 2: "0.2"}, which_pass=1)
    books.plan_next(which_pass=2)
    assert (books.shards(1), books.shards(2)) == ([[2, 1]], [[1, 2]])


def test_a_plan_that_was_begun_and_is_gone_is_no_plan(books: Books) -> None:
    with pytest.raises(AssertionError, match=f"{PLAN_NAME} is gone"):
        books.plan_next()


# What the later passes make of it.


def later(books: Books, steps: list[int], plans: list[BatchPlan]) -> LaterPasses:
    passes = LaterPasses(books.scratch / "later", steps)
    passes.read(books.folder, plans)
    return passes


def test_of_several_passes_the_last_one_that_published_counts(books: Books) -> None:
    plans = [books.begin([[1, 2], [3]], which_pass) for which_pass in (1, 2)]
    books.segment(0, {1: "0.1", 2: "0.1"}, 1, steps=4)
    books.segment(1, {3: "0.1"}, 1, steps=4)
    books.segment(0, {1: "0.1", 2: FAILED}, 2, steps=12)
    books.segment(1, {3: FAILED}, 2, steps=12)
    passes = later(books, [0, 4, 12], plans)
    assert [passes.better(result(number, "0.5")).steps for number in (1, 2, 3)] == [12, 4, 4]
    assert [passes.better(result(number, "0.5")).message for number in (1, 2, 3)] == [
        "tuned in 12 steps",
        "tuned in 4 steps",
        "tuned in 4 steps",
    ]


def test_a_later_pass_never_takes_away(books: Books) -> None:
    """Whatever it came to: failed, or not there at all."""
    plan = books.begin([[1], [2], [3]], 1)
    books.segment(0, {1: FAILED}, 1, steps=12)
    passes = later(books, [0, 12], [plan])
    for number in (1, 2, 3):
        line = passes.better(result(number, "0.5"))
        assert (line.outcome, line.steps, line.metrics) == (Outcome.SUCCEEDED, 0, {"lossAfter": "0.5"})


def test_who_was_not_reached_is_told_so(books: Books) -> None:
    plans = [books.begin([[1, 2]], which_pass) for which_pass in (1, 2)]
    books.segment(0, {1: "0.1", 2: "0.1"}, 1, steps=4)
    books.segment(0, {1: FAILED}, 2, steps=12)
    passes = later(books, [0, 4, 12], plans)
    assert passes.better(result(1, "0.5")).message == "tuned in 4 steps"
    missed = passes.better(result(2, "0.5"))
    assert missed.message == "tuned in 4 steps; not reached by the pass of 12 steps before completeBy"
    assert missed.steps == 4


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.SKIPPED])
def test_who_was_not_to_be_worked_on_is_left_as_it_is(books: Books, outcome: Outcome) -> None:
    passes = later(books, [0, 12], [books.begin([[1]], 1)])
    line = result(1, "0.5").model_copy(update={"outcome": outcome})
    assert passes.better(line) == line


def test_of_a_single_pass_each_line_is_its_own(books: Books) -> None:
    assert later(books, [12], []).better(result(1, "0.5")) == result(1, "0.5")
