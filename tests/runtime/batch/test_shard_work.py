"""A shard is worked through by whatever is killed, and accounts for each of its subjects once. The tuning is acted; the
books are files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from likeness_api.order import Order, OrderModel, OrderStorage, RunOrder, SubjectOrder
from likeness_api.personalization import ManifestRef, SubjectImage
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_api.shard_report import ShardProgress
from likeness_runtime.batch.batch_folder import BatchFolder, hand_name, segment_name, shard_name
from likeness_runtime.batch.hand import Hand, HandNote
from likeness_runtime.batch.plan import PlannedSubject
from likeness_runtime.batch.result_line import Outcome, ResultLine, read_lines
from likeness_runtime.batch.shard_work import EndingError, ShardWork, samples_of
from likeness_runtime.batch.subject_line import SubjectLine
from likeness_runtime.batch.work import SAME_IN_A_ROW, CircuitBreaker, GroupWork
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.order.manifest import folder_of
from likeness_runtime.storage.local import LocalStore

PASS, SHARD = 1, 7
DIGEST = "d" * 64
RUN = RunOrder(model=OrderModel(uri="builtin://pocket"), storage=OrderStorage(source_prefixes=[], output_prefixes=[]))
NOW = datetime(2026, 11, 27, 22, tzinfo=UTC)


class KilledError(BaseException):
    """SIGKILL: nothing is written after it."""


class MortalStore(LocalStore):
    """Dies before or after what its `dies_at`th write or deletion does; then nothing works any more."""

    def __init__(self, dies_at: int | None = None, *, after: bool = False) -> None:
        self.left = dies_at
        self.after = after
        self.dead = False

    def die(self) -> None:
        self.dead = True
        raise KilledError

    def _do(self, change: Callable[[], object]) -> None:
        if self.dead:
            raise KilledError
        last = self.left == 1
        self.left = None if self.left is None else self.left - 1
        if last and not self.after:
            self.die()
        change()
        if last:
            self.die()

    def read(self, uri: str, limit_bytes: int) -> bytes:
        if self.dead:
            raise KilledError
        return super().read(uri, limit_bytes)

    def write(self, uri: str, data: bytes, media_type: str) -> None:
        self._do(lambda: super(MortalStore, self).write(uri, data, media_type))

    def delete(self, uri: str) -> bool:
        self._do(lambda: super(MortalStore, self).delete(uri))
        return False


Tune = Callable[[list[int], MortalStore], None]
"""Called with the numbers of a group before it is tuned."""


@dataclass
class World:
    """What outlives a process: the books, what is published, what was tried."""

    path: Path
    subjects: int
    fails: dict[int, list[Reason]] = field(default_factory=dict)
    """Of a subject, at each try in turn; published from then on."""
    tune: Tune = lambda _numbers, _store: None
    published: set[int] = field(default_factory=set)
    groups: list[list[int]] = field(default_factory=list)
    told: list[ShardProgress] = field(default_factory=list)
    ending: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        planned = [PlannedSubject(number, line(number), "f" * 64) for number in self.numbers]
        self.folder().write(shard_name(PASS, SHARD), b"".join(each.encode() for each in planned))

    @property
    def numbers(self) -> list[int]:
        """Of lines: not from one, and with holes, as where others are broken."""
        return [10 * number for number in range(1, self.subjects + 1)]

    def folder(self, store: LocalStore | None = None) -> BatchFolder:
        return BatchFolder(store or LocalStore(), f"file://{self.path}/", 1)

    def run(
        self, store: MortalStore | None = None, last_death: str | None = None, timed_out: bool = False
    ) -> list[list[int]]:
        """One process works on the shard; the groups that it tried."""
        self.groups = []
        store = store or MortalStore()
        breaker = CircuitBreaker()

        def work(take: Callable[[list[Order]], None]) -> GroupWork:
            def fulfil(groups: Iterable[list[Order]]) -> Iterator[list[Result]]:
                for orders in groups:
                    take(orders)
                    numbers = [number_of(order) for order in orders]
                    self.groups.append(numbers)
                    self.tune(numbers, store)
                    yield [self._result(order) for order in orders]

            return GroupWork(lambda _number, subject: order_of(subject), breaker, fulfil, lambda: NOW)

        ShardWork(
            self.folder(store), PASS, SHARD, work, self.ending, self.told.append,
            last_death=last_death, timed_out=timed_out,
        ).run()  # fmt: skip
        return self.groups

    def dies(self, store: MortalStore | None = None, last_death: str | None = None) -> list[list[int]]:
        """The same of a process that is killed."""
        with pytest.raises(KilledError):
            self.run(store, last_death)
        return self.groups

    def _result(self, order: Order) -> Result:
        number = number_of(order)
        if left := self.fails.get(number):
            reason = left[0] if len(left) == 1 and left[0] not in PASSING else left.pop(0)
            return Result(reason=reason, message=f"{reason} it was")
        reason = Reason.ALREADY_PUBLISHED if number in self.published else Reason.TUNED
        self.published.add(number)
        manifest = ManifestRef(uri=folder_of(order, DIGEST) + "manifest.json", sha256=DIGEST)
        return Result(reason=reason, message="tuned", manifest=manifest)

    @property
    def lines(self) -> list[ResultLine]:
        return list(read_lines(self.folder().read(segment_name(PASS, SHARD))))

    @property
    def outcomes(self) -> dict[int, str]:
        """By line number: Succeeded, or why not. Each number is there once, and all are in order."""
        numbers = [each.line for each in self.lines]
        assert numbers == sorted(set(numbers))
        return {each.line: each.outcome if each.outcome is not Outcome.FAILED else each.reason for each in self.lines}

    @property
    def hand(self) -> Hand:
        return HandNote(self.folder(), PASS, SHARD).read()

    @property
    def last(self) -> ShardProgress:
        return self.told[-1]


PASSING = (Reason.STORAGE_UNAVAILABLE, Reason.OUT_OF_DEVICE_MEMORY)


def line(number: int) -> SubjectLine:
    return SubjectLine.model_validate({"id": f"sku/{number}", "images": [f"s3://catalogue/{number}.png"]})


def number_of(order: Order) -> int:
    assert order.subject.id is not None
    return int(order.subject.id.removeprefix("sku/"))


def order_of(subject: SubjectLine) -> Order:
    return Order(
        run=RUN,
        subject=SubjectOrder(
            namespace="shop",
            name="x",
            id=subject.id,
            token="<x>",
            images=[SubjectImage(uri=subject.images[0].uri)],
            output="s3://artifacts",
        ),
    )


def kills(*killers: int) -> Tune:
    """The process dies whenever it has one of these in hand."""

    def tune(numbers: list[int], store: MortalStore) -> None:
        if set(killers) & set(numbers):
            store.die()

    return tune


@pytest.fixture
def six(tmp_path: Path) -> World:
    return World(tmp_path, 6)


def all_succeeded(world: World) -> dict[int, str]:
    return dict.fromkeys(world.numbers, "Succeeded")


def test_a_shard_is_worked_through_in_groups_of_four(six: World) -> None:
    assert six.run() == [[10, 20, 30, 40], [50, 60]]
    assert six.outcomes == all_succeeded(six)
    assert six.folder().read(hand_name(PASS, SHARD)) is None


def test_how_far_it_is_is_told_at_its_beginning_after_each_group_and_at_its_end(six: World) -> None:
    six.fails = {20: [Reason.IMAGE_UNREADABLE]}
    six.run()
    told = [(each.shard, each.subjects, each.succeeded, each.failed, each.finished) for each in six.told]
    assert told == [(7, 6, 0, 0, False), (7, 6, 3, 1, False), (7, 6, 5, 1, False), (7, 6, 5, 1, True)]
    assert [(each.reason, each.count, each.id) for each in six.last.failures] == [("ImageUnreadable", 1, "sku/20")]


def test_what_is_done_is_not_done_again(six: World) -> None:
    six.fails = {20: [Reason.IMAGE_UNREADABLE]}
    six.run()
    before = six.lines
    assert six.run() == []
    assert six.lines == before
    assert (six.last.finished, six.last.succeeded, six.last.failed) == (True, 5, 1)


def test_before_a_group_is_tuned_it_is_written_down_who_is_in_hand(six: World) -> None:
    noted = []
    six.tune = lambda numbers, _store: noted.append((tuple(numbers), six.hand.lines))
    six.run()
    assert noted == [((10, 20, 30, 40),) * 2, ((50, 60),) * 2]


def test_what_may_pass_is_tried_again_at_the_end(six: World) -> None:
    six.fails = {10: [Reason.STORAGE_UNAVAILABLE], 60: [Reason.STORAGE_UNAVAILABLE] * 2}
    assert six.run() == [[10, 20, 30, 40], [50, 60], [10, 60]]
    assert six.outcomes == all_succeeded(six) | {60: "StorageUnavailable"}
    assert [each.failed for each in six.told] == [0, 0, 0, 0, 1]  # what may pass is no failure until the end


def test_what_might_have_passed_is_tried_once_more_by_whoever_comes_back(six: World) -> None:
    six.fails = {60: [Reason.STORAGE_UNAVAILABLE] * 2}
    six.run()
    assert six.run() == [[60]]
    assert six.outcomes == all_succeeded(six)


def test_a_plan_whose_shard_is_gone_is_told(six: World) -> None:
    six.folder().delete(shard_name(PASS, SHARD))
    with pytest.raises(RunError, match=r"shards/1-00007.jsonl is gone; raise spec.revision") as failed:
        six.run()
    assert failed.value.reason is Reason.SOURCE_NOT_FOUND


# Deaths.


def test_a_group_that_died_is_taken_one_at_a_time(six: World) -> None:
    six.tune = lambda numbers, store: store.die() if len(numbers) == 4 else None
    assert six.dies() == [[10, 20, 30, 40]]
    assert six.run() == [[10], [20], [30], [40], [50, 60]]
    assert six.outcomes == all_succeeded(six)


def test_one_that_kills_alone_comes_last_and_is_given_up_at_its_second_death(six: World) -> None:
    six.tune = kills(30)
    assert six.dies() == [[10, 20, 30, 40]]
    assert six.dies() == [[10], [20], [30]]
    assert six.dies() == [[10], [20], [40], [50, 60], [30]]
    assert six.run(last_death="SIGSEGV") == [[10], [20], [40], [50, 60]]
    assert six.outcomes == all_succeeded(six) | {30: "CrashedWorker"}
    killer = six.lines[2]
    assert killer.id == "sku/30"
    assert killer.message.startswith("'sku/30' ended the process that had it alone in hand 2 times, the last time with")
    assert "SIGSEGV" in killer.message
    assert killer.subject == line(30).to_json()
    assert (six.last.failed, six.last.failures[0].reason) == (1, "CrashedWorker")


def test_one_that_killed_once_may_still_be_learned(six: World) -> None:
    deaths = iter([None, None])

    def tune(numbers: list[int], store: MortalStore) -> None:
        if 30 in numbers and next(deaths, 0) is None:
            store.die()

    six.tune = tune
    six.dies()
    six.dies()
    assert six.run()[-1] == [30]
    assert six.outcomes == all_succeeded(six)


def test_a_death_is_counted_once_though_the_next_one_comes_before_anybody_is_in_hand(six: World) -> None:
    six.tune = kills(30)
    six.dies()
    six.dies()
    assert six.hand.lines == (30,)
    assert six.dies(MortalStore(1, after=True)) == []
    assert six.hand == Hand((), frozenset({10, 20, 30, 40}), {30: 1})


def test_one_that_is_not_done_within_its_time_is_told_so(six: World) -> None:
    six.tune = kills(30)
    for _ in range(3):
        six.dies()
    six.run(timed_out=True, last_death="nothing within its time")
    assert six.outcomes[30] == "SubjectTimedOut"
    assert "was not done within its time 2 times" in six.lines[2].message


def test_all_that_kill_are_given_up_and_nobody_else(six: World) -> None:
    six.tune = kills(10, 40, 60)
    deaths = 0
    while True:
        try:
            six.run(MortalStore())
        except KilledError:
            deaths += 1
        else:
            break
    assert six.outcomes == all_succeeded(six) | dict.fromkeys([10, 40, 60], "CrashedWorker")
    assert deaths <= 3 * 3


def test_who_only_kills_in_company_is_never_given_up(six: World) -> None:
    six.tune = lambda numbers, store: store.die() if len(numbers) > 1 else None
    assert [len(six.dies()), len(six.dies())] == [1, 5]
    assert six.run() == [[number] for number in six.numbers]
    assert six.outcomes == all_succeeded(six)


def test_who_is_suspected_is_so_in_this_shard_and_pass_only(six: World) -> None:
    HandNote(six.folder(), PASS, SHARD + 1).write(Hand((10,), frozenset({20}), {30: 2}))
    HandNote(six.folder(), PASS - 1, SHARD).write(Hand((10,), frozenset({20}), {30: 2}))
    assert six.run() == [[10, 20, 30, 40], [50, 60]]


def test_who_was_in_a_group_that_died_is_never_in_one_again(six: World) -> None:
    six.tune = lambda numbers, store: store.die() if {10, 20} <= set(numbers) else None
    six.dies()
    six.fails = {10: [Reason.OUT_OF_DEVICE_MEMORY], 20: [Reason.OUT_OF_DEVICE_MEMORY]}
    six.run()
    assert six.groups == [[10], [20], [30], [40], [50, 60], [10], [20]]


def test_how_one_was_lost_is_told_of_its_own_death_and_not_of_another_ones(six: World) -> None:
    six.tune = kills(10, 60)
    for _ in range(5):
        six.dies()
    assert six.hand.after_a_death().lost == {10}
    six.dies(last_death="SIGSEGV")  # 10 is lost from here on, and 60 is next
    six.run(last_death="SIGBUS")
    assert "SIGSEGV" in six.lines[0].message
    assert "SIGBUS" in six.lines[5].message


# A kill at every write.


def killed_at(world: World, number: int, *, after: bool) -> bool:
    """Whether a process was killed by then."""
    try:
        world.run(MortalStore(number, after=after))
    except KilledError:
        return True
    return False


def accounted(world: World, expected: dict[int, str]) -> None:
    assert world.outcomes == expected
    assert {number for number, outcome in expected.items() if outcome == "Succeeded"} == world.published
    assert (world.last.finished, world.last.subjects) == (True, world.subjects)
    assert world.last.succeeded + world.last.failed == world.subjects
    assert world.folder().read(hand_name(PASS, SHARD)) is None


def a_mixed_world(path: Path) -> tuple[World, dict[int, str]]:
    """One is broken, one passes at its second try, one never does."""
    world = World(path, 10)
    world.fails = {
        20: [Reason.IMAGE_UNREADABLE],
        30: [Reason.STORAGE_UNAVAILABLE],
        90: [Reason.STORAGE_UNAVAILABLE] * 1000,
    }
    return world, all_succeeded(world) | {20: "ImageUnreadable", 90: "StorageUnavailable"}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_write_it_is_accounted_for_by_the_next_one(tmp_path: Path, after: bool) -> None:
    writes = 0
    for number in range(1, 1000):
        world, expected = a_mixed_world(tmp_path / str(number))
        killed = killed_at(world, number, after=after)
        world.run(last_death="SIGKILL" if killed else None)
        accounted(world, expected)
        if not killed:
            break
        writes = number
    assert writes == 7  # three groups and what is tried again, nobody in hand, the segment, the note that goes


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_two_writes_too(tmp_path: Path, after: bool) -> None:
    """Groups that are whole: who is alone in hand at both deaths is lost, and that is right."""
    kills_seen = 0
    for first in range(1, 7):
        for second in range(1, 14):
            world = World(tmp_path / f"{first}-{second}", 8)
            kills_seen += killed_at(world, first, after=after) + killed_at(world, second, after=after)
            world.run(last_death="SIGKILL")
            accounted(world, all_succeeded(world))
    assert kills_seen > 50


def dies_within(nth: int, world: World) -> Tune:
    """Once, in the nth group, when the first of it is published."""
    tried = count()

    def tune(numbers: list[int], store: MortalStore) -> None:
        if next(tried) == nth:
            world.published.update(set(numbers[:1]) - {20, 90})
            store.die()

    return tune


def test_killed_within_any_group_too(tmp_path: Path) -> None:
    """While it is tuned, and when some of it is published already."""
    for number in range(10):
        world, expected = a_mixed_world(tmp_path / str(number))
        world.tune = dies_within(number, world)
        try:
            world.run()
        except KilledError:
            world.run(last_death="SIGKILL")
        accounted(world, expected)


def test_a_segment_that_cannot_be_written_is_nobodys_death(tmp_path: Path) -> None:
    class Refusing(MortalStore):
        def write(self, uri: str, data: bytes, media_type: str) -> None:
            if "/segments/" in uri:
                raise RunError(Reason.STORAGE_UNAVAILABLE, "not now")
            super().write(uri, data, media_type)

    world = World(tmp_path, 1)
    for _ in range(3):
        with pytest.raises(RunError, match="not now"):
            world.run(Refusing())
    world.run()
    assert world.outcomes == {10: "Succeeded"}


# Ends that are no deaths.


def test_told_to_end_it_finishes_what_is_in_hand_and_writes_that_down(six: World) -> None:
    six.ending = lambda: bool(six.groups)
    with pytest.raises(EndingError):
        six.run()
    assert six.outcomes == dict.fromkeys([10, 20, 30, 40], "Succeeded")
    assert six.hand == Hand()
    assert not six.last.finished
    six.ending = lambda: False
    assert six.run() == [[50, 60]]
    assert six.outcomes == all_succeeded(six)


def test_told_to_end_before_it_tries_again_what_is_known_stays(six: World) -> None:
    six.fails = {60: [Reason.STORAGE_UNAVAILABLE] * 2}
    six.run()
    six.ending = lambda: True
    with pytest.raises(EndingError):
        six.run()
    assert six.outcomes == all_succeeded(six) | {60: "StorageUnavailable"}


def test_interrupted_in_the_midst_of_a_group_nobody_is_suspected(six: World) -> None:
    def tune(numbers: list[int], _store: MortalStore) -> None:
        if 50 in numbers:
            raise InterruptedRunError

    six.tune = tune
    with pytest.raises(InterruptedRunError):
        six.run()
    assert six.outcomes == dict.fromkeys([10, 20, 30, 40], "Succeeded")
    six.tune = lambda _numbers, _store: None
    assert six.run() == [[50, 60]]


def test_what_was_suspected_before_is_so_after_an_end_in_order(six: World) -> None:
    six.tune = kills(30)
    six.dies()
    six.dies()
    six.ending = lambda: bool(six.groups)
    with pytest.raises(EndingError):
        six.run()
    assert six.hand == Hand((), frozenset({10, 20, 30, 40}), {30: 1})


def test_what_fails_everybody_ends_it_and_writes_nobody_off(tmp_path: Path) -> None:
    world = World(tmp_path, 16)
    world.fails = {number: [Reason.STORAGE_UNAVAILABLE] for number in world.numbers[4:]}
    with pytest.raises(RunError, match=f"{SAME_IN_A_ROW} subjects in a row failed alike") as failed:
        world.run()
    assert failed.value.reason is Reason.STORAGE_UNAVAILABLE
    assert list(world.outcomes)[:4] == world.numbers[:4]
    assert len(world.groups) == 3
    world.fails = {}
    world.run()
    assert world.outcomes == all_succeeded(world)


def test_four_that_may_not_be_read_are_four_failures_and_no_end(tmp_path: Path) -> None:
    """As in `likeness run`, which tells the four and goes on."""
    world = World(tmp_path, SAME_IN_A_ROW // 2)
    world.fails = {number: [Reason.ACCESS_DENIED] * 2 for number in world.numbers}
    world.run()
    assert world.outcomes == dict.fromkeys(world.numbers, "AccessDenied")


# Somebody else, who works on the same shard.


def meanwhile(other: World) -> Tune:
    """While the last group is tuned, the other one goes through all of the shard."""

    def tune(numbers: list[int], _store: MortalStore) -> None:
        if numbers == [50, 60]:
            other.run()

    return tune


def test_what_somebody_else_learned_meanwhile_stays(six: World) -> None:
    other = World(six.path, 6)
    six.fails = {20: [Reason.IMAGE_UNREADABLE]}
    six.tune = meanwhile(other)
    six.run()
    assert six.outcomes == all_succeeded(six)


def test_what_somebody_else_failed_meanwhile_is_no_matter(six: World) -> None:
    other = World(six.path, 6, fails={20: [Reason.IMAGE_UNREADABLE], 60: [Reason.IMAGE_UNREADABLE]})
    six.tune = meanwhile(other)
    six.run()
    assert six.outcomes == all_succeeded(six)


def test_the_most_frequent_reasons_are_told_first_with_their_first_lines() -> None:
    def failed(number: int, reason: str) -> ResultLine:
        return ResultLine(line=number, id=f"s{number}", outcome=Outcome.FAILED, reason=reason, message="m" * 600)

    samples = samples_of([failed(1, "Rare"), failed(2, "Common"), failed(3, "Common")])
    assert [(each.reason, each.count, each.id, len(each.message)) for each in samples] == [
        ("Common", 2, "s2", 512),
        ("Rare", 1, "s1", 512),
    ]
    assert len(samples_of([failed(number, f"R{number}") for number in range(30)])) == 10
