"""The last response of a connection: all of it arrives, at once, and then the connection's end."""

from __future__ import annotations

import asyncio
import socket
import threading
from time import monotonic
from typing import Any

import pytest

from tests.connection.real_sockets import on_real_loops, serving
from tests.fakes import answer, echo, get, post, responses

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("error")]

CLOSE = "Connection: close"


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
        """Each in a segment of its own, which the server usually has time to read, until it closes."""
        try:
            for segment in segments:
                await self.loop.sock_sendall(self.sock, segment)
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass  # the server was quicker with its answer and its end

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
    """The response arrives while the app blocks the loop."""
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
            while not any(response.complete for response in responses(data)):
                data += sock.recv(1024)
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
        for _ in range(4):
            async with Client() as client:
                await client.connect(server)
                await client.send(*segments)
                assert (await client.read()).startswith(b"HTTP/1.1 200 ")
