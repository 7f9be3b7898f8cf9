"""Nothing is left of a request or a connection once it is over, without the garbage collector's help."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.fakes import Connection, answer, chunked, echo, get, post, settle

pytestmark = pytest.mark.anyio

WATCHED = ("pounce.", "h11.", "httptools.", "zttp.")

#: One for each worker, not for each connection.
NOT_WATCHED = (
    "pounce.connection.state.ServerState",
    "pounce.connection.input_turns.InputTurns",
    "pounce.logs.Refusals",
    "pounce.connection.state.LoopTraits",
    "pounce.wire.header_cache.HeaderCache",
    "pounce.wire.strictness.Rules",
)


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # kept records hold tracebacks, and those hold everything
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


def living() -> Counter[str]:
    """How many objects of the server's and the parsers' classes there are, and tasks, events and timers."""
    found: Counter[type] = Counter(map(type, gc.get_objects()))
    counts: Counter[str] = Counter()
    for kind, count in found.items():
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name.startswith(WATCHED) or issubclass(kind, asyncio.Task | asyncio.Event):
            counts[name] += count
    for name in NOT_WATCHED:
        del counts[name]
    return counts


async def waits_for_the_end(scope: Any, receive: Any, send: Any) -> None:
    """Answers nothing until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def is_broken(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError


class FakeWebSocket(asyncio.Protocol):
    def __init__(self, **kwargs: Any) -> None:
        pass


UPGRADE = get("/ws", "Connection: Upgrade", "Upgrade: websocket")


async def _talk(connection: Connection, *parts: bytes) -> None:
    for part in parts:
        connection.transport.feed(part)
        await settle(3)


CASES: dict[str, tuple[Any, Callable[[Connection], Awaitable[None]]]] = {
    "requests": (echo, lambda c: _talk(c, get(), get() + post(b"hello") + chunked(b"a", b"b"), get())),
    "early answers": (None, lambda c: _talk(c, post(b"hello")[:-2], b"lo" + get())),
    "nothing": (echo, lambda c: _talk(c)),
    "half a head": (echo, lambda c: _talk(c, b"GET / HT", b"TP/1.1\r\nHost: a\r\nX: ")),
    "half a body": (echo, lambda c: _talk(c, post(b"hello")[:-2])),
    "waiting apps": (waits_for_the_end, lambda c: _talk(c, get() + get() + get())),
    "broken requests": (echo, lambda c: _talk(c, get() + b"nonsense\r\n\r\n")),
    "broken bodies": (echo, lambda c: _talk(c, chunked(b"abc")[:-8], b"zz\r\n")),
    "broken apps": (is_broken, lambda c: _talk(c, get() + get())),
    "upgrades": (echo, lambda c: _talk(c, get() + UPGRADE + b"\x81\x01a")),
    "ignored upgrades": (echo, lambda c: _talk(c, post(b"hello", "/", "Connection: Upgrade", "Upgrade: h2c") + get())),
}


async def _early(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_leaves_nothing(parser: str, case: str, reset: bool, loop: Any) -> None:
    """Fifty connections of each kind, ended by either side or reset, leave no object behind."""
    app, talk = CASES[case]

    async def connect() -> None:
        connection = Connection(parser, app or _early, loop=loop, ws_protocol_class=FakeWebSocket)
        await talk(connection)
        if connection.transport.protocol is connection.protocol:
            connection.transport.lose(ConnectionResetError() if reset else None)
        await settle(5)
        connection.transport.protocol = None
        assert not connection.state.connections
        assert not connection.state.tasks

    await connect()
    before = living()
    for _ in range(50):
        await connect()
    left = living() - before
    assert not left, left


async def test_a_request_leaves_nothing(parser: str, loop: Any) -> None:
    """A thousand requests on one connection leave as much as the first did."""
    async with Connection(parser, echo, loop=loop) as connection:
        raw = get("/a") + post(b"hello", "/b")
        for _ in range(3):
            await connection.feed(raw)
        before = living()
        for _ in range(500):
            connection.transport.feed(raw)
            await settle(6)
        await settle()
        left = living() - before
        assert not left, left
        assert connection.state.total_requests == 1006
