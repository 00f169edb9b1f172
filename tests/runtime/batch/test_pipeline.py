"""Groups one behind the other: what overlaps does, what must not does not, and an end anywhere takes nothing back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from likeness_api.order import Order
from likeness_api.personalization import SubjectImage
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_runtime.batch import pipeline
from likeness_runtime.batch.pipeline import pipelined
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.fulfil import fulfil_together
from likeness_runtime.order.prepare import LocatedModels, locate_models
from tiny_models import a_run, altered, an_order

WAIT_SECONDS = 30
"""Only a test that fails waits so long."""


@dataclass
class Stages:
    """The three stages, acted: a group is one order, known by its number. `during` is called by each with its name and
    the number; whatever it raises, the stage does.
    """

    during: Callable[[str, int], None] = lambda _stage, _number: None
    log: list[tuple[str, int]] = field(default_factory=list)
    """Of the thread that tunes."""
    published: list[int] = field(default_factory=list)
    asked: int = 0

    def fetch(self, orders: list[int], *_: object) -> list[int]:
        self.during("fetch", orders[0])
        return orders

    def tune(self, prepared: list[int], _context: object, _group_size: int) -> list[int]:
        self.log.append(("tune", prepared[0]))
        self.during("tune", prepared[0])
        return prepared

    def publish(self, prepared: list[int], products: list[int], _context: object) -> list[Result | RunError]:
        assert prepared == products
        self.during("publish", prepared[0])
        self.published.append(prepared[0])
        return [Result(reason=Reason.TUNED, message=str(prepared[0]))]

    def take(self, orders: list[Any]) -> None:
        self.log.append(("take", orders[0]))
        self.during("take", orders[0])

    def groups(self, count: int) -> Iterator[list[Any]]:
        for number in range(1, count + 1):
            self.asked = number
            self.during("ask", number)
            yield [number]

    def results(self, count: int) -> Iterator[int]:
        """The numbers of the groups, as their results come."""
        nothing: Any = None
        for (result,) in pipelined(self.groups(count), nothing, nothing, 4, self.take):
            self.log.append(("yield", int(result.message)))
            yield int(result.message)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    acted = Stages()
    monkeypatch.setattr(pipeline, "prepare_all", acted.fetch)
    monkeypatch.setattr(pipeline, "tune_all", acted.tune)
    monkeypatch.setattr(pipeline, "publish_all", acted.publish)
    return acted


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_the_results_come_in_the_groups_order(stages: Stages, count: int) -> None:
    assert list(stages.results(count)) == list(range(1, count + 1))
    assert stages.published == list(range(1, count + 1))


def test_a_group_is_taken_right_before_it_is_tuned(stages: Stages) -> None:
    list(stages.results(3))
    assert [each for each in stages.log if each[0] != "yield"] == [
        (stage, number) for number in (1, 2, 3) for stage in ("take", "tune")
    ]


def test_the_next_groups_pictures_are_fetched_while_one_is_tuned(stages: Stages) -> None:
    fetched = {number: threading.Event() for number in range(1, 4)}

    def during(stage: str, number: int) -> None:
        if stage == "fetch":
            fetched[number].set()
        if stage == "tune" and number < 3:
            assert fetched[number + 1].wait(WAIT_SECONDS)

    stages.during = during
    assert list(stages.results(3)) == [1, 2, 3]


def test_the_group_before_is_published_while_one_is_tuned(stages: Stages) -> None:
    """Each waits for the other to have begun."""
    tuning = {number: threading.Event() for number in range(1, 4)}
    publishing = {number: threading.Event() for number in range(1, 4)}

    def during(stage: str, number: int) -> None:
        if stage == "tune":
            tuning[number].set()
            assert number == 1 or publishing[number - 1].wait(WAIT_SECONDS)
        if stage == "publish":
            publishing[number].set()
            assert number == 3 or tuning[number + 1].wait(WAIT_SECONDS)

    stages.during = during
    assert list(stages.results(3)) == [1, 2, 3]


def test_no_more_than_the_next_group_is_asked_for_ahead(stages: Stages) -> None:
    asked: list[tuple[int, int]] = []

    def during(stage: str, number: int) -> None:
        if stage == "tune":
            asked.append((number, stages.asked))

    stages.during = during
    list(stages.results(4))
    assert asked == [(1, 2), (2, 3), (3, 4), (4, 4)]


class BrokenError(Exception):
    """A bug."""


@pytest.mark.parametrize("error", [InterruptedRunError, BrokenError])
@pytest.mark.parametrize(
    ("stage", "yielded", "published"),
    [
        pytest.param("ask", [], [1], id="where groups come from"),
        pytest.param("fetch", [1], [1, 2], id="fetching"),
        pytest.param("take", [1], [1, 2], id="taking"),
        pytest.param("tune", [1], [1, 2], id="tuning"),
        pytest.param("publish", [1, 2], [1, 2], id="publishing"),
    ],
)
def test_an_end_in_any_stage_leaves_what_was_yielded(
    stages: Stages, stage: str, yielded: list[int], published: list[int], error: type[BaseException]
) -> None:
    """Of the third of five groups. What was tuned before is published, if not yielded."""

    def during(where: str, number: int) -> None:
        if (where, number) == (stage, 3):
            raise error

    stages.during = during
    found: list[int] = []
    with pytest.raises(error):
        found.extend(stages.results(5))
    assert [number for what, number in stages.log if what == "yield"] == yielded
    assert stages.published == published


def test_whoever_stops_listening_leaves_no_thread_behind(stages: Stages) -> None:
    results = stages.results(5)
    assert next(results) == 1
    results.close()  # type: ignore[attr-defined]
    assert stages.published == [1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("fetch", "publish"))]


def test_a_failure_to_publish_is_that_subjects_result(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    def publish(*_: object) -> list[Result | RunError]:
        return [RunError(Reason.STORAGE_UNAVAILABLE, "7")]

    monkeypatch.setattr(pipeline, "publish_all", publish)
    nothing: Any = None
    ((result,),) = pipelined(stages.groups(1), nothing, nothing, 4, stages.take)
    assert result == Result(reason=Reason.STORAGE_UNAVAILABLE, message="7")


# With a tiny model.


@pytest.fixture
def orders(tiny_folders: dict[TinyKind, Path], photo: Image.Image, tmp_path: Path) -> list[Order]:
    """Five subjects of one run; the picture of the fourth is missing."""
    photo.save(tmp_path / "photo.png")
    first = an_order(tiny_folders["sd15"], tmp_path)
    made = []
    for number, picture in enumerate([photo, ImageOps.mirror(photo), ImageOps.flip(photo), None, photo.rotate(90)]):
        path = tmp_path / f"{number}.png"
        if picture is not None:
            picture.save(path)
        images = [SubjectImage(uri=f"file://{path}")]
        made.append(altered(first, name=f"subject-{number}", id=f"sku/{number}", images=images))
    return made


def located(order: Order, context: RunContext) -> LocatedModels:
    return locate_models(order.run, context.stores)


def comparable(results: list[Result]) -> list[tuple[Reason, str]]:
    """Reason, and the address of what was published: its digest is over all that it depends on."""
    return [(each.reason, each.manifest.uri if each.manifest else each.message) for each in results]


def test_the_results_are_those_of_one_group_after_the_other(orders: list[Order], tmp_path: Path) -> None:
    context = a_run(orders[0])
    groups = [orders[:1], orders[2:4], orders[4:]]
    taken: list[list[Order]] = []
    found = list(pipelined(groups, context, located(orders[0], context), 4, taken.append))
    assert taken == groups
    assert [len(results) for results in found] == [1, 2, 1]
    elsewhere = [altered(order, output=f"file://{tmp_path}/elsewhere") for group in groups for order in group]
    expected = fulfil_together(elsewhere[0].run, [order.subject for order in elsewhere], context, 2)
    assert [(reason, where.replace("/elsewhere/", "/out/")) for reason, where in comparable(expected)] == comparable(
        [each for results in found for each in results]
    )
    assert [each.reason for results in found for each in results] == [
        Reason.TUNED,
        Reason.TUNED,
        Reason.SOURCE_NOT_FOUND,
        Reason.TUNED,
    ]


def test_told_to_end_what_was_yielded_is_published_and_the_group_in_hand_is_not(orders: list[Order]) -> None:
    context = a_run(orders[0])
    stopping = threading.Event()

    def check() -> None:
        if stopping.is_set():
            raise InterruptedRunError

    def take(group: list[Order]) -> None:
        if group == [orders[4]]:
            stopping.set()

    stopped = RunContext(context.stores, lambda _step, _total: None, check, context.models)
    found: list[list[Result]] = []
    with pytest.raises(InterruptedRunError):
        found.extend(pipelined([[orders[0]], [orders[1]], [orders[4]]], stopped, located(orders[0], context), 4, take))
    out = Path(orders[0].subject.output.removeprefix("file://")) / "shop"
    assert sorted(path.parent.parent.name for path in out.glob("*/*/manifest.json")) == ["sku_2f0", "sku_2f1"]
