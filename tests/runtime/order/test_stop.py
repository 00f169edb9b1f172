import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from likeness_runtime.failure import InterruptedRunError
from likeness_runtime.order.stop import Stop


@pytest.fixture
def stop() -> Iterator[Stop]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop = Stop()
    stop.listen()
    yield stop
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_interrupts_whatever_runs(stop: Stop, number: int) -> None:
    started = time.monotonic()
    threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
    with pytest.raises(InterruptedRunError):
        stop.sleep(30)
    assert time.monotonic() - started < 5


def test_a_lost_interruption_is_remembered(stop: Stop) -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    except InterruptedRunError:
        pass  # as Python itself does where it is raised in a destructor
    with pytest.raises(InterruptedRunError):
        stop.check()


def test_no_library_swallows_an_interruption() -> None:
    assert not issubclass(InterruptedRunError, Exception)


def test_once_the_result_is_published_signals_change_nothing(stop: Stop) -> None:
    stop.ignore()
    os.kill(os.getpid(), signal.SIGTERM)
    stop.check()
