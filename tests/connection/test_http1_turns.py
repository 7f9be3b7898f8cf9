"""HTTP/1.1 clients that send heads and chunks without a pause: shares, turns, and what others wait meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pounce.connection.debts import Debt
from pounce.connection.input_turns import SMALL_READ
from pounce.connection.state import ServerState
from pounce.settings import Settings
from tests.fakes import Connection, answer, chunked, echo, get, read_body, settle

pytestmark = pytest.mark.anyio

#: What a client sends at once, of what costs it the least.
MANY = 3000

HEADS = get() * MANY
CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * MANY


class Slices:
    """How much a wire was fed at once."""

    def __init__(self, connection: Connection) -> None:
        self.sizes: list[int] = []
        self._feed: Callable[[bytes], bool] = connection.protocol.wire.feed  # type: ignore[union-attr]
        connection.protocol.wire = self  # type: ignore[union-attr, assignment]
        self._wire = self._feed.__self__  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def feed(self, data: bytes) -> bool:
        self.sizes.append(len(data))
        return self._feed(data)


@pytest.mark.parametrize("flood", [HEADS, CHUNKS], ids=["heads", "chunks"])
async def test_a_read_is_parsed_in_shares(parser: str, flood: bytes) -> None:
    """No part of it is long; none is lost, and reading is paused until all are parsed."""
    async with Connection(parser, echo) as connection:
        slices = Slices(connection)
        connection.transport.feed(flood)
        assert connection.transport.reading is False
        await connection.settle()
        if flood is CHUNKS:
            await connection.feed(b"0\r\n\r\n")
        expected = MANY if flood is HEADS else 1
        count = 0
        while count < expected:
            count += len(connection.responses())
            await settle()
        assert max(slices.sizes) < len(flood) / 20
        assert count == expected
        assert connection.transport.reading is True


@pytest.mark.parametrize("flood", [HEADS, CHUNKS], ids=["heads", "chunks"])
async def test_who_comes_behind_a_crowd_is_answered_soon(parser: str, flood: bytes) -> None:
    """Within a few turns of the loop, each of which is short."""
    state = ServerState()
    crowd = [Connection(parser, echo, state=state) for _ in range(20)]
    for connection in crowd:
        connection.transport.feed(flood)
    await settle(3)
    behind = Connection(parser, echo, state=state)
    behind.transport.feed(get("/me"))
    await settle(4)
    assert b"/me" in behind.take()
    assert all(connection.protocol.held for connection in crowd)  # type: ignore[union-attr]
    await leave(behind, *crowd)


async def leave(*connections: Connection) -> None:
    """They share a state, and so the apps that are waited for."""
    for connection in connections:
        connection.transport.lose()
    await connections[0].apps_done()


@pytest.mark.parametrize("size", [SMALL_READ, 5000])
async def test_a_large_read_begins_in_its_turn(parser: str, size: int) -> None:
    """While others wait it is kept as it came; a small one is not."""
    state = ServerState()
    first, second = Connection(parser, echo, state=state), Connection(parser, echo, state=state)
    first.transport.feed(CHUNKS)
    assert state.input_turns.are_awaited
    slices = Slices(second)
    second.transport.feed(HEADS[:size])
    assert slices.sizes == ([size] if size == SMALL_READ else [])
    await settle(3)
    assert slices.sizes
    await leave(first, second)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 7])
async def test_small_chunks_come_as_they_were_sent(parser: str, cut: int) -> None:
    """Of any size, among larger ones, and wherever the reads end; the next request is behind them."""
    parts = [bytes([65 + size % 26]) * (size % 19 or 300) for size in range(1, 400)]
    sent = chunked(*parts) + get("/next")
    async with Connection(parser, echo) as connection:
        step = cut * 97 or len(sent)
        for start in range(0, len(sent), step):
            await connection.feed(sent[start : start + step])
        first, second = connection.responses()
        assert first.body == b"/ " + b"".join(parts)
        assert second.body == b"/next "


async def test_a_chunk_that_is_none_behind_small_ones(parser: str) -> None:
    """It is refused, as if it were the first."""
    async with Connection(parser, read_body) as connection:
        await connection.feed(CHUNKS[: -6 * MANY + 600] + b"1\r\nxy\r\n" + get("/next"))
        assert connection.take().startswith(b"HTTP/1.1 400 ")
        assert connection.closed


@pytest.mark.parametrize("is_whole", [True, False], ids=["a request", "half a head"])
async def test_a_server_that_stops_looks_at_what_waits(parser: str, is_whole: bool) -> None:
    """What was read and not parsed may be a request: it is answered, as the last one; anything else ends."""
    state = ServerState()
    first, second = Connection(parser, echo, state=state), Connection(parser, echo, state=state)
    first.transport.feed(CHUNKS)
    head = get("/late", "x: " + "y" * 5000)
    second.transport.feed(head if is_whole else head[:-1])
    assert second.protocol.held  # type: ignore[union-attr]
    second.protocol.shutdown()
    assert not second.closed
    async with asyncio.timeout(10):
        while not second.closed:
            await asyncio.sleep(0)
    assert (b"/late" in second.take()) == is_whole
    await leave(first, second)


async def test_what_comes_behind_an_early_answer_is_counted_once(parser: str) -> None:
    """Shares of it that wait are no further bytes of what may be dropped."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)

    async with Connection(parser, app) as connection:
        whole = chunked(*[b"x"] * 100_000)
        for start in range(0, len(whole), 200_000):
            connection.transport.feed(whole[start : start + 200_000])
            await connection.settle()
        assert not connection.closed
        await connection.feed(get())
        assert [response.status for response in connection.responses()] == [200, 200]


async def test_a_slow_app_holds_the_chunks_back(parser: str) -> None:
    """Turns go by without it once so much waits for the app; when it takes that, they go on."""
    taken = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await taken.wait()
        await echo(scope, receive, send)

    async with Connection(parser, app) as connection:
        for _ in range(3):
            connection.transport.feed(chunked(*[b"x" * 100] * 2000)[:-5])
            await connection.settle()
            if not connection.transport.reading:
                break
        assert connection.transport.reading is False
        taken.set()
        await connection.settle()
        assert connection.transport.reading is True


@pytest.mark.parametrize("good", [get("/0") + get("/1") + get("/2"), chunked(*[b"x"] * 2000)], ids=["heads", "chunks"])
async def test_a_broken_request_behind_others_whose_client_is_done(parser: str, good: bytes) -> None:
    """Nothing more is read, so that its end, seen early, cannot take the answers with it."""
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await read_body(receive)
        await answer(send)

    async with Connection(parser, app) as connection:
        connection.transport.feed(good + b"BAD\x00 / x\r\n\r\n")
        await connection.settle()
        assert not connection.transport.reading or connection.protocol.eof_received()
        go.set()
        await connection.settle()
        expected = [200] * (3 if good.startswith(b"GET") else 1) + [400]
        assert [response.status for response in connection.responses()] == expected


async def test_an_upgrade_that_is_none_is_no_way_past_the_shares(parser: str) -> None:
    """What is behind it waits, until the wire knows, and has its turns then."""
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await go.wait()
        await echo(scope, receive, send)

    async with Connection(parser, app) as connection:
        await connection.feed(get("/slow"))
        slices = Slices(connection)
        connection.transport.feed(chunked(*[b"x"] * MANY, fields=("Upgrade: foo", "Connection: Upgrade")))
        connection.transport.feed(get("/last"))
        go.set()
        bodies: list[bytes] = []
        while len(bodies) < 3:
            await settle()
            bodies += [response.body for response in connection.responses()]
        assert max(slices.sizes) < 1000
        assert bodies == [b"/slow ", b"/ " + b"x" * MANY, b"/last "]


async def test_frames_behind_a_handshake_go_with_it(parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not looked at, too."""
    handed: list[bytes] = []

    class Recorder(asyncio.Protocol):
        def __init__(self, **named: Any) -> None: ...

        def data_received(self, data: bytes) -> None:
            handed.append(data)

    frames = b"a\nb\n" * 1000
    upgrade = get("/ws", "Connection: Upgrade", "Upgrade: websocket")
    settings = Settings.of({"parsing": {"rules": "uvicorn"}})
    connection = Connection(parser, echo, ws_protocol_class=Recorder, settings=settings)
    connection.transport.feed(get() * 38 + upgrade + frames)
    while not handed:
        await settle()
    assert b"".join(handed).endswith(frames)
    assert connection.take().count(b" 200 ") == 38
    connection.transport.lose()


async def test_nobody_owes_what_has_come(parser: str) -> None:
    """A client is not late with bytes that wait for their turn."""
    state = ServerState()
    first, second = Connection(parser, echo, state=state), Connection(parser, echo, state=state)
    first.transport.feed(CHUNKS)
    second.transport.feed(HEADS)
    assert second.protocol.held  # type: ignore[union-attr]
    limits = dict.fromkeys(Debt, 1.0)
    assert list(second.protocol.owed(limits)) == []  # type: ignore[union-attr, arg-type]
    await leave(first, second)
