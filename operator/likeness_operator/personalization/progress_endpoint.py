"""HTTP for tuning pods: POST /progress with a ProgressReport. Only the operator that acts listens.

A pod whose connection is refused by a standby just connects again; that is simpler than telling the Service who leads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from likeness_api.progress_report import ProgressReport
from likeness_operator.engine.key import Key
from likeness_operator.kubernetes.api_error import ApiError
from likeness_operator.kubernetes.token_review import TokenReviews
from likeness_operator.limited_server import ConnectionLimits, serve_limited
from likeness_operator.personalization.facts import KIND
from likeness_operator.personalization.progress import ProgressTracker, ReportOutcome

logger = logging.getLogger(__name__)

LONGEST_REPORT_BYTES = 1024
READ_SECONDS = 5.0
"""For a report's body; who sends it byte by byte is not waited for."""
REPORT_LIMITS = ConnectionLimits(in_all=256, from_each_address=32, seconds=10.0)
"""A report takes milliseconds, so a thousand pods that report every two seconds have a handful at once."""
LAST_SECONDS = 1.0
"""For reports under way when the operator stops: the next one waits for its Lease."""
PATH = "/progress"


@asynccontextmanager
async def serve_progress(port: int, tracker: ProgressTracker, reviews: TokenReviews) -> AsyncIterator[None]:
    """Serves on every address while the block runs. Port 0 serves nothing."""
    async with serve_limited(port, progress_application(tracker, reviews), REPORT_LIMITS, LAST_SECONDS):
        yield


def progress_application(tracker: ProgressTracker, reviews: TokenReviews) -> web.Application:
    async def progress(request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise web.HTTPUnauthorized(text="expected the header Authorization: Bearer TOKEN\n")
        try:
            sender = await reviews.sender(token, request.remote or "")
        except ApiError as error:
            logger.info("a report of progress was lost: %s", error)
            raise web.HTTPServiceUnavailable(text="the token cannot be reviewed now\n") from None
        if sender is None:
            raise web.HTTPUnauthorized(text="the token is no pod's token for this audience\n")
        report = await _read(request)
        key = Key(KIND, sender.namespace, report.personalization)
        outcome = tracker.report(key, sender.pod_uid, report.step, report.total_steps)
        if outcome is ReportOutcome.UNKNOWN_POD:
            text = f"personalization {sender.namespace}/{report.personalization} has no such pod\n"
            raise web.HTTPForbidden(text=text)
        if outcome is ReportOutcome.TOO_SOON:
            raise web.HTTPTooManyRequests(text="the last report was a moment ago\n")
        return web.Response(status=204)

    served = web.Application(client_max_size=LONGEST_REPORT_BYTES)
    served.add_routes([web.post(PATH, progress)])
    return served


async def _read(request: web.Request) -> ProgressReport:
    try:
        async with asyncio.timeout(READ_SECONDS):
            text = await request.read()
        return ProgressReport.decode(text)
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"no whole report within {READ_SECONDS:.0f} s\n") from None
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"{error}\n") from None
