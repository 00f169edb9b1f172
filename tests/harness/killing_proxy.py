"""A reverse proxy before the API server that kills its client at a chosen call.

The call is passed on and executed; the client dies before it hears the answer. What a process that is killed leaves
behind is what the server has, so this covers every moment between that call and the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

HOP_BY_HOP = {"host", "connection", "transfer-encoding", "content-length", "content-encoding", "accept-encoding"}


@dataclass
class KillingProxy:
    """`kill_at` counts from 1, over the calls since the first one whose path has `subject` in it, watches left out.

    `writes_only` counts no reads: how many there are depends on the moment, so a count may step over a write.
    """

    upstream: str
    trust: ssl.SSLContext
    subject: str
    kill_at: int | None = None
    writes_only: bool = False
    victim: subprocess.Popen[bytes] | None = None
    url: str = ""
    calls: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    """Paths of the objects that were made, by any client so far."""
    killed_at: str = ""
    armed: bool = False

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        async with self._session.request(
            request.method, f"{self.upstream}{request.path_qs}", headers=headers, data=body or None
        ) as answer:
            self._note(request, answer.status)
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            with contextlib.suppress(ConnectionResetError):  # the client is dead, as it should be
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response

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

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        connector = TCPConnector(ssl=self.trust, limit=0)
        async with ClientSession(connector=connector, timeout=ClientTimeout(total=None)) as self._session:
            app = web.Application(client_max_size=2**24)
            app.router.add_route("*", "/{path:.*}", self._pass_on)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await stop.wait()
            await runner.cleanup()

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serves from a thread of its own as long as the block lasts."""
        ready, stop = threading.Event(), asyncio.Event()
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_until_complete, args=(self._serve(ready, stop),))
        thread.start()
        assert ready.wait(10)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()
