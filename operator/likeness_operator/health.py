"""HTTP for the kubelet and for Prometheus: /livez, /readyz, /metrics. Pods that tune: see progress_endpoint.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from likeness_operator.engine.vitals import Vitals
from likeness_operator.limited_server import ConnectionLimits, serve_limited
from likeness_operator.metrics import REGISTRY

PROBE_LIMITS = ConnectionLimits(in_all=128, from_each_address=16, seconds=10.0)


@asynccontextmanager
async def serve_probes(port: int, vitals: Vitals) -> AsyncIterator[None]:
    """Serves on every address while the block runs. Port 0 serves nothing."""
    async with serve_limited(port, probe_application(vitals), PROBE_LIMITS):
        yield


def probe_application(vitals: Vitals) -> web.Application:
    async def livez(_: web.Request) -> web.Response:
        return _answer(vitals.why_not_alive())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(vitals.why_not_ready())

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    served = web.Application()
    served.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return served


def _answer(trouble: str | None) -> web.Response:
    return web.Response(text="ok\n") if trouble is None else web.Response(status=503, text=f"{trouble}\n")
