"""The supervisor against an acted process and an acted operator, in time that only moves when nothing is said; and
once against a real process.
"""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from likeness_api.batch_order import BatchOrder
from likeness_api.batch_result import BatchResult
from likeness_api.personalization_batch import FailureSample, PersonalizationBatchSpec
from likeness_api.reason import Reason
from likeness_api.shard_report import ShardAnswer, ShardProgress, ShardReport
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_runtime.batch.supervisor import (
    EMPTY_DEATHS,
    FIRST_PAUSE_SECONDS,
    LAST_SHARD_SECONDS,
    LOAD_SECONDS,
    LONGEST_PAUSE_SECONDS,
    SUBJECT_SECONDS,
    UNHEARD_SECONDS,
    Supervisor,
)
from likeness_runtime.batch.worker_messages import Failed, InHand, Progressed, Ready, WorkerMessage, WorkOn
from likeness_runtime.batch.worker_process import WorkerProcess

START = 1000.0
SHARD_SECONDS = 100.0
MOST_SECONDS = 50_000.0
"""Of acted time, before a test that goes round and round is ended."""
PAUSE_SECONDS = 2.0

Said = list[tuple[float, WorkerMessage | None]]
"""What a process says so many seconds after it was asked; None is its end."""


@dataclass
class Clock:
    now: float = START
    alarms: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        for alarm in [each for each in self.alarms if each[0] <= self.now]:
            self.alarms.remove(alarm)
            alarm[1]()
        if self.now > START + MOST_SECONDS:
            raise AssertionError("it never ends")


class Heard(queue.Queue[WorkerMessage | None]):
    """Gives what is due; whoever waits for what is not lets the time pass."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.due: Said = []
        """By the clock."""

    def get(self, block: bool = True, timeout: float | None = None) -> WorkerMessage | None:
        seconds = timeout if block else 0.0
        assert seconds is not None
        first = min(self.due, key=lambda each: each[0], default=None)
        if first is None or first[0] > self.clock.now + seconds:
            self.clock.pass_by(seconds)
            raise queue.Empty
        self.due.remove(first)
        self.clock.pass_by(max(0.0, first[0] - self.clock.now))
        return first[1]


class ActedProcess(WorkerProcess):
    """Says what `works` has it say of each shard."""

    def __init__(self, clock: Clock, works: Callable[[WorkOn], Said], starts: Said, at_end: Said) -> None:
        self.acted = Heard(clock)
        self.heard = self.acted
        self.clock = clock
        self.works = works
        self.at_end = at_end
        self.given: list[tuple[float, WorkOn]] = []
        self.told: list[str] = []
        self.code = 0
        self.says(starts)

    def says(self, said: Said) -> None:
        self.acted.due += [(self.clock.now + seconds, message) for seconds, message in said]

    def work_on(self, shard: WorkOn) -> None:
        self.given.append((self.clock.now, shard))
        self.says(self.works(shard))

    def end(self) -> None:
        self.told.append("end")
        self.acted.due = []
        self.says(self.at_end)

    def finish(self) -> None:
        self.told.append("finish")

    def kill(self) -> None:
        self.told.append("kill")
        self.code = -9
        self.acted.due = [(self.clock.now, None)]

    def wait(self) -> int:
        return self.code


@dataclass
class Operator:
    """Hands out shards one after the other and releases whoever is done with the last one; away it answers nothing."""

    clock: Clock
    shards: list[int]
    which_pass: int = 0
    releases: bool = True
    away: Callable[[float], bool] = lambda _now: False
    fewer: Callable[[float], bool] = lambda _now: False
    """Whether fewer workers are wanted, so that this one is released."""
    report_seconds: float = 0.0
    """That each report takes while it is away."""
    reports: list[tuple[float, ShardReport]] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)

    def report(self, report: ShardReport) -> ShardAnswer | None:
        self.reports.append((self.clock.now, report))
        if self.away(self.clock.now):
            self.clock.pass_by(self.report_seconds)
            return None
        self.acknowledged += [each.shard for each in report.holds if each.finished]
        shard = self.shards.pop(0) if report.wants and self.shards else None
        done = shard is None and not self.shards and all(each.finished for each in report.holds)
        release = (self.releases and done) or self.fewer(self.clock.now)
        return ShardAnswer(pass_index=self.which_pass, shard=shard, release=release, pause_seconds=PAUSE_SECONDS)

    @property
    def last(self) -> ShardReport:
        return self.reports[-1][1]


def finished(shard: int, subjects: int = 2) -> Progressed:
    progress = ShardProgress(shard=shard, subjects=subjects, succeeded=subjects, finished=True, seconds=SHARD_SECONDS)
    return Progressed(progress=progress)


def begun(shard: int, succeeded: int = 0) -> Progressed:
    return Progressed(progress=ShardProgress(shard=shard, subjects=2, succeeded=succeeded))


def does_it(shard: WorkOn) -> Said:
    """Begins, takes two subjects in hand, is done with them."""
    return [(0, begun(shard.shard)), (1, InHand(subjects=2)), (SHARD_SECONDS, finished(shard.shard))]


def dies_of_it(_shard: WorkOn) -> Said:
    return [(1, InHand(subjects=2)), (5, None)]


class Scene:
    """A supervisor, its processes one after the other, and its operator."""

    def __init__(self, shards: int = 3) -> None:
        self.clock = Clock()
        self.operator = Operator(self.clock, list(range(shards)))
        self.processes: list[ActedProcess] = []
        self.works: list[Callable[[WorkOn], Said]] = []
        """Of each shard that is given to a process, in turn; `does_it` from then on."""
        self.starts: Said = [(1.0, Ready())]
        self.at_end: Said = [(1.0, None)]
        self.exit_code = 0
        self.told_to_end = False

    def run(self) -> BatchResult:
        return Supervisor(
            an_order(), self._start, self.operator.report, lambda: self.told_to_end,
            clock=lambda: self.clock.now,
        ).run()  # fmt: skip

    def end_at(self, seconds: float) -> None:
        def end() -> None:
            self.told_to_end = True

        self.clock.alarms.append((START + seconds, end))

    @property
    def given(self) -> list[WorkOn]:
        return [shard for process in self.processes for _, shard in process.given]

    @property
    def given_at(self) -> list[float]:
        return [when - START for process in self.processes for when, _ in process.given]

    def _start(self) -> ActedProcess:
        process = ActedProcess(self.clock, self._work, self.starts, self.at_end)
        process.code = self.exit_code
        self.processes.append(process)
        return process

    def _work(self, shard: WorkOn) -> Said:
        return (self.works.pop(0) if self.works else does_it)(shard)


def an_order() -> BatchOrder:
    return BatchOrder(
        namespace="shop",
        name="autumn",
        spec=PersonalizationBatchSpec.model_validate(
            {"source": {"manifest": "s3://catalogue/m.jsonl"}, "template": {"output": "s3://artifacts"}, "revision": 4}
        ),
        profile=TuningProfileSpec.model_validate(
            {
                "model": {"uri": "builtin://pocket"},
                "runtime": {"image": "none"},
                "storage": {"sourcePrefixes": ["s3://catalogue"], "outputPrefixes": ["s3://artifacts"]},
            }
        ),
    )


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_every_shard_is_worked_on_once_in_turn_and_the_worker_released(scene: Scene) -> None:
    result = scene.run()
    assert (result.reason, result.exit_code) == (Reason.NOTHING_LEFT, 0)
    assert [each.shard for each in scene.given] == [0, 1, 2]
    assert scene.operator.acknowledged == [0, 1, 2]
    assert len(scene.processes) == 1
    assert scene.processes[0].told == ["finish", "kill"]
    assert {(report.batch, report.revision) for _, report in scene.operator.reports} == {("autumn", 4)}


def test_one_shard_is_held_ahead_and_never_more(scene: Scene) -> None:
    scene.operator.shards = list(range(9))
    scene.run()
    held = [sum(not each.finished for each in report.holds) for _, report in scene.operator.reports]
    assert max(held) == 2
    wanted = {(count, report.wants) for (_, report), count in zip(scene.operator.reports, held, strict=True)}
    assert (2, False) in wanted
    assert (1, True) in wanted
    assert (2, True) not in wanted


def test_how_far_a_shard_is_is_reported_while_it_is_worked_on(scene: Scene) -> None:
    scene.works = [lambda _: [(1, InHand(subjects=1)), (10, begun(0, succeeded=1)), (SHARD_SECONDS, finished(0))]]
    scene.run()
    first = [each for _, report in scene.operator.reports for each in report.holds if each.shard == 0]
    told = [(each.succeeded, each.finished) for each in first]
    assert list(dict.fromkeys(told)) == [(0, False), (1, False), (2, True)]


def test_nothing_is_given_to_a_process_before_it_is_ready(scene: Scene) -> None:
    scene.starts = [(500.0, Ready())]
    scene.run()
    assert scene.given_at[0] == 500.0


def test_the_pause_between_reports_is_the_operators(scene: Scene) -> None:
    scene.operator.shards = []
    scene.operator.releases = False
    scene.end_at(20 * PAUSE_SECONDS - 1)
    scene.run()
    times = [when for when, _ in scene.operator.reports[:-1]]
    pauses = {round(later - earlier, 6) for earlier, later in pairwise(times)}
    assert pauses == {PAUSE_SECONDS}


def test_a_pass_is_that_of_the_answer(scene: Scene) -> None:
    scene.operator.which_pass = 2
    scene.run()
    assert {each.which_pass for each in scene.given} == {2}
    assert scene.operator.last.pass_index == 2


def test_the_next_pass_begins_with_the_answer_that_acknowledges_the_last_shard_before(scene: Scene) -> None:
    scene.operator.shards = [0, 0]
    answers = scene.operator.report

    def in_two_passes(report: ShardReport) -> ShardAnswer | None:
        scene.operator.which_pass = 1 if scene.operator.acknowledged or any(x.finished for x in report.holds) else 0
        if scene.operator.which_pass == 0 and report.holds:
            report = report.model_copy(update={"wants": False})
        return answers(report)

    scene.operator.report = in_two_passes  # type: ignore[method-assign]
    assert scene.run().reason is Reason.NOTHING_LEFT
    assert [(each.which_pass, each.shard) for each in scene.given] == [(0, 0), (1, 0)]


# Deaths.


def test_a_death_starts_the_process_anew_with_the_same_shard(scene: Scene) -> None:
    scene.works = [does_it, dies_of_it]
    scene.exit_code = -11
    assert scene.run().reason is Reason.NOTHING_LEFT
    assert [(each.shard, each.last_death, each.timed_out) for each in scene.given] == [
        (0, None, False),
        (1, None, False),
        (1, "SIGSEGV", False),
        (2, None, False),
    ]
    assert [len(process.given) for process in scene.processes] == [2, 2]


def test_deaths_with_something_in_hand_never_end_the_pod(scene: Scene) -> None:
    scene.works = [dies_of_it] * (EMPTY_DEATHS * 3)
    assert scene.run().reason is Reason.NOTHING_LEFT
    assert scene.operator.acknowledged == [0, 1, 2]


def test_three_deaths_with_nothing_in_hand_end_the_pod(scene: Scene) -> None:
    scene.starts = [(1.0, None)]
    scene.exit_code = 1
    result = scene.run()
    assert result.reason is Reason.INTERRUPTED
    assert "3 times before it had a subject in hand, last: exit code 1" in result.message
    assert len(scene.processes) == EMPTY_DEATHS
    assert (scene.operator.last.gives_back, scene.operator.last.holds) == (True, [])


def test_a_death_with_something_in_hand_between_them_begins_the_count_anew(scene: Scene) -> None:
    def dies_empty(_shard: WorkOn) -> Said:
        return [(1, None)]

    scene.works = [dies_empty, dies_empty, dies_of_it, dies_empty, dies_empty, does_it]
    assert scene.run().reason is Reason.NOTHING_LEFT


def test_deaths_before_a_shards_first_subject_end_the_pod_too(scene: Scene) -> None:
    scene.works = [lambda shard: [(0, begun(shard.shard)), (1, None)]] * 1000
    assert scene.run().reason is Reason.INTERRUPTED
    assert len(scene.processes) == EMPTY_DEATHS


def test_a_process_that_nobody_is_to_blame_for_ends_the_pod_with_its_reason(scene: Scene) -> None:
    failed = Failed(reason=Reason.MODEL_NOT_FOUND, message="there is no model")
    scene.works = [does_it, lambda _: [(1, failed)]]
    result = scene.run()
    assert (result.reason, result.message) == (Reason.MODEL_NOT_FOUND, "there is no model")
    assert (scene.operator.last.gives_back, scene.operator.last.holds) == (True, [])
    assert scene.operator.acknowledged == [0]


# Time limits.


def silent(subjects: int) -> Callable[[WorkOn], Said]:
    return lambda _shard: [(1, InHand(subjects=subjects))]


@pytest.mark.parametrize("subjects", [1, 4])
def test_over_its_time_it_is_killed_and_the_next_one_told(scene: Scene, subjects: int) -> None:
    scene.works = [silent(subjects)]
    assert scene.run().reason is Reason.NOTHING_LEFT
    assert scene.processes[0].told == ["kill"]
    second = scene.given[1]
    assert (second.shard, second.timed_out, second.last_death) == (0, True, "nothing within its time")
    waited = scene.given_at[1] - scene.given_at[0]
    assert SUBJECT_SECONDS * subjects < waited < SUBJECT_SECONDS * subjects + 10
    assert not scene.given[2].timed_out  # another shard


def test_one_that_takes_nearly_all_of_its_time_is_left_alone(scene: Scene) -> None:
    def slow(shard: WorkOn) -> Said:
        long = SUBJECT_SECONDS - 1
        return [(1, InHand(subjects=1)), (long, InHand(subjects=1)), (2 * long - 1, finished(shard.shard))]

    scene.works = [slow]
    scene.run()
    assert len(scene.processes) == 1


def test_a_model_that_never_loads_is_not_waited_for_for_ever(scene: Scene) -> None:
    scene.starts = []
    result = scene.run()
    assert result.reason is Reason.INTERRUPTED
    assert "last: nothing within its time" in result.message
    assert EMPTY_DEATHS * LOAD_SECONDS < scene.clock.now - START < EMPTY_DEATHS * LOAD_SECONDS + 10


def test_one_that_is_ready_has_all_the_time_while_there_is_no_shard(scene: Scene) -> None:
    scene.operator.shards = []
    scene.operator.releases = False
    scene.end_at(LOAD_SECONDS * 2)
    scene.run()
    assert len(scene.processes) == 1


def test_a_crash_after_a_time_out_is_told_as_a_crash(scene: Scene) -> None:
    scene.exit_code = -11
    scene.works = [silent(1), dies_of_it]
    scene.run()
    assert (scene.given[2].last_death, scene.given[2].timed_out) == ("SIGSEGV", False)


def test_a_group_of_nobody_is_not_out_of_time(scene: Scene) -> None:
    scene.works = [lambda shard: [(1, InHand(subjects=0)), (2, finished(shard.shard))]]
    scene.run()
    assert len(scene.processes) == 1


def test_all_that_was_said_in_time_is_heard_before_the_time_is_judged(scene: Scene) -> None:
    """While a report takes its time, two messages come: the first one is no news of a group, the second one is."""
    long = SUBJECT_SECONDS - 2

    def works(shard: WorkOn) -> Said:
        return [
            (0, InHand(subjects=1)),
            (long, begun(shard.shard, succeeded=1)),
            (long + 1, InHand(subjects=1)),
            (long + 50, finished(shard.shard)),
        ]

    scene.works = [works]
    scene.operator.away = lambda now: START + SUBJECT_SECONDS - 60 < now < START + SUBJECT_SECONDS + 60
    scene.operator.report_seconds = 30.0
    scene.run()
    assert len(scene.processes) == 1


# SIGTERM.


def test_told_to_end_what_is_finished_is_reported_and_the_rest_given_back(scene: Scene) -> None:
    scene.at_end = [(5.0, begun(0, succeeded=1)), (20.0, finished(0)), (21.0, None)]
    scene.end_at(50)
    result = scene.run()
    assert (result.reason, result.exit_code) == (Reason.INTERRUPTED, 143)
    assert scene.processes[0].told == ["end", "finish", "kill"]
    last = scene.operator.last
    assert (last.gives_back, last.wants) == (True, False)
    assert [(each.shard, each.finished) for each in last.holds] == [(0, True)]


def test_told_to_end_a_shard_that_is_not_finished_is_given_back(scene: Scene) -> None:
    scene.at_end = [(5.0, begun(0, succeeded=1)), (6.0, None)]
    scene.end_at(50)
    assert scene.run().reason is Reason.INTERRUPTED
    assert (scene.operator.last.gives_back, scene.operator.last.holds) == (True, [])
    assert scene.clock.now - START < 60


def test_told_to_end_a_process_that_does_not_is_killed(scene: Scene) -> None:
    scene.at_end = []
    scene.end_at(50)
    assert scene.run().reason is Reason.INTERRUPTED
    assert LAST_SHARD_SECONDS <= scene.clock.now - START - 50 < LAST_SHARD_SECONDS + 2
    assert scene.processes[0].told == ["end", "finish", "kill"]


def test_told_to_end_before_it_has_anything_it_ends(scene: Scene) -> None:
    scene.told_to_end = True
    scene.starts = []
    assert scene.run().reason is Reason.INTERRUPTED
    assert [report.gives_back for _, report in scene.operator.reports] == [True]


# An operator that does not answer.


def away(first: float, last: float) -> Callable[[float], bool]:
    return lambda now: first <= now - START < last


def test_nobody_is_released_before_what_is_finished_is_acknowledged(scene: Scene) -> None:
    """It is away when the last shard is finished."""
    end = 1 + 3 * SHARD_SECONDS
    scene.operator.away = away(end - 10, end + 100)
    assert scene.run().reason is Reason.NOTHING_LEFT
    assert scene.operator.acknowledged == [0, 1, 2]
    assert scene.clock.now - START >= end + 100


def test_released_in_the_midst_of_it_the_group_in_hand_is_finished_and_the_rest_given_back(scene: Scene) -> None:
    scene.at_end = [(5.0, finished(0)), (6.0, None)]
    scene.operator.fewer = lambda now: now > START + 50
    result = scene.run()
    assert (result.reason, result.exit_code) == (Reason.NOTHING_LEFT, 0)
    assert scene.processes[0].told == ["end", "finish", "kill"]
    last = scene.operator.last
    assert (last.gives_back, last.wants, [(each.shard, each.finished) for each in last.holds]) == (
        True,
        False,
        [(0, True)],
    )
    assert scene.operator.acknowledged == [0]
    assert [each.shard for each in scene.given] == [0]


def test_released_with_nothing_in_hand_it_ends_at_once(scene: Scene) -> None:
    scene.operator.shards = []
    assert scene.run().reason is Reason.NOTHING_LEFT
    assert len(scene.operator.reports) == 1
    assert scene.processes[0].told == ["finish", "kill"]


def test_what_is_not_acknowledged_is_said_again_with_all_that_it_said(scene: Scene) -> None:
    sample = FailureSample(reason="ImageUnreadable", count=1, id="a", message="broken")
    told = ShardProgress(shard=0, subjects=2, succeeded=1, failed=1, finished=True, failures=[sample])
    scene.operator.shards = [0]
    scene.works = [lambda _: [(1, InHand(subjects=1)), (50, Progressed(progress=told))]]
    scene.operator.away = away(40, 100)
    scene.run()
    said = [report.holds for when, report in scene.operator.reports if when - START > 52]
    assert len(said) > 3
    assert all(holds == [told] for holds in said)


def test_an_operator_that_is_away_for_a_minute_costs_nothing(scene: Scene) -> None:
    """The shard that is held ahead is begun at the moment the one before is finished."""
    scene.operator.shards = list(range(6))
    scene.operator.away = away(150, 210)
    assert scene.run().reason is Reason.NOTHING_LEFT
    assert scene.given_at == [1 + SHARD_SECONDS * number for number in range(6)]


def test_an_operator_that_takes_long_not_to_answer_costs_nothing(scene: Scene) -> None:
    scene.operator.shards = list(range(6))
    scene.operator.away = away(150, 210)
    scene.operator.report_seconds = 15.0
    assert scene.run().reason is Reason.NOTHING_LEFT
    assert scene.given_at == [1 + SHARD_SECONDS * number for number in range(6)]


def test_reports_that_are_not_taken_become_rarer_and_often_again_once_one_is(scene: Scene) -> None:
    scene.operator.shards = []
    scene.operator.releases = False
    scene.operator.away = away(100, 220)
    scene.end_at(230)
    scene.run()
    times = [when for when, _ in scene.operator.reports if when - START >= 100]
    pauses = [round(later - earlier) for earlier, later in pairwise(times)]
    assert pauses[:5] == [FIRST_PAUSE_SECONDS, 2, 4, 8, LONGEST_PAUSE_SECONDS]
    assert max(pauses) == LONGEST_PAUSE_SECONDS
    assert pauses[-3:-1] == [PAUSE_SECONDS, PAUSE_SECONDS]


def test_unheard_and_without_work_it_ends(scene: Scene) -> None:
    scene.operator.away = lambda _now: True
    result = scene.run()
    assert result.reason is Reason.INTERRUPTED
    assert "the operator answered no report for 600 s" in result.message
    assert UNHEARD_SECONDS < scene.clock.now - START < UNHEARD_SECONDS + 2 * LONGEST_PAUSE_SECONDS


def test_unheard_it_ends_only_when_its_work_is_done(scene: Scene) -> None:
    """Both shards that it holds take longer than it would wait without any."""

    def long(shard: WorkOn) -> Said:
        return [(0, InHand(subjects=2)), (1000, finished(shard.shard))]

    scene.works = [long, long]
    scene.operator.away = lambda now: now > START + 10
    assert scene.run().reason is Reason.INTERRUPTED
    assert [each.shard for each in scene.given] == [0, 1]
    assert 2001 <= scene.clock.now - START <= 2001 + LONGEST_PAUSE_SECONDS


def test_a_silence_that_ended_is_forgotten(scene: Scene) -> None:
    scene.operator.shards = []
    scene.operator.releases = False
    scene.operator.away = lambda now: (now - START) % 500 > 50
    scene.end_at(UNHEARD_SECONDS * 3)
    assert "told to end" in scene.run().message


# A real process.

CHILD = """
import json, os, sys
def say(**message):
    print(json.dumps(message), flush=True)
say(kind="ready")
print("a library's own word", flush=True)
for line in sys.stdin:
    wanted = json.loads(line)
    shard = wanted["shard"]
    say(kind="progressed", progress={"shard": shard, "subjects": 1})
    say(kind="inHand", subjects=1)
    if shard == 1 and not wanted["lastDeath"]:
        os._exit(7)
    with open(sys.argv[1], "a") as file:
        file.write(f"{shard} {wanted['lastDeath']}\\n")
    say(kind="progressed", progress={"shard": shard, "subjects": 1, "succeeded": 1, "finished": True})
open(sys.argv[1], "a").write("hung up\\n")
"""


def test_a_real_process_is_given_shards_and_started_anew(tmp_path: Path) -> None:
    operator = Operator(Clock(), [0, 1, 2])
    script, done = tmp_path / "child.py", tmp_path / "done"
    script.write_text(CHILD)
    started: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        started.append(WorkerProcess([sys.executable, "-S", str(script), str(done)]))
        return started[-1]

    result = Supervisor(an_order(), start, operator.report, lambda: False).run()
    assert result.reason is Reason.NOTHING_LEFT
    assert done.read_text().splitlines()[:3] == ["0 None", "1 exit code 7", "2 None"]
    assert operator.acknowledged == [0, 1, 2]
    assert len(started) == 2
    assert started[0].wait() == 7
    for process in started:  # test_worker_process.py has a test about these
        for pipe in (process._process.stdin, process._process.stdout):
            assert pipe is not None
            pipe.close()
