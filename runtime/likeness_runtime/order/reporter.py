"""Reports to the operator how far the tune is, from a thread of its own: what happens there never stops the tune.

http.client, because it follows no redirect and uses no proxy: the token goes to that one address, or nowhere.
"""

from __future__ import annotations

import http.client
import logging
import os
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from likeness_api.progress_report import (
    PROGRESS_TOKEN_FOLDER,
    PROGRESS_URL_VARIABLE,
    REPORT_SECONDS,
    ProgressReport,
)

REPORT_TIMEOUT_SECONDS = 2.0
CONNECTIONS = 3
"""Tried at once: of several operators only the one that acts listens, and the Service may lead to another one."""
LONGEST_REPORT_PAUSE_SECONDS = 60.0
MOST_LOST_REPORTS = 10
"""In a row, with pauses that double: about six minutes, longer than an operator takes to come back."""

log = logging.getLogger(__name__)


class Reporter:
    """Reports the progress of one Personalization. `report` never waits and never raises."""

    def __init__(self, name: str, url: str, token: Path, pause_seconds: float = REPORT_SECONDS) -> None:
        self._name = name
        self._url = url
        self._token = token
        self._pause_seconds = pause_seconds
        self._latest = (0, 1)
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def report(self, step: int, total_steps: int) -> None:
        """Has the reporting thread send the step, of several within one pause the latest; nothing without steps."""
        if total_steps == 0:
            return
        self._latest = (step, total_steps)
        self._news.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_all, name="progress", daemon=True)
            self._thread.start()

    def _send_all(self) -> None:
        """Until the process ends, or nobody has listened for long."""
        failures = 0
        while failures < MOST_LOST_REPORTS:
            self._news.wait()
            self._news.clear()
            step, total_steps = self._latest
            latest = ProgressReport(personalization=self._name, step=step, total_steps=total_steps)
            failures = 0 if self._sent(latest.model_dump_json(by_alias=True)) else failures + 1
            time.sleep(min(LONGEST_REPORT_PAUSE_SECONDS, self._pause_seconds * 2.0 ** max(0, failures - 1)))
        log.info("Progress is reported no more: %s did not take %d reports in a row.", self._url, failures)

    def _sent(self, report: str) -> bool:
        for _ in range(CONNECTIONS):
            try:
                return self._post(report) < 300
            except (OSError, http.client.HTTPException, ValueError):
                continue
        return False

    def _post(self, report: str) -> int:
        """The HTTP status. The token is read each time: the kubelet renews it."""
        headers = {
            "Authorization": f"Bearer {self._token.read_text().strip()}",
            "Content-Type": "application/json",
            "Connection": "close",
        }
        address = urlsplit(self._url)
        connection = http.client.HTTPConnection(address.netloc, timeout=REPORT_TIMEOUT_SECONDS)
        try:
            connection.request("POST", address.path, report, headers)
            return connection.getresponse().status
        finally:
            connection.close()


def reporter_from_environment(name: str) -> Reporter | None:
    """The reporter to the address in the environment; None where there is none."""
    url = os.environ.get(PROGRESS_URL_VARIABLE)
    return Reporter(name, url, Path(PROGRESS_TOKEN_FOLDER) / "token") if url else None
