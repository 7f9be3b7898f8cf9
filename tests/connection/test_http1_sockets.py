"""HTTP/1.1 connections on real transports: what asyncio's and uvloop's do with writes, pauses and resets."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from tests.connection.real_sockets import on_real_loops, serving
from tests.fakes import answer, echo, get, post, responses

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("error")]


@on_real_loops
async def test_head_with_a_large_body_leaves_nothing_unwritten(parser: str, loop_kind: str) -> None:
    """An app that sends a large body in answer to HEAD, too: the connection goes on, and ends when it has to."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x" * 100_000)

    async with serving(parser, app) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(get("/", method="HEAD"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(get() + get("/", "Connection: close", method="HEAD"))
        async with asyncio.timeout(5):
            first, second = responses(await reader.read(), heads=(1,), closed=True)
        assert len(first.body) == 100_000
        assert second.headers[b"content-length"] == b"100000"
        writer.close()


@on_real_loops
async def test_early_answer_that_closes_while_reading_is_paused(parser: str, loop_kind: str) -> None:
    """Closing a transport whose reading is paused raises nothing in the loop."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"no", 413, (b"connection", b"close"))

    async with serving(parser, app) as server:
        _, writer = await asyncio.open_connection(*server.address)
        writer.write(get("/", "Content-Length: 900000", method="POST") + b"x" * 200_000)
        await server.until(lambda: server.state.total_requests == 1 and not server.state.connections)
        writer.close()


@on_real_loops
async def test_uploads_and_downloads_larger_than_every_buffer(parser: str, loop_kind: str) -> None:
    """Ten megabytes there and back through flow control, in parts, and a second request behind them."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    payload = bytes(range(256)) * 40_000
    async with serving(parser, app) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(post(payload) + post(b"second", "/", "Connection: close"))
        first, second = responses(await reader.read(), closed=True)
        assert first.body == payload
        assert second.body == b"second"
        writer.close()


@on_real_loops
@pytest.mark.parametrize("sent", [b"", b"GET / HT", get(), post(b"x" * 1000)[:-5], get() * 3, get("/wait")])
async def test_resets(parser: str, loop_kind: str, sent: bytes) -> None:
    """A client that resets its connection, wherever it stands, leaves no error in the loop and nothing behind."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            await echo(scope, receive, send)

    async with serving(parser, app) as server:
        for _ in range(5):
            client = socket.create_connection(server.address)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(sent)
            await asyncio.sleep(0)
            client.close()
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(get("/", "Connection: close"))
        assert await reader.read()
        writer.close()
        await server.until(lambda: not server.state.connections and not server.state.tasks)


@on_real_loops
async def test_a_client_that_does_not_read(parser: str, loop_kind: str) -> None:
    """An app's endless body stops at the write buffer's limit; when the client leaves, the app is told."""
    sent: list[int] = []
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        listener = asyncio.create_task(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not listener.done():
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            sent.append(100_000)
            await asyncio.sleep(0)
        told.append(listener.result()["type"])

    async with serving(parser, app) as server:
        client = socket.create_connection(server.address)
        client.sendall(get())
        before = -1
        while before != len(sent) or not sent:
            before = len(sent)
            await asyncio.sleep(0.05)
        assert sum(sent) < 50_000_000
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await server.until(lambda: told)
        assert told == ["http.disconnect"]


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks came with Python 3.12")
async def test_many_pipelined_requests_under_the_users_own_eager_task_factory(parser: str) -> None:
    """An app that sets `asyncio.eager_task_factory` in its lifespan gets every request, however many come at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"ok")

    async with serving(parser, app) as server:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        try:
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(get() * 200 + get("/", "Connection: close"))
            async with asyncio.timeout(10):
                assert (await reader.read()).count(b"HTTP/1.1 200") == 201
            writer.close()
        finally:
            asyncio.get_running_loop().set_task_factory(None)
