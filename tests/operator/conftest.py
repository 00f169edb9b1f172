"""An API server in memory and the operator's client of it; the event loop that a test runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import kopf
import pytest

from api_stub import ApiStub
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.token_bucket import TokenBucket
from virtual_time import JumpingLoop


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """One alone: pytest-asyncio runs a test on each that it is given."""
    if item.get_closest_marker("virtual_time"):
        return {"virtual": JumpingLoop}
    return {"real": asyncio.new_event_loop}


@pytest.fixture
async def server() -> AsyncIterator[ApiStub]:
    stub = ApiStub()
    async with stub.serving():
        yield stub


@pytest.fixture
async def api(server: ApiStub) -> AsyncIterator[ApiServer]:
    client = ApiServer(lambda: kopf.ConnectionInfo(server=server.url), TokenBucket(1000, 1000, lambda: 0.0))
    yield client
    await client.close()
