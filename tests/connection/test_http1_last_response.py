"""The last response of a connection: it leaves in one segment with the connection's end, at once, and loses nothing."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import threading
from time import monotonic
from typing import Any

import pytest

from tests.connection.real_sockets import on_real_loops, serving
from tests.fakes import Connection, answer, chunked, echo, get, post, responses

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("error")]

linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_CORK is Linux's")

CLOSE = "Connection: close"


def segments_in(sock: socket.socket) -> int:
    """TCP_INFO's tcpi_segs_in."""
    (count,) = struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 140)
    return int(count)


class Client:
    """A socket that is read to its end, on the running loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.sock = socket.socket()
        self.sock.setblocking(False)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.sock.close()

    async def connect(self, server: Any) -> None:
        await self.loop.sock_connect(self.sock, server.address)

    async def send(self, *segments: bytes) -> None:
        """Each in a segment of its own, which the server has had time to read."""
        for segment in segments:
            await self.loop.sock_sendall(self.sock, segment)
            await asyncio.sleep(0.01)

    async def read(self) -> bytes:
        """What came until the end or a reset."""
        data = b""
        try:
            while part := await self.loop.sock_recv(self.sock, 65536):
                data += part
        except ConnectionResetError:
            pass
        return data


async def closes(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"ok", 200, (b"connection", b"close"))


async def fails(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError


LAST: dict[str, tuple[Any, bytes]] = {
    "the client closes": (echo, get("/", CLOSE)),
    "HTTP/1.0": (echo, get("/", version="1.0")),
    "a body": (echo, post(b"x", "/", CLOSE)),
    "chunks": (echo, chunked(b"x", fields=(CLOSE,))),
    "the app closes": (closes, get("/")),
    "the app fails": (fails, get("/")),
}


@on_real_loops
@linux
@pytest.mark.parametrize("name", LAST)
async def test_it_takes_one_segment(name: str, parser: str, loop_kind: str, anyio_backend: Any) -> None:
    """The end of the connection comes with the response."""
    app, request = LAST[name]
    async with serving(parser, app) as server, asyncio.timeout(10):
        counts = set()
        for _ in range(5):
            async with Client() as client:
                await client.connect(server)
                before = segments_in(client.sock)
                await client.loop.sock_sendall(client.sock, request)
                [response] = responses(await client.read(), closed=True)
                assert response.complete
                counts.add(segments_in(client.sock) - before)
        assert counts <= {1, 2}  # the request is acknowledged before that, or with it


@on_real_loops
@pytest.mark.parametrize("size", [2, 5_000, 300_000, 3_000_000])
async def test_all_of_it_arrives(size: int, parser: str, loop_kind: str, anyio_backend: Any) -> None:
    """However large, and read late: then the end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % (size + 3))]})
        await send({"type": "http.response.body", "body": b"x" * size, "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})

    async with serving(parser, app) as server, asyncio.timeout(10):
        for _ in range(3):
            async with Client() as client:
                await client.connect(server)
                await client.send(get("/", CLOSE))
                [response] = responses(await client.read(), closed=True)
                assert response.complete
                assert response.body == b"x" * size + b"end"


@on_real_loops
async def test_an_app_that_works_on_holds_nothing_back(parser: str, loop_kind: str, anyio_backend: Any) -> None:
    """The response arrives, to its end, while the app blocks the loop: not by the kernel's timer of 200 ms."""
    arrived = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)
        assert arrived.wait(5)

    def visit(address: tuple[str, int]) -> tuple[float, bytes]:
        arrived.clear()
        start = monotonic()
        with socket.create_connection(address, 5) as sock:
            sock.sendall(get("/", CLOSE))
            data = b""
            while part := sock.recv(1024):
                data += part
            arrived.set()
            return monotonic() - start, data

    async with serving(parser, app) as server, asyncio.timeout(10):
        times = []
        for _ in range(3):
            time, data = await asyncio.to_thread(visit, server.address)
            times.append(time)
            assert responses(data, closed=True)[0].status == 200
        assert min(times) < 0.15


async def answers_early(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)


async def closes_the_first(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0.05)  # so that the rest is there, and not read
    await (closes if scope["path"] == "/first" else echo)(scope, receive, send)


UNREAD: dict[str, tuple[Any, list[bytes]]] = {
    "the rest of a body": (answers_early, [post(b"x" * 200_000, "/", CLOSE)[:100_000]]),
    "the body of the next request": (
        closes_the_first,
        [get("/first") + post(b"x" * 60, "/", CLOSE)[:-60], b"x" * 30, b"x" * 30],
    ),
    "requests": (closes_the_first, [get("/first"), get("/"), get("/"), get("/")]),
    "requests of HTTP/1.0": (closes_the_first, [get("/first", "Connection: keep-alive", version="1.0")] * 3),
    "behind the last one": (closes_the_first, [get("/first", CLOSE), get("/"), b"x y z\r\n\r\n", get("/")]),
}


@on_real_loops
@pytest.mark.parametrize("name", UNREAD)
async def test_unread_input_loses_no_response(name: str, parser: str, loop_kind: str, anyio_backend: Any) -> None:
    """The kernel resets a connection that is closed with unread input: the response has left before that."""
    app, segments = UNREAD[name]
    async with serving(parser, app) as server, asyncio.timeout(10):
        for _ in range(4):  # known to the worker or not
            async with Client() as client:
                await client.connect(server)
                await client.send(*segments)
                assert (await client.read()).startswith(b"HTTP/1.1 200 ")


class Odd:
    """What a transport may give for its socket."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor


@pytest.mark.parametrize("sock", [None, object(), Odd(-1), Odd(100_000)])
async def test_transports_without_such_a_socket(sock: Any, parser: str, loop: Any) -> None:
    """The response is written all the same, and the transport closed."""
    connection = Connection(parser, echo, loop=loop)
    connection.transport.extra["socket"] = sock
    async with connection:
        await connection.feed(get("/", CLOSE))
        assert connection.closed
        assert connection.responses()[0].body == b"/ "


@pytest.mark.parametrize("extra", [{"peername": None}, {"peername": ""}, {"sslcontext": object()}])
async def test_other_transports_are_not_touched(extra: dict[str, Any], parser: str) -> None:
    """Neither unix sockets nor TLS: their sockets are not asked for when the connection ends."""
    connection = Connection(parser, echo, loop=asyncio.get_running_loop())
    connection.transport.extra.update(extra)
    connection.protocol.connection_made(connection.transport)  # type: ignore[arg-type]  # anew
    asked: list[str] = []
    connection.transport.get_extra_info = asked.append  # type: ignore[method-assign]
    async with connection:
        await connection.feed(get("/", CLOSE))
        assert connection.closed
    assert asked == []
