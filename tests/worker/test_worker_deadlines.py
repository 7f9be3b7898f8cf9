"""A worker's deadlines where there is more to them than one connection: before it is made, and in a drain."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.connection.real_sockets import LOCALHOST
from tests.fakes import answer, post, read_body, settle
from tests.worker.real_workers import real_worker

pytestmark = pytest.mark.anyio

HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 80\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    with contextlib.suppress(ConnectionResetError):
        await answer(send, await read_body(receive))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client, and the accepted socket of its connection."""
    with socket.create_server((LOCALHOST, 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted = listener.accept()[0]
    client.setblocking(False)
    with client, accepted:
        yield client, accepted


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def test_the_proxys_header_is_part_of_the_first_head(pair: tuple[socket.socket, socket.socket]) -> None:
    """What it takes is missing to the rest, from accept: there is one deadline for both."""
    worker = real_worker(echo, proxy_protocol={"peers": LOCALHOST})
    now = time.monotonic()
    worker._deadlines.sweep(now)

    def run(seconds: float) -> None:
        nonlocal now
        for _ in range(int(seconds * 2)):
            now += 0.5
            worker._deadlines.sweep(now)

    worker.adopt(pair[1])
    await settle()
    run(20)
    pair[0].send(HEADER)
    await until(lambda: worker.state.connections)
    [connection] = worker.state.connections
    assert connection.client == ("192.0.2.1", 40000)
    run(9.5)
    assert not connection.transport.is_closing()
    run(1)
    assert connection.transport.is_closing()
    await until(lambda: not worker.state.connections)


async def test_and_so_is_the_tls_handshake_behind_it(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has what the header has left of the time."""
    worker = real_worker(echo, proxy_protocol={"peers": LOCALHOST})
    worker.tls_options = {"ssl": ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), "ssl_handshake_timeout": 30}
    loop = asyncio.get_running_loop()
    given: list[float] = []

    async def connect(make: Any, sock: Any, *, ssl: Any, ssl_handshake_timeout: float) -> None:
        given.append(ssl_handshake_timeout)

    monkeypatch.setattr(loop, "connect_accepted_socket", connect)
    worker.adopt(pair[1])
    await settle()
    begun = loop.time()
    pair[0].send(HEADER)
    await until(lambda: given)
    assert 30 - (loop.time() - begun) - 1 < given[0] < 30


async def test_a_drain_does_not_wait_for_a_client_that_stops(pair: tuple[socket.socket, socket.socket]) -> None:
    """Half a body, and nothing more, keeps a server that stops for as long as one that serves."""
    worker = real_worker(echo, deadlines={"body": 0.5})
    worker.tick()
    worker.adopt(pair[1])
    await asyncio.get_running_loop().sock_sendall(pair[0], post(b"12")[:-1])
    await until(lambda: worker.state.tasks)
    async with asyncio.timeout(20):
        assert await worker.drain(0.0, lambda: False)
    heard = await asyncio.get_running_loop().sock_recv(pair[0], 1000)
    assert heard.startswith(b"HTTP/1.1 408 ")
