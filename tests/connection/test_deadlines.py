"""Connections whose clients owe something end in time, and nobody else does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pounce.connection.deadlines import Deadlines
from tests.fakes import PROTOCOLS, Connection, answer, get, read_body, settle

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("parser", PROTOCOLS)]

HEAD = b"GET /slow HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, await read_body(receive))


class Clock:
    """Passes over one connection, half a second apart."""

    def __init__(self, connection: Connection, head: float = 30) -> None:
        self.now = 1000.0
        self.deadlines = Deadlines(5, head)
        self._connections = connection.state.connections

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.deadlines.sweep(self._connections, self.now)
            self.now += 0.5


async def test_a_silent_client_just_ends(parser: str) -> None:
    """A browser that has connected ahead would take an answer for that to its next request."""
    async with Connection(parser, echo, sweeps=True) as connection:
        clock = Clock(connection)
        clock.run(30)
        assert not connection.closed
        clock.run(1)
        assert (connection.closed, connection.take()) == (True, b"")


async def test_half_a_head_is_answered(parser: str) -> None:
    """408, however often a little more of it comes."""
    async with Connection(parser, echo, sweeps=True) as connection:
        clock = Clock(connection)
        await connection.feed(HEAD)
        for number in range(30):
            clock.run(1)
            assert not connection.closed
            await connection.feed(b"X-%d: y\r\n" % number)
        clock.run(1)
        [response] = connection.responses()
        assert (connection.closed, response.status) == (True, 408)
        await connection.feed(b"\r\n")
        assert connection.take() == b""


async def test_so_is_half_of_a_later_one(parser: str) -> None:
    """Its time begins with its first byte, behind the idle time, which has a limit of its own."""
    async with Connection(parser, echo, sweeps=True) as connection:
        clock = Clock(connection)
        for _ in range(20):
            await connection.feed(get())
            clock.run(4)
        await connection.feed(HEAD)
        connection.take()
        clock.run(30)
        assert not connection.closed
        clock.run(1)
        assert connection.closed
        assert connection.take().startswith(b"HTTP/1.1 408 ")


async def test_an_app_and_a_body_have_their_time(parser: str) -> None:
    """Neither is a head."""
    opened = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await opened.wait()
        await answer(send)

    async with Connection(parser, slow, sweeps=True) as connection:
        clock = Clock(connection)
        await connection.feed(get())
        clock.run(100)
        opened.set()
        await settle()
        assert [response.status for response in connection.responses()] == [200]
    async with Connection(parser, echo, sweeps=True) as connection:
        clock = Clock(connection)
        await connection.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
        clock.run(100)
        await connection.feed(b"2")
        assert [response.body for response in connection.responses()] == [b"12"]


async def test_each_head_has_its_own_time(parser: str) -> None:
    """A client whose requests are always cut where the clock looks is not late."""
    async with Connection(parser, echo, sweeps=True) as connection:
        clock = Clock(connection)
        await connection.feed(HEAD)
        for _ in range(60):
            clock.run(1)
            await connection.feed(b"\r\n" + HEAD)
        assert not connection.closed
        assert len(connection.responses()) == 60


async def test_without_a_limit(parser: str) -> None:
    """As with uvicorn: for ever."""
    async with Connection(parser, echo, sweeps=True) as connection:
        clock = Clock(connection, head=0)
        await connection.feed(HEAD)
        clock.run(1000)
        assert not connection.closed


async def test_nothing_is_left_behind(parser: str) -> None:
    """Of a connection that ends by itself."""
    async with Connection(parser, echo, sweeps=True) as connection:
        clock = Clock(connection)
        await connection.feed(HEAD)
        clock.run(1)
        assert len(clock.deadlines._awaited) == 1
        connection.transport.lose()
        await settle()
        clock.run(1)
        assert not clock.deadlines._awaited
