"""Reports to a real socket: what is said there arrives whole, and nothing that comes back ends the worker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from likeness_api.personalization_batch import FailureSample
from likeness_api.shard_report import ShardAnswer, ShardProgress, ShardReport
from likeness_runtime.batch.claims import MOST_ANSWER_BYTES, Claims
from likeness_runtime.order.reporter import CONNECTIONS

REPORT = ShardReport(batch="autumn", revision=3, pass_index=1, holds=[ShardProgress(shard=5)], wants=True)
ANSWER = ShardAnswer(pass_index=1, shard=7, release=True, pause_seconds=0.5)

Reply = tuple[int, bytes] | None
"""Status and body; None hangs up."""


@dataclass
class Operator:
    """Answers with `replies` in turn, the last one again and again."""

    replies: list[Reply]
    heard: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Path, Authorization and body of each request."""
    url: str = ""


@contextmanager
def listening(*replies: Reply) -> Iterator[Operator]:
    operator = Operator(list(replies))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operator.heard.append((self.path, self.headers["Authorization"], body))
            reply = operator.replies.pop(0) if len(operator.replies) > 1 else operator.replies[0]
            if reply is None:
                return
            status, text = reply
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    operator.url = f"http://127.0.0.1:{server.server_address[1]}/shards"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield operator
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("first\n")
    return file


def good() -> Reply:
    return 200, ANSWER.encode().encode()


def test_a_report_arrives_as_it_is_and_its_answer_comes_back(token: Path) -> None:
    with listening(good()) as operator:
        assert Claims(operator.url, token).report(REPORT) == ANSWER
    ((path, authorization, body),) = operator.heard
    assert (path, authorization) == ("/shards", "Bearer first")
    assert ShardReport.decode(body) == REPORT


def test_the_token_is_that_of_the_moment(token: Path) -> None:
    with listening(good()) as operator:
        claims = Claims(operator.url, token)
        claims.report(REPORT)
        token.write_text("second\n")
        claims.report(REPORT)
    assert [authorization for _, authorization, _ in operator.heard] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("text", ["théière", "茶壺", "cut…"])
def test_any_script_arrives_as_it_is(token: Path, text: str) -> None:
    """Else a shard with such a failure is never acknowledged, and its worker never ends."""
    sample = FailureSample(reason="ImageUnreadable", count=1, id=text, message=f"{text} is no picture")
    done = ShardProgress(shard=5, subjects=1, failed=1, finished=True, failures=[sample])
    report = REPORT.model_copy(update={"holds": [done]})
    with listening(good()) as operator:
        assert Claims(operator.url, token).report(report) == ANSWER
    assert ShardReport.decode(operator.heard[0][2]) == report


@pytest.mark.parametrize("status", [204, 307, 400, 401, 403, 404, 429, 500, 503])
def test_any_other_status_is_no_answer_and_not_asked_again_at_once(token: Path, status: int) -> None:
    with listening((status, b""), good()) as operator:
        assert Claims(operator.url, token).report(REPORT) is None
    assert len(operator.heard) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>Welcome</html>",
        b'{"shard": -1}',
        b'{"shard": 1, "fieldOfALaterRelease": true}',
        b"\xff\xfe",
        b" " * MOST_ANSWER_BYTES + ANSWER.encode().encode(),
    ],
    ids=["empty", "a page", "out of bounds", "a later release", "no text", "too long"],
)
def test_an_answer_that_cannot_be_read_is_none(token: Path, text: bytes) -> None:
    with listening((200, text)) as operator:
        assert Claims(operator.url, token).report(REPORT) is None


def test_a_problem_is_logged_once_until_it_is_another_one(token: Path, caplog: pytest.LogCaptureFixture) -> None:
    replies = [(503, b"not me"), (503, b"not me"), (401, b"who"), good(), (401, b"who")]
    with caplog.at_level("WARNING"), listening(*replies) as operator:
        claims = Claims(operator.url, token)
        answers = [claims.report(REPORT) for _ in replies]
    assert [answer is not None for answer in answers] == [False, False, False, True, False]
    problems = [record.getMessage().partition("take the report: ")[2] for record in caplog.records]
    assert problems == ["503 not me; trying again.", "401 who; trying again.", "401 who; trying again."]


def test_of_several_operators_the_one_that_listens_is_found(token: Path) -> None:
    with listening(*[None] * (CONNECTIONS - 1), good()) as operator:
        assert Claims(operator.url, token).report(REPORT) == ANSWER
    assert len(operator.heard) == CONNECTIONS


def test_where_all_hang_up_there_is_no_answer(token: Path) -> None:
    with listening(None) as operator:
        assert Claims(operator.url, token).report(REPORT) is None
    assert len(operator.heard) == CONNECTIONS


def closed(_token: Path) -> str:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{nobody.getsockname()[1]}/shards"


def no_token(token: Path) -> str:
    token.unlink()
    return "http://127.0.0.1:9/shards"


@pytest.mark.parametrize("url", [closed, no_token, lambda _: "http://[:x/", lambda _: "http://127.0.0.1:x/"])
def test_what_cannot_be_reached_is_no_answer(token: Path, url: Callable[[Path], str]) -> None:
    assert Claims(url(token), token).report(REPORT) is None
