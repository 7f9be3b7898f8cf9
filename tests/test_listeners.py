"""Listening sockets: connections that come in bulk are accepted in bulk, where the loop accepts one per turn."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from pounce import listeners
from pounce.listeners import BulkAcceptor, create_listeners

needs_uvloop = pytest.mark.skipif(
    importlib.util.find_spec("uvloop") is None or sys.platform != "linux",
    reason="only uvloop accepts one connection per handle and turn, and only Linux tells how many wait",
)


def config(**settings: Any) -> Any:
    return SimpleNamespace(
        **{"ssl": None, "backlog": 128, "uds": None, "fd": None, "host": "127.0.0.1", "port": 0} | settings
    )


class Served(asyncio.Protocol):
    """Notes in which turn of the loop it was made, and hangs up."""

    turns: list[int]
    turn = 0

    def connection_made(self, transport: Any) -> None:
        self.turns.append(Served.turn)
        transport.close()


def run(main: Any, loop_name: str = "uvloop") -> None:
    factory = importlib.import_module(loop_name).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(main, 30))


async def until_served(clients: list[socket.socket]) -> None:
    """Count turns until every client is answered."""
    while len(Served.turns) < len(clients):
        Served.turn += 1
        await asyncio.sleep(0)
    for client in clients:
        client.close()


def connect(address: Any, count: int) -> list[socket.socket]:
    """The loop stands still meanwhile: all of them wait in the kernel."""
    return [socket.create_connection(address, timeout=5) for _ in range(count)]


@pytest.fixture(autouse=True)
def nobody_served() -> None:
    Served.turns, Served.turn = [], 0


@needs_uvloop
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_queue_is_accepted_in_bulk(host: str) -> None:
    """Reviewed with a queue it adds handles: several connections are made in one turn. Without, it takes them away."""

    async def main() -> None:
        [server] = await create_listeners(config(host=host), Served, None)
        assert isinstance(server, BulkAcceptor)
        address = server.sockets[0].getsockname()[:2]
        await server.review()
        assert not server._more

        clients = connect(address, 24)
        await server.review()
        assert len(server._more) == 7
        assert len(server.sockets) == 1  # what users look at
        await until_served(clients)
        assert max(Served.turns.count(turn) for turn in Served.turns) >= 4

        for _ in range(4):
            await server.review()
        assert server._more
        await server.review()
        assert not server._more
        Served.turns.clear()
        await until_served(connect(address, 1))  # the first handle is still there
        server.close()
        await server.wait_closed()

    run(main())


@needs_uvloop
def test_a_few_are_no_bulk() -> None:
    """Three that wait are three turns; a hundred wasted wake-ups would cost more."""

    async def main() -> None:
        [server] = await create_listeners(config(), Served, None)
        clients = connect(server.sockets[0].getsockname()[:2], 3)
        await server.review()
        assert not server._more
        await until_served(clients)
        server.close()

    run(main())


@needs_uvloop
def test_a_closed_one_accepts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its further handles: whoever connects then is refused."""

    async def main() -> None:
        [server] = await create_listeners(config(), Served, None)
        address = server.sockets[0].getsockname()[:2]
        clients = connect(address, 8)
        await server.review()
        await until_served(clients)
        server.close()
        await server.review()
        assert not server._more
        with pytest.raises(OSError):  # refused, or reset while the handles close
            socket.create_connection(address, timeout=5).recv(1)

    run(main())


@needs_uvloop
def test_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on with the handle it has."""

    async def main() -> None:
        [server] = await create_listeners(config(), Served, None)
        clients = connect(server.sockets[0].getsockname()[:2], 8)

        def fails(fd: int) -> int:
            raise OSError(24, os.strerror(24))

        monkeypatch.setattr(listeners.os, "dup", fails)
        await server.review()
        assert not server._more
        await until_served(clients)
        server.close()

    run(main())


@pytest.mark.parametrize("loop_name", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
@pytest.mark.parametrize("shared", [False, True])
def test_where_it_is_of_no_use(loop_name: str, shared: bool) -> None:
    """asyncio accepts all that wait; processes that share a socket should share what comes."""

    async def main() -> None:
        sockets = [socket.create_server(("127.0.0.1", 0))] if shared else None
        [server] = await create_listeners(config(), Served, sockets)
        assert isinstance(server, BulkAcceptor) == (loop_name == "uvloop" and not shared)
        server.close()

    run(main(), loop_name)
