"""A reverse proxy before the API server that kills its client at a chosen call.

The call is passed on and executed; the client dies before it hears the answer. What a process that is killed leaves
behind is what the server has, so this covers every moment between that call and the next one.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field

from aiohttp import web

from api_proxy import ApiProxy


@dataclass
class KillingProxy(ApiProxy):
    """`kill_at` counts from 1, over the calls since the first one whose path has `subject` in it, watches left out.

    `writes_only` counts no reads: how many there are depends on the moment, so a count may step over a write.
    """

    subject: str = "/"
    kill_at: int | None = None
    writes_only: bool = False
    victim: subprocess.Popen[bytes] | None = None
    calls: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    """Paths of the objects that were made, by any client so far."""
    killed_at: str = ""
    armed: bool = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        async with self.asked(request) as answer:
            self._note(request, answer.status)
            return await self.relayed(request, answer)

    def _note(self, request: web.Request, status: int) -> None:
        if request.method == "POST" and status == 201:
            self.created.append(request.path)
        self.armed = self.armed or self.subject in request.path
        if not self.armed or "watch" in request.query or (self.writes_only and request.method == "GET"):
            return
        self.calls.append(f"{request.method} {request.path} {status}")
        if len(self.calls) == self.kill_at and self.victim:
            self.victim.kill()
            self.victim.wait()
            self.killed_at = self.calls[-1]
