"""Reports against real sockets: one that answers, one that refuses, one that never answers."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from likeness_api.progress_report import PROGRESS_URL_VARIABLE, ProgressReport
from likeness_runtime.order import reporter as module
from likeness_runtime.order.reporter import MOST_LOST_REPORTS, Reporter, reporter_from_environment


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("first\n")
    return file


class Listener:
    """An operator that notes what it is told and answers with `status`."""

    def __init__(self, status: int) -> None:
        heard: queue.Queue[tuple[str, ProgressReport]] = queue.Queue()
        self.heard = heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard.put((self.headers["Authorization"], ProgressReport.decode(body)))
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/progress"

    def next(self) -> tuple[str, int]:
        authorization, report = self.heard.get(timeout=10)
        return authorization, report.step


@contextmanager
def listening(status: int = 204) -> Iterator[Listener]:
    listener = Listener(status)
    thread = threading.Thread(target=listener.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield listener
    listener.server.shutdown()
    listener.server.server_close()
    thread.join()


def test_the_latest_step_is_sent_with_the_token_of_the_moment(token: Path) -> None:
    with listening() as operator:
        reporter = Reporter("red-teapot", operator.url, token, pause_seconds=0.2)
        reporter.report(0, 100)
        assert operator.next() == ("Bearer first", 0)
        token.write_text("second\n")
        for step in range(1, 101):
            reporter.report(step, 100)
        assert operator.next() == ("Bearer second", 100)
        assert operator.heard.empty()


def test_a_redirect_is_not_followed(token: Path) -> None:
    with listening(status=307) as operator:
        reporter = Reporter("red-teapot", operator.url, token, pause_seconds=0.01)
        reporter.report(1, 2)
        operator.next()
        reporter.report(2, 2)
        assert operator.next() == ("Bearer first", 2)


def test_nobody_listens_and_nobody_waits(token: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/progress"
    reporter = Reporter("red-teapot", url, token, pause_seconds=0.0)
    with caplog.at_level("INFO"):
        reporter.report(0, 2)
        assert reporter._thread is not None
        while reporter._thread.is_alive():
            reporter.report(1, 2)
            reporter._thread.join(0.01)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert f"did not take {MOST_LOST_REPORTS} reports" in caplog.text


def test_an_endpoint_that_never_answers_holds_up_only_the_thread(token: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        reporter = Reporter("red-teapot", f"http://127.0.0.1:{silent.getsockname()[1]}/progress", token)
        reporter.report(0, 2)
        connection, _ = silent.accept()
        with connection:
            assert json.loads(connection.recv(4096).partition(b"\r\n\r\n")[2] or connection.recv(4096))["step"] == 0
            for step in (1, 2):
                reporter.report(step, 2)  # while the answer is still owed
            assert reporter._latest == (2, 2)


def test_an_address_that_is_none_is_no_trouble_to_the_tune(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LOST_REPORTS", 1)
    reporter = Reporter("red-teapot", "http://[:x/", token, pause_seconds=0.0)
    reporter.report(0, 2)
    assert reporter._thread is not None
    reporter._thread.join(10)
    assert not reporter._thread.is_alive()


def test_a_tune_without_steps_has_nothing_to_say(token: Path) -> None:
    reporter = Reporter("red-teapot", "http://operator/progress", token)
    reporter.report(0, 0)
    assert reporter._thread is None


def test_a_token_that_is_not_there_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LOST_REPORTS", 1)
    with listening() as operator:
        reporter = Reporter("red-teapot", operator.url, tmp_path / "none", pause_seconds=0.0)
        reporter.report(0, 2)
        assert reporter._thread is not None
        reporter._thread.join(10)
        assert operator.heard.empty()


def test_a_pod_that_was_told_nowhere_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROGRESS_URL_VARIABLE, raising=False)
    assert reporter_from_environment("red-teapot") is None
    monkeypatch.setenv(PROGRESS_URL_VARIABLE, "http://operator/progress")
    assert reporter_from_environment("red-teapot") is not None
