"""HTTP for the kubelet and for Prometheus: /livez, /readyz, /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from likeness_operator.metrics import REGISTRY


@asynccontextmanager
async def serve(port: int, ready: asyncio.Event) -> AsyncIterator[None]:
    """Serves on every address while the block runs. Port 0 serves nothing."""
    runner = web.AppRunner(application(ready), access_log=None)
    await runner.setup()
    if port:
        await web.TCPSite(runner, port=port).start()
    try:
        yield
    finally:
        await runner.cleanup()


def application(ready: asyncio.Event) -> web.Application:
    async def livez(_: web.Request) -> web.Response:
        """Answers as long as the event loop turns."""
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if ready.is_set():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="not yet watching\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    served = web.Application()
    served.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return served
