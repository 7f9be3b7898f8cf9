"""`limit_concurrency`: who is refused, and how the count recovers; over every parser and both HTTP/2 wires."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pounce.connection.state import ServerState
from tests.connection import http2_client
from tests.fakes import Connection, answer, get, settle

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class LingeringApp:
    """Answers, and works on behind its answer until `done`; `/wait` does so before."""

    def __init__(self) -> None:
        self.done = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            await self.done.wait()
        await answer(send)
        if scope["path"] == "/linger":
            await self.done.wait()


async def test_a_refused_connection_ends_and_its_place_is_free(parser: str) -> None:
    """Connections count, whatever they do. The next one is served."""
    state = ServerState()
    async with (
        Connection(parser, LingeringApp(), state=state, limit_concurrency=2) as first,
        Connection(parser, LingeringApp(), state=state, limit_concurrency=2) as second,
    ):
        await first.feed(get() + get())
        [response] = first.responses()
        assert (response.status, response.headers[b"connection"]) == (503, b"close")
        assert first.closed
        await settle()
        assert len(state.connections) == 1
        await second.feed(get())
        assert [response.status for response in second.responses()] == [200]
        assert not second.closed


async def test_apps_that_still_run_count(parser: str) -> None:
    """So long as they do, also behind their answers."""
    app = LingeringApp()
    state = ServerState()
    async with Connection(parser, app, state=state, limit_concurrency=3) as connection:
        for _ in range(3):
            await connection.feed(get("/linger"))
        assert [response.status for response in connection.responses()] == [200, 200, 200]
        await connection.feed(get())
        assert [response.status for response in connection.responses()] == [503]
        assert connection.closed
        app.done.set()
        await settle()
        async with Connection(parser, app, state=state, limit_concurrency=3) as another:
            await another.feed(get())
            assert [response.status for response in another.responses()] == [200]


async def http2_connections(app: Any, count: int, limit: int) -> list[http2_client.Connection]:
    """So many on one worker."""
    state = ServerState()
    made = []
    for _ in range(count):
        connection = http2_client.Connection(app, limit_concurrency=limit)
        protocol = connection.protocol
        protocol.server_state = connection.state = state
        protocol.connections, protocol.tasks = state.connections, state.tasks
        made.append(await connection.__aenter__())
    return made


async def statuses(connection: http2_client.Connection, *paths: str) -> list[str]:
    """Of requests that are sent at once; '' where there is no answer yet."""
    streams = [connection.request([*http2_client.GET[:3], (":path", path)]) for path in paths]
    await connection.exchange()
    return [connection.answers[stream].status if stream in connection.answers else "" for stream in streams]


async def test_an_http2_connection_that_is_too_many_ends_with_its_streams(http2_wire: str) -> None:
    """Once those that it has are answered; its place is free then."""
    app = LingeringApp()
    first, second = await http2_connections(app, 2, 2)
    first.protocol.limit_concurrency = 3
    assert await statuses(first, "/wait") == [""]
    first.protocol.limit_concurrency = 2
    assert await statuses(first, "/") == ["503"]
    assert not first.transport.is_closing()
    app.done.set()
    await first.exchange()
    assert first.answers[1].status == "200"
    assert first.goaways
    assert first.transport.is_closing()
    first.protocol.connection_lost(None)
    assert await statuses(second, "/") == ["200"]
    assert not second.transport.is_closing()
    await second.__aexit__()


async def test_an_http2_connection_goes_on_where_there_is_room_again(http2_wire: str) -> None:
    """What counts is the latest request, as with HTTP/1.1: one that was served keeps the connection."""
    app = LingeringApp()
    first, second = await http2_connections(app, 2, 3)
    assert await statuses(first, "/wait") == [""]
    first.protocol.limit_concurrency = 2
    assert await statuses(first, "/") == ["503"]
    second.protocol.connection_lost(None)
    assert await statuses(first, "/") == ["200"]
    app.done.set()
    await first.exchange()
    assert first.answers[1].status == "200"
    assert not first.transport.is_closing()
    await first.__aexit__()


async def test_an_http2_connection_goes_on_where_requests_are_too_many(http2_wire: str) -> None:
    """It is none too many itself, and they end. Whether they come together or one by one."""
    app = LingeringApp()
    [connection] = await http2_connections(app, 1, 3)
    assert await statuses(connection, "/wait", "/wait", "/wait", "/", "/") == ["", "", "", "503", "503"]
    assert await statuses(connection, "/") == ["503"]
    assert not connection.goaways
    app.done.set()
    await connection.exchange()
    assert await statuses(connection, "/") == ["200"]
    assert not connection.transport.is_closing()
    await connection.__aexit__()
