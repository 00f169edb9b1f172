"""HTTP that strangers may reach: so many connections in all and from each address, each for a few seconds, and no more
work for one that is refused than to close it.

asyncio's own servers accept whatever comes, and aiohttp keeps a task and buffers for each connection, however little it
has sent. So connections are accepted here, a number at a time, and only those within the limits get to aiohttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

logger = logging.getLogger(__name__)

LONGEST_LINE_BYTES = 1024
LONGEST_HEADER_BYTES = 4096
"""A service account token has one to two kilobytes."""
MOST_HEADERS = 32
READ_BYTES = 4096
BACKLOG = 512
ACCEPTED_AT_ONCE = 50
BETWEEN_SECONDS = 0.01
"""Between two times: of more than 5,000 connections a second the kernel holds or drops the rest."""
NO_DESCRIPTORS_SECONDS = 1.0
ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER: a refused connection is reset, and the kernel keeps nothing of it."""


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections there may be at once, and for how long each."""

    in_all: int
    from_each_address: int
    """Pods behind one translated address share it."""
    seconds: float
    """For a whole exchange; one connection is one request."""


@dataclass
class _Connections:
    """The connections that there are, oldest first, by address."""

    limits: ConnectionLimits
    counts: Counter[str] = field(default_factory=Counter)
    transports: dict[asyncio.BaseTransport, str] = field(default_factory=dict)

    def has_room(self, address: str) -> bool:
        """Whether one more from `address` is within the limits. Where there are too many in all, the address that has
        most loses its oldest one, unless that has hardly more: nobody keeps others out by being many.
        """
        if self.counts[address] >= self.limits.from_each_address:
            return False
        if len(self.transports) < self.limits.in_all:
            return True
        heaviest, count = self.counts.most_common(1)[0]
        if count <= self.counts[address] + 1:
            return False
        oldest = next(transport for transport, owner in self.transports.items() if owner == heaviest)
        assert isinstance(oldest, asyncio.Transport)
        self.remove(oldest)
        oldest.abort()
        return True

    def add(self, transport: asyncio.BaseTransport, address: str) -> None:
        self.transports[transport] = address
        self.counts[address] += 1

    def remove(self, transport: asyncio.BaseTransport) -> None:
        address = self.transports.pop(transport, None)
        if address is not None:
            self.counts[address] -= 1
            if not self.counts[address]:
                del self.counts[address]


@asynccontextmanager
async def serve_limited(
    port: int, application: web.Application, limits: ConnectionLimits, shutdown_seconds: float = 1.0
) -> AsyncIterator[int]:
    """Serves on every address while the block runs; the port. Port 0 serves nothing."""
    runner = web.AppRunner(
        application,
        access_log=None,
        keepalive_timeout=0,
        max_line_size=LONGEST_LINE_BYTES,
        max_field_size=LONGEST_HEADER_BYTES,
        max_headers=MOST_HEADERS,
        read_bufsize=READ_BYTES,
        lingering_time=0,
        shutdown_timeout=shutdown_seconds,
    )
    await runner.setup()
    try:
        if not port:
            yield 0
            return
        with _listening(port) as listener:
            accepting = asyncio.create_task(_accept(listener, runner, limits), name=f"accept on {port}")
            try:
                yield port
            finally:
                accepting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await accepting
    finally:
        await runner.cleanup()


def _listening(port: int) -> socket.socket:
    """On IPv6 and IPv4 where there are both."""
    dual = socket.has_dualstack_ipv6()
    family, host = (socket.AF_INET6, "::") if dual else (socket.AF_INET, "0.0.0.0")  # noqa: S104 - pods come from anywhere
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual)
    listener.setblocking(False)
    return listener


async def _accept(listener: socket.socket, runner: web.AppRunner, limits: ConnectionLimits) -> None:
    loop, connections, readable = asyncio.get_running_loop(), _Connections(limits), asyncio.Event()
    while True:
        loop.add_reader(listener, readable.set)
        await readable.wait()
        loop.remove_reader(listener)
        readable.clear()
        pause = BETWEEN_SECONDS
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, peer = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                break
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                logger.warning("cannot accept connections: %s; trying again in %.0f s", error, NO_DESCRIPTORS_SECONDS)
                pause = NO_DESCRIPTORS_SECONDS
                break
            if not connections.has_room(peer[0]):
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                accepted.close()
                continue
            try:
                await _hand_over(accepted, peer[0], runner, connections)
            except OSError as error:  # it ended meanwhile
                logger.debug("a connection from %s was lost: %s", peer[0], error)
                accepted.close()
        await asyncio.sleep(pause)


async def _hand_over(accepted: socket.socket, address: str, runner: web.AppRunner, connections: _Connections) -> None:
    """Gives a connection to aiohttp, until it ends or its time is over."""
    server = runner.server
    assert server is not None
    accepted.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: _Guarded(server(), address, connections), accepted)


class _Guarded(asyncio.Protocol):
    """aiohttp's protocol, counted while its connection lasts, which is not for long."""

    def __init__(self, inner: asyncio.Protocol, address: str, connections: _Connections) -> None:
        self._inner = inner
        self._address = address
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(self._connections.limits.seconds, transport.abort)
        self._connections.add(transport, self._address)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._connections.remove(self._transport)
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
