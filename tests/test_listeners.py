"""Listening sockets: connections that come in bulk are accepted in bulk, where the loop accepts one per turn."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import struct
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from pounce import Config, Server, listeners
from pounce.listeners import BulkAcceptor, bulk_acceptors, create_listeners

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


async def listen(**settings: Any) -> tuple[Any, BulkAcceptor]:
    [server] = await create_listeners(config(**settings), Served, None)
    [acceptor] = bulk_acceptors(config(**settings), Served, None, [server])
    return server, acceptor


def address_of(server: Any) -> Any:
    return server.sockets[0].getsockname()[:2]


@needs_uvloop
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_queue_is_accepted_in_bulk(host: str) -> None:
    """Reviewed with a queue it adds handles: several connections are made in one turn. Without, it takes them away."""

    async def main() -> None:
        server, acceptor = await listen(host=host)
        await acceptor.review()
        assert not acceptor._more

        clients = connect(address_of(server), 24)
        await acceptor.review()
        assert len(acceptor._more) == 7
        assert len(server.sockets) == 1  # what users look at
        await until_served(clients)
        assert max(Served.turns.count(turn) for turn in Served.turns) >= 4

        for _ in range(4):
            await acceptor.review()
        assert acceptor._more
        await acceptor.review()
        assert not acceptor._more
        Served.turns.clear()
        await until_served(connect(address_of(server), 1))  # the first handle is still there
        server.close()
        await server.wait_closed()

    run(main())


@needs_uvloop
def test_a_few_are_no_bulk() -> None:
    """Three that wait are three turns: to wake eight handles for each would cost more."""

    async def main() -> None:
        server, acceptor = await listen()
        clients = connect(address_of(server), 3)
        await acceptor.review()
        assert not acceptor._more
        await until_served(clients)
        server.close()

    run(main())


@needs_uvloop
@pytest.mark.parametrize("who", ["acceptor", "server"])
def test_it_ends_with_its_server(who: str) -> None:
    """Whoever connects then is refused, also where it was the user who closed the server."""

    async def main() -> None:
        server, acceptor = await listen()
        address = address_of(server)
        clients = connect(address, 8)
        await acceptor.review()
        await until_served(clients)
        assert acceptor._more
        server.close()
        if who == "acceptor":
            acceptor.close()
        else:
            await acceptor.review()
        assert not acceptor._more
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        await acceptor.review()

    run(main())


@needs_uvloop
def test_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on with the handle it has, and tries again later."""

    async def main() -> None:
        server, acceptor = await listen()
        clients = connect(address_of(server), 8)

        def fails(fd: int) -> int:
            raise OSError(24, os.strerror(24))

        with monkeypatch.context() as patch:
            patch.setattr(listeners.os, "dup", fails)
            await acceptor.review()
        assert not acceptor._more
        await acceptor.review()
        assert acceptor._more
        await until_served(clients)
        acceptor.close()
        server.close()

    run(main())


@needs_uvloop
@pytest.mark.parametrize("error", [OSError(92, "Protocol not available"), struct.error("unpack requires 28 bytes")])
def test_a_system_that_does_not_tell_how_many_wait(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under an emulator: it accepts one by one, and does not ask again."""
    asked = 0

    def waiting(listener: Any) -> int:
        nonlocal asked
        asked += 1
        raise error

    async def main() -> None:
        server, acceptor = await listen()
        monkeypatch.setattr(listeners, "_waiting", waiting)
        clients = connect(address_of(server), 8)
        for _ in range(3):
            await acceptor.review()
        assert (asked, acceptor._more) == (1, [])
        await until_served(clients)
        server.close()

    run(main())


def test_asyncio_needs_none() -> None:
    """It accepts all that wait, in one turn."""

    async def main() -> None:
        [server] = await create_listeners(config(), Served, None)
        assert bulk_acceptors(config(), Served, None, [server]) == []
        server.close()

    run(main(), "asyncio")


@needs_uvloop
@pytest.mark.parametrize("shared", [False, True])
def test_a_server_accepts_in_bulk_on_sockets_of_its_own(shared: bool) -> None:
    """Processes that share a socket should share what comes, too."""
    config = Config(_app, host="127.0.0.1", port=0, log_config=None, lifespan="off", loop="uvloop")
    server = Server(config)
    sockets = [socket.create_server(("127.0.0.1", 0))] if shared else None

    async def main() -> None:
        serving = asyncio.ensure_future(server.serve(sockets))
        while not server.started:
            await asyncio.sleep(0.01)
        clients = connect(address_of(server.servers[0]), 16)
        await server.on_tick(0)
        assert [len(acceptor._more) for acceptor in server._bulk_acceptors] == ([] if shared else [7])
        server.should_exit = True
        await serving
        for client in clients:
            client.close()

    run(main())


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Is never asked."""
