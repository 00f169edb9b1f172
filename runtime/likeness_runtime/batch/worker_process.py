"""The process of a worker that tunes, as its supervisor sees it: started, spoken to, listened to, ended."""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import IO

from pydantic import ValidationError

from likeness_runtime.batch.worker_messages import MESSAGE, WorkerMessage, WorkOn, line_of


class WorkerProcess:
    """One process. What it says is put into `heard`; None stands for its end."""

    def __init__(self, command: Sequence[str]) -> None:
        self.heard: queue.Queue[WorkerMessage | None] = queue.Queue()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        threading.Thread(target=self._listen, args=(self._process.stdout,), name="listen", daemon=True).start()

    def work_on(self, shard: WorkOn) -> None:
        """A process that has ended meanwhile is heard of in time."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line_of(shard))
            self._process.stdin.flush()

    def end(self) -> None:
        """It finishes what it has in hand and says so."""
        self._process.send_signal(signal.SIGTERM)
        self._hang_up()

    def kill(self) -> None:
        self._process.kill()

    def finish(self) -> None:
        """It is given nothing more, and ends."""
        self._hang_up()

    def wait(self) -> int:
        """Its exit code, once it has ended; a signal's number below zero."""
        return self._process.wait()

    def _hang_up(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def _listen(self, said: IO[bytes]) -> None:
        with said:
            for line in said:
                try:
                    self.heard.put(MESSAGE.validate_json(line))
                except ValidationError:  # a library's own word on standard output
                    continue
        self.heard.put(None)


def how_it_ended(code: int) -> str:
    """For a message to a person."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
