"""HTTP for tuning pods: POST /progress with a ProgressReport."""

from __future__ import annotations

from aiohttp import web

from likeness_api.progress_report import ProgressReport
from likeness_operator.engine.key import Key
from likeness_operator.kubernetes.token_review import Sender
from likeness_operator.personalization.facts import KIND
from likeness_operator.personalization.progress import ProgressTracker, ReportOutcome
from likeness_operator.reports_server import Reports

LONGEST_REPORT_BYTES = 1024
PATH = "/progress"


def progress_reports(tracker: ProgressTracker) -> Reports:
    """What the server of reports does with those of tuning pods."""

    def take(sender: Sender, text: bytes) -> web.Response:
        report = ProgressReport.decode(text)
        key = Key(KIND, sender.namespace, report.personalization)
        outcome = tracker.report(key, sender.pod_uid, report.step, report.total_steps)
        if outcome is ReportOutcome.UNKNOWN_POD:
            about = f"personalization {sender.namespace}/{report.personalization} has no such pod\n"
            raise web.HTTPForbidden(text=about)
        if outcome is ReportOutcome.TOO_SOON:
            raise web.HTTPTooManyRequests(text="the last report was a moment ago\n")
        return web.Response(status=204)

    return Reports(PATH, LONGEST_REPORT_BYTES, take)
