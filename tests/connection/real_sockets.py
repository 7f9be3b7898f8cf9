"""HTTP/1.1 connections on real transports, for tests of what those do: their loops, and a server on the running one.

And accepted sockets before they have one."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pounce.connection.state import ServerState
from tests.fakes import DEFAULT_HEADERS, PROTOCOLS, plain_config

needs_uvloop = pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed")

#: For `anyio_backend` (conftest): the loops with transports of their own.
on_real_loops = pytest.mark.parametrize("loop_kind", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)])

LOCALHOST = "127.0.0.1"


class Server:
    """A listening socket on the running loop."""

    def __init__(self, parser: str, app: Any, **settings: Any) -> None:
        config = plain_config(app, **settings)
        self.state = ServerState()
        self.state.default_headers = list(DEFAULT_HEADERS)
        self.make = lambda: PROTOCOLS[parser](config, self.state, {})
        self.address: tuple[str, int] = (LOCALHOST, 0)
        self.errors: list[dict[str, Any]] = []

    async def until(self, condition: Any) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(parser: str, app: Any, **settings: Any) -> AsyncIterator[Server]:
    """A server, and at the end the proof that nothing reached the loop's exception handler and nothing is left."""
    server = Server(parser, app, **settings)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: server.errors.append(context))
    listener = await loop.create_server(server.make, LOCALHOST, 0)
    server.address = listener.sockets[0].getsockname()
    try:
        yield server
    finally:  # uvloop would wait for ever with what a failed test leaves open
        listener.close()
        for connection in list(server.state.connections):
            connection.transport.abort()
    await server.until(lambda: not server.state.connections and not server.state.tasks)
    assert server.errors == []


class Pair:
    """A client and the accepted socket of its connection."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        if family == socket.AF_INET:
            with socket.create_server((LOCALHOST, 0)) as listener:
                self.client = socket.create_connection(listener.getsockname())
                self.accepted = listener.accept()[0]
        else:
            self.client, self.accepted = socket.socketpair(family)
        self.accepted.setblocking(False)

    def close(self) -> None:
        self.client.close()
        self.accepted.close()

    def unread(self) -> bytes:
        """What is left for whoever comes next."""
        try:
            return self.accepted.recv(65536)
        except BlockingIOError:
            return b""
