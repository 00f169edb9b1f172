"""A proxy before the API server that answers some requests as a server, a network or a balancer in trouble would."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import ClientError, web

from api_proxy import ApiProxy

RETRY_AFTER_SECONDS = 1
LONGEST_WATCH_SECONDS = 20.0
WATCH_SHARE = 0.4
"""There are few watches, so more of them start with a fault; and none of them lasts."""
Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, reason: str) -> str:
    return json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
                       "message": f"{reason}: a fault of the trial"})  # fmt: skip


def refusal(code: int, reason: str, **headers: str) -> Fault:
    """An answer instead of which nothing is done."""

    async def fault(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=status(code, reason), content_type="application/json", headers=headers)

    return fault


async def gone_in_watch(_: web.Request) -> web.StreamResponse:
    return web.Response(text=f'{{"type":"ERROR","object":{status(410, "Expired")}}}\n')


RETRY_AFTER = {"Retry-After": str(RETRY_AFTER_SECONDS)}


@dataclass
class FaultyProxy(ApiProxy):
    """A `share` of all requests, drawn from `choice`, meets a fault; during an outage each one does.

    As long as the share is not 0, every watch breaks after a while, wherever it is: in the middle of a line too.
    """

    choice: random.Random = field(default_factory=random.Random)
    share: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    """How often each one was met."""
    answered_at: float = 0.0
    """When a write last went well, by `time.monotonic`."""
    outage: bool = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        name, fault = self._drawn(request)
        if fault is not None:
            self.faults[name] += 1
            return await fault(request)
        try:
            if "watch" in request.query:
                return await self._watch(request)
            async with self.asked(request) as answer:
                if request.method != "GET" and answer.status < 300:
                    self.answered_at = time.monotonic()
                return await self.relayed(request, answer)
        except ClientError:
            return await self.no_answer(request)

    def _drawn(self, request: web.Request) -> tuple[str, Fault | None]:
        if self.outage:
            return "outage", self.no_answer
        watch = "watch" in request.query
        if self.choice.random() >= (WATCH_SHARE if watch and self.share else self.share):
            return "", None
        if watch:
            return self.choice.choice(
                [("410 on watch", refusal(410, "Expired")), ("410 in watch", gone_in_watch),
                 ("429 on watch", refusal(429, "TooManyRequests", **RETRY_AFTER)),
                 ("500 on watch", refusal(500, "InternalError"))]
            )  # fmt: skip
        usual: list[tuple[str, Fault]] = [
            ("429", refusal(429, "TooManyRequests", **RETRY_AFTER)),
            ("500", refusal(500, "InternalError")),
            ("no answer", self.no_answer),
            ("done, no answer", self.done_without_answer),
            ("done, 500", self.done_and_500),
        ]
        if request.method != "GET":
            usual.append(("409", refusal(409, "Conflict")))
        elif "limit" in request.query:
            usual.append(("410 on list", refusal(410, "Expired")))
        return self.choice.choice(usual)

    async def no_answer(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def done_without_answer(self, request: web.Request) -> web.StreamResponse:
        async with self.asked(request):
            return await self.no_answer(request)

    async def done_and_500(self, request: web.Request) -> web.StreamResponse:
        async with self.asked(request):
            return await refusal(500, "InternalError")(request)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        lasts = self.choice.uniform(0, LONGEST_WATCH_SECONDS) if self.share else float("inf")
        end = time.monotonic() + lasts

        async def relay() -> web.StreamResponse:
            async with self.asked(request) as answer:
                return await self.relayed(request, answer)

        task = asyncio.create_task(relay())
        try:
            while not task.done() and not self.outage and time.monotonic() < end:
                await asyncio.wait({task}, timeout=0.2)
            if task.done():
                return task.result()
        finally:
            task.cancel()
        self.faults["dropped watch"] += 1
        return await self.no_answer(request)
