"""No app keeps the loop by sending alone: other clients are answered, and it notices who has left."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.connection.real_sockets import on_real_loops, serving
from tests.fakes import PROTOCOLS, get, responses

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("error")]

START = {"type": "http.response.start", "status": 200, "headers": []}


class Sender:
    """Sends for ever, without waiting for anything but `send()`; answers anything but `/stream` with `ok`."""

    def __init__(self, size: int, blocks: float) -> None:
        self.size = size
        self.blocks = blocks
        self.sent = 0
        self.stop = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        part = {"type": "http.response.body", "body": b"x" * self.size, "more_body": True}
        while scope["path"] == "/stream" and not self.stop:
            await send(part)
            self.sent += 1
            if self.blocks:
                time.sleep(self.blocks)
        await send({"type": "http.response.body", "body": b"ok"})

    async def rests(self) -> None:
        """Wait until the app sends next to nothing."""
        before = -100
        while self.sent - before > 5:
            before = self.sent
            await asyncio.sleep(0.1)


SENDERS = {
    "large parts": (65536, 0.0),
    "small parts": (1, 0.0),
    "nothing": (0, 0.0),
    "a blocking camera": (65536, 0.005),
    "a slow camera": (1, 0.05),
}


async def answered(address: Any) -> float:
    """Seconds until a client of its own is answered."""
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(get("/", "Connection: close"))
    [response] = responses(await reader.read(), closed=True)
    assert response.body == b"ok"
    writer.close()
    return time.perf_counter() - start


@asynccontextmanager
async def streaming(server: Any, sender: Sender) -> AsyncIterator[socket.socket]:
    """A client that has begun to read the stream."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, server.address)
        await loop.sock_sendall(sock, get("/stream"))
        await loop.sock_recv(sock, 1024)
        yield sock


CASES = [(name, parser) for name in SENDERS for parser in PROTOCOLS if parser == "httptools" or name == "large parts"]


@on_real_loops
@pytest.mark.parametrize("name,parser", CASES)
async def test_others_are_answered_beside_a_stream(name: str, parser: str, loop_kind: str, anyio_backend: Any) -> None:
    """While a client takes what an endless stream brings, others get their turn."""
    sender = Sender(*SENDERS[name])
    async with serving(parser, sender) as server, streaming(server, sender) as sock, asyncio.timeout(20):

        async def read_all() -> None:
            while await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
                pass

        reading = asyncio.create_task(read_all())
        times = [await answered(server.address) for _ in range(3)]
        assert min(times) < 1
        sender.stop = True
        reading.cancel()


@on_real_loops
@pytest.mark.parametrize("how", ["resets", "closes"])
@pytest.mark.parametrize("name,parser", CASES)
async def test_a_client_that_leaves_frees_the_loop(
    name: str, how: str, parser: str, loop_kind: str, anyio_backend: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The app may go on, but others are answered, it sends little, and a stop ends it."""
    caplog.set_level(logging.WARNING)
    sender = Sender(*SENDERS[name])
    async with serving(parser, sender) as server, asyncio.timeout(20):
        async with streaming(server, sender) as sock:
            if how == "resets":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await sender.rests()
        times = [await answered(server.address) for _ in range(3)]
        assert min(times) < 1
        server.state.stopping = True
        await server.until(lambda: not server.state.tasks)
    assert not [record for record in caplog.records if "socket.send() raised" in record.getMessage()]
