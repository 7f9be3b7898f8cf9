"""The last response of a connection: it leaves together with the connection's end, where that can lose nothing."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Any

import pytest

from tests.connection.test_http1_sockets import serving
from tests.fakes import Connection, answer, chunked, echo, get, post, responses

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("error")]

linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_CORK is Linux's")

CLOSE = "Connection: close"


class Socket:
    """Notes options, and what was written by the time they were set."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        self.connection: Connection | None = None
        self.options: list[tuple[int, int, int]] = []
        self.written: list[int] = []

    def setsockopt(self, *option: int) -> None:
        assert self.connection is not None
        self.options.append(option)  # type: ignore[arg-type]
        self.written.append(self.connection.transport.writes)
        if self.error is not None:
            raise self.error


def connection_with(sock: Socket | None, parser: str, app: Any, loop: Any, **extra: Any) -> Connection:
    """Its transport has this socket."""
    connection = Connection(parser, app, loop=loop)
    if sock is not None:
        sock.connection = connection
    connection.transport.extra.update({"socket": sock, **extra})
    return connection


LAST = {
    "GET": get("/", CLOSE),
    "HTTP/1.0": get("/", version="1.0"),
    "a body": post(b"x", "/", CLOSE),
    "chunks": chunked(b"x", fields=(CLOSE,)),
}


def parser_tells(parser: str, name: str) -> bool:
    """zttp does not say why a connection ends, h11 not for HTTP/1.0."""
    return parser == "httptools" or (parser == "h11" and name != "HTTP/1.0")


@linux
@pytest.mark.parametrize("name", LAST)
async def test_held_by_the_kernel_until_the_end(name: str, parser: str, loop: Any) -> None:
    """Where the client says that it sends no more, before the last bytes are written and only once."""
    sock = Socket()
    async with connection_with(sock, parser, echo, loop) as connection:
        await connection.feed(LAST[name])
        assert connection.closed
        writes = connection.transport.writes
        assert connection.responses()[0].status == 200
    if parser_tells(parser, name):
        assert sock.options == [(socket.IPPROTO_TCP, 3, 1)]  # TCP_CORK
        assert sock.written[0] < writes
    else:
        assert sock.options == []


async def closes(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"ok", 200, (b"connection", b"close"))


async def answers_early(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)


async def fails(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError


NOT_HELD: dict[str, tuple[Any, list[bytes]]] = {
    "kept": (echo, [get("/"), get("/"), get("/")]),
    "the app closes": (closes, [get("/")]),
    "the app fails": (fails, [get("/")]),
    "the rest of the request is on its way": (answers_early, [post(b"x" * 100, "/", CLOSE)[:-50]]),
    "the first of two": (echo, [get("/"), get("/")]),
}


@pytest.mark.parametrize("name", NOT_HELD)
async def test_not_where_the_client_may_be_sending(name: str, parser: str, loop: Any) -> None:
    """Input that nobody has read resets the connection, and the kernel would drop what it holds."""
    app, segments = NOT_HELD[name]
    sock = Socket()
    async with connection_with(sock, parser, app, loop) as connection:
        await connection.feed(*segments)
        assert connection.responses()
    assert sock.options == []


@pytest.mark.parametrize("extra", [{"peername": None}, {"peername": ""}, {"sslcontext": object()}])
async def test_not_on_other_transports(extra: dict[str, Any], parser: str) -> None:
    """Neither unix sockets nor TLS."""
    sock = Socket()
    connection = Connection(parser, echo, loop=asyncio.get_running_loop())
    connection.transport.extra.update(extra)
    connection.protocol.connection_made(connection.transport)  # type: ignore[arg-type]  # anew
    connection.transport.extra["socket"] = sock
    async with connection:
        await connection.feed(get("/", CLOSE))
        assert connection.closed
    assert sock.options == []


@pytest.mark.parametrize("sock", [None, Socket(OSError("gone"))])
async def test_without_a_socket_that_can(sock: Socket | None, parser: str, loop: Any) -> None:
    """The response is written all the same."""
    async with connection_with(sock, parser, echo, loop) as connection:
        await connection.feed(get("/", CLOSE))
        assert connection.closed
        assert connection.responses()[0].body == b"/ "


@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
@pytest.mark.parametrize("size", [2, 5_000, 300_000])
async def test_over_a_socket(parser: str, loop_kind: str, anyio_backend: Any, size: int) -> None:
    """All of it arrives, then the end."""
    if loop_kind == "uvloop":
        pytest.importorskip("uvloop")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x" * size)

    async with serving(parser, app) as server, asyncio.timeout(10):
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(get("/", CLOSE))
            [response] = responses(await reader.read(), closed=True)
            assert response.complete
            assert len(response.body) == size
            writer.close()


def segments_in(sock: socket.socket) -> int:
    """TCP_INFO's tcpi_segs_in."""
    (count,) = struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 140)
    return int(count)


@linux
@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
async def test_it_takes_one_segment(loop_kind: str, anyio_backend: Any) -> None:
    """The end of the connection comes with the response."""
    if loop_kind == "uvloop":
        pytest.importorskip("uvloop")
    async with serving("httptools", echo) as server, asyncio.timeout(10):
        counts = set()
        loop = asyncio.get_running_loop()
        for _ in range(20):
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, server.address)
                before = segments_in(client)
                await loop.sock_sendall(client, get("/", CLOSE))
                while await loop.sock_recv(client, 1024):
                    pass
                counts.add(segments_in(client) - before)
        assert counts <= {1, 2}  # the request is acknowledged before that, or with it


@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
async def test_an_early_answer_outlives_the_reset(parser: str, loop_kind: str, anyio_backend: Any) -> None:
    """A client that still sends its body when the connection ends has got the answer."""
    if loop_kind == "uvloop":
        pytest.importorskip("uvloop")
    async with serving(parser, answers_early) as server, asyncio.timeout(10):
        loop = asyncio.get_running_loop()
        for _ in range(10):
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, server.address)
                await loop.sock_sendall(client, post(b"x" * 200_000, "/", CLOSE)[:100_000])
                assert (await loop.sock_recv(client, 1024)).startswith(b"HTTP/1.1 200 ")
