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
SHARE_OF_THE_RARE = 0.4
"""There are few watches and few lists before them, so more of them meet a fault; and no watch lasts."""
Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]
Faults = dict[str, Fault]


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
ON_WATCHES: Faults = {
    "410 on watch": refusal(410, "Expired"),
    "410 in watch": gone_in_watch,
    "429 on watch": refusal(429, "TooManyRequests", **RETRY_AFTER),
    "500 on watch": refusal(500, "InternalError"),
}
ON_LISTS: Faults = {
    "410 on list": refusal(410, "Expired"),
    "429 on list": refusal(429, "TooManyRequests", **RETRY_AFTER),
    "500 on list": refusal(500, "InternalError"),
}


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
    _rare: list[str] = field(default_factory=list)
    """Faults of watches and lists in the order in which they come: each of them once, before any comes again."""

    @property
    def never_met(self) -> list[str]:
        return sorted((ON_WATCHES | ON_LISTS).keys() - self.faults.keys())

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
        rare = _rare_faults(request)
        if self.choice.random() >= (SHARE_OF_THE_RARE if rare and self.share else self.share):
            return "", None
        if rare:
            name = self._next(rare)
            return name, rare[name]
        usual: list[tuple[str, Fault]] = [
            ("429", refusal(429, "TooManyRequests", **RETRY_AFTER)),
            ("500", refusal(500, "InternalError")),
            ("no answer", self.no_answer),
            ("done, no answer", self.done_without_answer),
            ("done, 500", self.done_and_500),
        ]
        if request.method != "GET":
            usual.append(("409", refusal(409, "Conflict")))
        return self.choice.choice(usual)

    def _next(self, rare: Faults) -> str:
        if not rare.keys() & set(self._rare):
            self._rare += self.choice.sample(sorted(rare), len(rare))
        name = next(name for name in self._rare if name in rare)
        self._rare.remove(name)
        return name

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


def _rare_faults(request: web.Request) -> Faults:
    """Those of a watch, or of a list that kopf makes before it; a list of one is a probe of ours."""
    if "watch" in request.query:
        return ON_WATCHES
    return ON_LISTS if request.query.get("limit", "1") != "1" else {}
