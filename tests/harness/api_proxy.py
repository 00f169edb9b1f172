"""A proxy between a client and the API server, in a thread of its own; what it does to requests is for heirs to say."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from aiohttp import ClientResponse, ClientSession, ClientTimeout, TCPConnector, web

HOP_BY_HOP = {"host", "connection", "transfer-encoding", "content-length", "content-encoding", "accept-encoding"}


@dataclass
class ApiProxy:
    """Passes everything on, streams too. Within `serving`, `url` is its address."""

    upstream: str
    trust: ssl.SSLContext
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        async with self.asked(request) as answer:
            return await self.relayed(request, answer)

    @contextlib.asynccontextmanager
    async def asked(self, request: web.Request) -> AsyncIterator[ClientResponse]:
        """What the API server answers to this request."""
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        url = f"{self.upstream}{request.path_qs}"
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            yield answer

    async def relayed(self, request: web.Request, answer: ClientResponse) -> web.StreamResponse:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, headers=kept)
        with contextlib.suppress(ConnectionResetError):  # a client that was killed is dead, as it should be
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        return response

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        connector = TCPConnector(ssl=self.trust, limit=0)
        async with ClientSession(connector=connector, timeout=ClientTimeout(total=None)) as self._session:
            app = web.Application(client_max_size=2**24)
            app.router.add_route("*", "/{path:.*}", self.answer)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await stop.wait()
            await runner.cleanup()
            unended = asyncio.all_tasks() - {asyncio.current_task()}
            for task in unended:
                task.cancel()
            await asyncio.gather(*unended, return_exceptions=True)
        await asyncio.sleep(0.25)  # TLS connections close in the background after their session

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
