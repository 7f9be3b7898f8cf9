"""Deadlines on real transports: the system says what a client has taken; a TLS handshake is part of the first head."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from typing import Any

import pytest
import trustme

from pounce.connection.debts import not_taken
from tests.connection.real_sockets import LOCALHOST, Server, on_real_loops, serving
from tests.fakes import PROTOCOLS, Clock, answer, get

pytestmark = [pytest.mark.anyio, on_real_loops]

#: More than the buffers of both systems hold together.
MUCH = b"x" * 16_000_000


async def sends_much(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, MUCH)


async def sends_parts(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    with contextlib.suppress(OSError):
        for part in range(10):
            await send({"type": "http.response.body", "body": MUCH[part::10], "more_body": True})


@contextlib.asynccontextmanager
async def asked(server: Server, request: bytes) -> Any:
    """A client that has sent this, and reads when it is told to; with little room for what it has not read."""
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, server.address)
        await loop.sock_sendall(sock, request)
        yield sock


async def still(measure: Any) -> None:
    """Wait until a number does not change any more."""
    seen: list[Any] = []
    while len(seen) < 3 or len(set(seen[-3:])) > 1:
        seen.append(measure())
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("app", [sends_much, sends_parts])
@pytest.mark.parametrize("kept", ["keep-alive", "close"])
async def test_a_client_that_takes_nothing(app: Any, kept: str, loop_kind: str) -> None:
    """It is cut off, whether the app waits for it or the connection does, to close."""
    async with serving("httptools", app) as server:
        clock = Clock(server.state, write=10)
        async with asked(server, get("/", f"Connection: {kept}")):
            await server.until(lambda: server.state.connections)
            [connection] = server.state.connections
            await server.until(connection.transport.get_write_buffer_size)
            clock.run(9)
            await asyncio.sleep(0)
            assert connection in server.state.connections
            # The system may still be at it, on a busy machine, and each byte that it takes is a reason to wait.
            await server.until(lambda: clock.run(11) or not server.state.connections)
            clock.run(0.5)
            assert clock.held == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")
async def test_a_client_that_takes_little(loop_kind: str) -> None:
    """It goes on, even while the kernel takes nothing from the transport: it has megabytes of its own."""
    async with serving("httptools", sends_parts) as server:
        clock = Clock(server.state, write=10)
        async with asked(server, get()) as sock:
            await server.until(lambda: server.state.connections)
            [connection] = server.state.connections
            await server.until(lambda: connection.flow.write_paused)
            await still(lambda: not_taken(connection.transport))
            waiting = connection.transport.get_write_buffer_size()
            for _ in range(5):
                clock.run(9)
                for _ in range(20):
                    await asyncio.get_running_loop().sock_recv(sock, 8192)
                await asyncio.sleep(0.01)
            assert connection.transport.get_write_buffer_size() == waiting
            assert not connection.transport.is_closing()
            await server.until(lambda: clock.run(11) or connection.transport.is_closing())


@pytest.mark.parametrize("parser", PROTOCOLS)
async def test_handshake_and_head_count_together(parser: str, loop_kind: str) -> None:
    """Who has taken most of the time for the one has little left for the other."""
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)
    loop = asyncio.get_running_loop()
    async with serving(parser, sends_much) as server:
        server.state.sweeps_idle = True
        clock = Clock(server.state)
        made: list[Any] = []

        def make() -> Any:
            made.append(server.make())
            return made[-1]

        listener = await loop.create_server(make, LOCALHOST, 0, ssl=ours)
        with socket.create_connection(listener.sockets[0].getsockname()) as sock:
            await server.until(lambda: made)
            clock.run(25)
            assert not server.state.connections
            reader, writer = await asyncio.open_connection(sock=sock, ssl=theirs, server_hostname="localhost")
            writer.write(b"GET / HTTP/1.1\r\n")
            await server.until(lambda: server.state.connections and made[0].phase.name == "BUSY")
            clock.run(4.5)
            assert not made[0].transport.is_closing()
            clock.run(1)
            assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 408 ")
            writer.close()
            await server.until(lambda: not server.state.connections)
        listener.close()
