from __future__ import annotations

import aiohttp
from aiohttp import web

from likeness_operator.engine.vitals import Vitals
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.health import probe_application


async def answers(ready: bool, *paths: str) -> list[tuple[int, str]]:
    queue = WorkQueue(clock=lambda: 0.0)
    vitals = Vitals(queue, WatchCache(queue, lambda: 0.0, {}), lambda: 0.0, lambda: ready)
    runner = web.AppRunner(probe_application(vitals))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        for path in paths:
            async with client.get(path) as answer:
                found.append((answer.status, await answer.text()))
    await runner.cleanup()
    return found


async def test_it_lives_before_it_is_ready() -> None:
    live, not_ready = await answers(False, "/livez", "/readyz")
    assert live == (200, "ok\n")
    assert not_ready == (503, "not yet watching, and no other operator's Lease was seen\n")


async def test_it_is_ready_when_it_watches() -> None:
    assert await answers(True, "/readyz") == [(200, "ok\n")]


async def test_prometheus_finds_the_metrics() -> None:
    ((status, text),) = await answers(True, "/metrics")
    assert status == 200
    assert "# TYPE likeness_reconcile_seconds histogram" in text
