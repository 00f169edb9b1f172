"""What half-open connections, slow ones and very many of them cost: a place for some seconds, and nobody else's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web

from likeness_operator.limited_server import LONGEST_HEADER_BYTES, ConnectionLimits, serve_limited

LIMITS = ConnectionLimits(in_all=6, from_each_address=4, seconds=0.5)
HALF = b"POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bear"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    application = web.Application(client_max_size=1024)
    application.add_routes([web.route("*", "/x", answer)])
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    async with serve_limited(number, application, LIMITS) as served:
        yield served


opened: list[asyncio.StreamWriter] = []


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    yield
    while opened:
        writer = opened.pop()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def connect(
    port: int, data: bytes, source: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    opened.append(writer)
    writer.write(data)
    return reader, writer


async def ended(reader: asyncio.StreamReader, seconds: float = 5.0) -> bool:
    """Whether the server ends the connection in this time."""
    try:
        async with asyncio.timeout(seconds):
            return await reader.read() == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


async def asks(port: int, source: str = "127.0.0.1") -> int:
    connector = aiohttp.TCPConnector(local_addr=(source, 0))
    url = f"http://127.0.0.1:{port}/x"
    async with aiohttp.ClientSession(connector=connector) as session, session.post(url, data=b"abc") as answer:
        assert await answer.text() == "3"
        return answer.status


async def test_one_request_is_answered_and_its_connection_closed(port: int) -> None:
    reader, _ = await connect(port, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in await reader.read()


@pytest.mark.parametrize("data", [b"", HALF, b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"])
async def test_what_is_never_finished_ends(port: int, data: bytes) -> None:
    reader, _ = await connect(port, data)
    assert not await ended(reader, 0.2)
    assert await ended(reader, 2.0)


async def test_who_sends_byte_by_byte_is_not_waited_for(port: int) -> None:
    reader, writer = await connect(port, b"")

    async def trickle() -> None:
        for byte in b"GET /x HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1000:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(trickle())
    assert await ended(reader, 2.0)
    task.cancel()


async def test_an_address_has_so_many_and_the_others_theirs(port: int) -> None:
    held = [await connect(port, HALF) for _ in range(4)]
    more = [await connect(port, HALF) for _ in range(20)]
    assert all([await ended(reader, 0.3) for reader, _ in more])
    assert await asks(port, "127.0.0.2") == 200
    assert not await ended(held[0][0], 0.05)


async def test_where_there_are_too_many_in_all_the_heaviest_loses_one(port: int) -> None:
    first = [await connect(port, HALF, "127.0.0.2") for _ in range(4)]
    second = [await connect(port, HALF, "127.0.0.3") for _ in range(2)]
    await asyncio.sleep(0.1)
    assert await asks(port, "127.0.0.4") == 200
    assert await ended(first[0][0], 0.2)
    assert not await ended(second[0][0], 0.05)


async def test_after_their_time_there_is_room_again(port: int) -> None:
    for _ in range(4):
        await connect(port, HALF)
    await asyncio.sleep(1.2)
    assert await asks(port) == 200


async def test_a_header_has_a_bound(port: int) -> None:
    reader, _ = await connect(port, b"GET /x HTTP/1.1\r\nA: " + b"x" * 2 * LONGEST_HEADER_BYTES + b"\r\n\r\n")
    assert b" 400 " in (await reader.read()).split(b"\r\n")[0]


async def test_a_body_has_a_bound(port: int) -> None:
    url = f"http://127.0.0.1:{port}/x"
    async with aiohttp.ClientSession() as session, session.post(url, data=b"x" * 5000) as answer:
        assert answer.status == 413


async def test_port_0_serves_nothing() -> None:
    async with serve_limited(0, web.Application(), LIMITS) as served:
        assert served == 0
