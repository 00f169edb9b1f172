"""Asks the operator for shards, and tells it how far they are: one HTTP exchange at a time, in the worker's supervisor.

http.client, because it follows no redirect and uses no proxy: the token goes to that one address, or nowhere.
"""

from __future__ import annotations

import http.client
import logging
from pathlib import Path
from urllib.parse import urlsplit

from likeness_api.shard_report import ShardAnswer, ShardReport
from likeness_runtime.order.reporter import CONNECTIONS

TIMEOUT_SECONDS = 5.0
MOST_ANSWER_BYTES = 65_536

log = logging.getLogger(__name__)


class Claims:
    """Reports to the operator at `url`, as the pod whose service account token is in the file `token`."""

    def __init__(self, url: str, token: Path) -> None:
        self._url = url
        self._token = token
        self._last_problem = ""

    def report(self, report: ShardReport) -> ShardAnswer | None:
        """The answer; None where there is none now. What went wrong is logged once, until it is something else."""
        problem = ""
        for _ in range(CONNECTIONS):
            try:
                status, text = self._post(report.encode())
            except (OSError, http.client.HTTPException, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if status == 200:
                try:
                    answer = ShardAnswer.decode(text)
                except ValueError as error:
                    problem = str(error)[:300]
                    break
                self._last_problem = ""
                return answer
            problem = f"{status} {text.decode(errors='replace').strip()[:300]}"
            break
        if problem != self._last_problem:
            log.warning("%s did not take the report: %s; trying again.", self._url, problem)
            self._last_problem = problem
        return None

    def _post(self, report: str) -> tuple[int, bytes]:
        """The HTTP status and body. The token is read each time: the kubelet renews it."""
        headers = {
            "Authorization": f"Bearer {self._token.read_text().strip()}",
            "Content-Type": "application/json",
            "Connection": "close",
        }
        address = urlsplit(self._url)
        connection = http.client.HTTPConnection(address.netloc, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("POST", address.path, report.encode(), headers)
            answer = connection.getresponse()
            return answer.status, answer.read(MOST_ANSWER_BYTES)
        finally:
            connection.close()
