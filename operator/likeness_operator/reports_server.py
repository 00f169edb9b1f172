"""HTTP for pods that report. Only the operator that acts listens.

A pod whose connection is refused by a standby just connects again; that is simpler than telling the Service who leads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from likeness_operator.kubernetes.api_error import ApiError
from likeness_operator.kubernetes.token_review import Sender, TokenReviews
from likeness_operator.limited_server import ConnectionLimits, serve_limited

logger = logging.getLogger(__name__)

READ_SECONDS = 5.0
"""For a report's body; who sends it byte by byte is not waited for."""
REPORT_LIMITS = ConnectionLimits(in_all=256, from_each_address=32, seconds=10.0)
"""A report takes milliseconds, so a thousand pods that report every two seconds have a handful at once."""
LAST_SECONDS = 1.0
"""For reports under way when the operator stops: the next one waits for its Lease."""


@dataclass(frozen=True)
class Reports:
    """One kind of reports."""

    path: str
    longest_bytes: int
    take: Callable[[Sender, bytes], web.Response]
    """Answers one. Raises ValueError with a sentence about a report that is none, and aiohttp's HTTP errors."""


@asynccontextmanager
async def serve_reports(port: int, reviews: TokenReviews, kinds: Sequence[Reports]) -> AsyncIterator[None]:
    """Serves on every address while the block runs. Port 0 serves nothing."""
    async with serve_limited(port, reports_application(reviews, kinds), REPORT_LIMITS, LAST_SECONDS):
        yield


def reports_application(reviews: TokenReviews, kinds: Sequence[Reports]) -> web.Application:
    """Reviews the sender's token before its body is read."""

    def route(kind: Reports) -> web.RouteDef:
        async def answer(request: web.Request) -> web.Response:
            sender = await _sender(request, reviews)
            text = await _body(request, kind.longest_bytes)
            try:
                return kind.take(sender, text)
            except ValueError as error:
                raise web.HTTPBadRequest(text=f"{error}\n") from None

        return web.post(kind.path, answer)

    served = web.Application(client_max_size=max(kind.longest_bytes for kind in kinds))
    served.add_routes([route(kind) for kind in kinds])
    return served


async def _sender(request: web.Request, reviews: TokenReviews) -> Sender:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not token:
        raise web.HTTPUnauthorized(text="expected the header Authorization: Bearer TOKEN\n")
    try:
        sender = await reviews.sender(token, request.remote or "")
    except ApiError as error:
        logger.info("a report was lost: %s", error)
        raise web.HTTPServiceUnavailable(text="the token cannot be reviewed now\n") from None
    if sender is None:
        raise web.HTTPUnauthorized(text="the token is no pod's token for this audience\n")
    return sender


async def _body(request: web.Request, longest_bytes: int) -> bytes:
    try:
        async with asyncio.timeout(READ_SECONDS):
            text = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"no whole report within {READ_SECONDS:.0f} s\n") from None
    if len(text) > longest_bytes:
        raise web.HTTPRequestEntityTooLarge(max_size=longest_bytes, actual_size=len(text))
    return text
