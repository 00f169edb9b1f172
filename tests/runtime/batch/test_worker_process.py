"""A process as its supervisor sees it: what it says is heard, what it must not say is passed over, its end is told."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from likeness_api.reason import Reason
from likeness_api.shard_report import ShardProgress
from likeness_runtime.batch.worker_messages import (
    MESSAGE,
    Failed,
    InHand,
    Progressed,
    Ready,
    WorkerMessage,
    WorkOn,
    line_of,
)
from likeness_runtime.batch.worker_process import WorkerProcess, how_it_ended

WAIT_SECONDS = 30
"""For a process to say something: only a test that fails takes so long."""
MESSAGES: list[WorkerMessage] = [
    Ready(),
    InHand(subjects=3),
    Progressed(progress=ShardProgress(shard=7, subjects=4, succeeded=1, failed=1, seconds=1.5)),
    Failed(reason=Reason.MODEL_NOT_FOUND, message='line one\nline "two" é 茶 \u2028'),
]


@contextmanager
def running(script: str, *arguments: str) -> Iterator[WorkerProcess]:
    process = WorkerProcess([sys.executable, "-S", "-c", script, *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.finish()
        process.wait()
        listened()
        assert process._process.stdout is not None
        process._process.stdout.close()


def listened() -> None:
    """Until the threads that listen to processes which have ended are through."""
    for thread in [each for each in threading.enumerate() if each.name == "listen"]:
        thread.join(WAIT_SECONDS)


def all_of(process: WorkerProcess) -> list[WorkerMessage]:
    """What it says until its end."""
    said = []
    while (message := process.heard.get(timeout=WAIT_SECONDS)) is not None:
        said.append(message)
    return said


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind)
def test_a_message_is_one_line_and_read_as_it_was(message: WorkerMessage) -> None:
    line = line_of(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert MESSAGE.validate_json(line) == message


def test_a_shard_to_work_on_is_one_line_and_read_as_it_was() -> None:
    shard = WorkOn(which_pass=1, shard=2, last_death="SIGSEGV", timed_out=True)
    assert line_of(shard).count(b"\n") == 1
    assert WorkOn.model_validate_json(line_of(shard)) == shard


def test_all_that_it_says_is_heard_in_order_and_then_its_end() -> None:
    script = "import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))"
    with running(script, b"".join(map(line_of, MESSAGES)).hex()) as process:
        assert all_of(process) == MESSAGES
        assert process.wait() == 0


def test_a_librarys_own_word_is_passed_over() -> None:
    said = b'Downloading 3%\r\n\n{"kind": "ready"\n{"kind": "other"}\n\xff\xfe\n' + line_of(Ready()) + b"no end"
    script = "import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))"
    with running(script, said.hex()) as process:
        assert all_of(process) == [Ready()]


def test_it_is_given_shards_line_by_line_and_ends_when_it_is_given_nothing_more() -> None:
    script = """
import json, sys
for line in sys.stdin:
    shard = json.loads(line)["shard"]
    print(json.dumps({"kind": "inHand", "subjects": shard}), flush=True)
"""
    with running(script) as process:
        for shard in (5, 6):
            process.work_on(WorkOn(which_pass=0, shard=shard))
            assert process.heard.get(timeout=WAIT_SECONDS) == InHand(subjects=shard)
        process.finish()
        assert process.heard.get(timeout=WAIT_SECONDS) is None
        assert process.wait() == 0


def test_told_to_end_it_gets_sigterm_and_no_more_shards() -> None:
    script = """
import signal, sys
def end(*_):
    print('{"kind": "inHand", "subjects": 1}', flush=True)
signal.signal(signal.SIGTERM, end)
print('{"kind": "ready"}', flush=True)
for line in sys.stdin:
    pass
print('{"kind": "inHand", "subjects": 2}', flush=True)
"""
    with running(script) as process:
        assert process.heard.get(timeout=WAIT_SECONDS) == Ready()
        process.end()
        assert all_of(process) == [InHand(subjects=1), InHand(subjects=2)]
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("import os; os._exit(0)", "exit code 0"),
        ("raise SystemExit(20)", "exit code 20"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 1)", "signal 35"),
    ],
)
def test_how_it_ended_is_told(script: str, how: str) -> None:
    with running(script) as process:
        assert all_of(process) == []
        assert how_it_ended(process.wait()) == how


def test_one_that_is_killed_is_heard_of() -> None:
    with running("import sys; sys.stdin.read()") as process:
        process.kill()
        assert all_of(process) == []
        assert how_it_ended(process.wait()) == signal.Signals.SIGKILL.name


def test_one_that_has_ended_meanwhile_may_still_be_spoken_to() -> None:
    with running("") as process:
        assert all_of(process) == []
        process.wait()
        process.work_on(WorkOn(which_pass=0, shard=0))
        process.work_on(WorkOn(which_pass=0, shard=1))
        process.end()
        process.kill()


def test_of_one_that_has_ended_nothing_stays_open() -> None:
    before = open_files()
    with running("") as process:
        assert all_of(process) == []
        process.finish()
        listened()
        assert open_files() == before


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no paths, only how many
