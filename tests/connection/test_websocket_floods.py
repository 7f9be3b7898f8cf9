"""What a WebSocket client can send cheaply keeps neither the loop nor memory: it is parsed in turns, in its order."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from typing import Any

import pytest

from pounce.connection import input_turns
from pounce.connection.websocket import WebSocketProtocol
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from tests.connection.websocket_fakes import Connection, settle
from tests.wire.ws_frames import BINARY, CONT, DEFLATE, PING, TEXT, close, deflated, frame, handshake

pytestmark = pytest.mark.anyio

ProtocolClass = type[WebSocketProtocol]

#: The most frames that are parsed in one turn.
SHARE = 128


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[WSProtocol, WebSocketsSansIOProtocol])
def protocol_class(request: pytest.FixtureRequest) -> ProtocolClass:
    return request.param


@pytest.fixture(autouse=True)
def one_share_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast the machine is."""
    monkeypatch.setattr(input_turns, "LONGEST_TURN", 0.0)


class Taker:
    """An app that takes what comes, once `go` is set, and notes it, or its sizes; it closes when it gets `close`."""

    def __init__(self, *, sizes: bool = False) -> None:
        self.go = asyncio.Event()
        self.sizes = sizes
        self.received: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await self.go.wait()
            message = await receive()
            if self.sizes and message["type"] == "websocket.receive":
                message["bytes"] = len(message["bytes"])
            self.received.append(message)
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") == b"close":
                await send({"type": "websocket.close", "code": 3001})

    @property
    def messages(self) -> list[Any]:
        return [message.get("bytes", message.get("text")) for message in self.received]


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
async def test_pings_are_answered_in_turns(protocol_class: ProtocolClass, deflate: bool) -> None:
    """No turn of the loop answers more than a share of them; nothing is read meanwhile; all are answered in order."""
    payloads = numbered(1000)
    app = Taker()
    app.go.set()
    async with Connection(protocol_class, app, ws_per_message_deflate=deflate) as connection:
        await connection.open(DEFLATE)
        connection.feed(b"".join(frame(PING, payload) for payload in payloads))
        answered, turns = connection.frames(), 1
        assert len(answered) <= SHARE
        while len(answered) < 1000:
            assert not connection.transport.reading
            await asyncio.sleep(0)
            new = connection.frames()
            assert len(new) <= SHARE
            answered += new
            turns += 1
        assert answered == [(0x8A, payload) for payload in payloads]
        assert turns >= 1000 / SHARE
        await settle()
        assert connection.transport.reading


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_empty_messages_reach_the_app_in_turns(protocol_class: ProtocolClass, opcode: int) -> None:
    """An app that takes each is given a share at a time."""
    app = Taker()
    app.go.set()
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(opcode) * 1000)
        before = 0
        while len(app.received) < 1000:
            await asyncio.sleep(0)
            assert len(app.received) - before <= SHARE
            assert len(connection.protocol.cycle.queue) <= SHARE
            before = len(app.received)
        await settle()
        assert connection.transport.reading


async def test_tiny_fragments_are_joined_in_turns(protocol_class: ProtocolClass) -> None:
    """Each costs the library's work, so there are fewer in a turn; the message is whole."""
    app = Taker()
    app.go.set()
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(BINARY, b"<", fin=False) + frame(CONT, b"x", fin=False) * 1000 + frame(CONT, b">"))
        seen = [len(connection.protocol.wire.message)]
        while not app.received:
            await asyncio.sleep(0)
            seen.append(len(connection.protocol.wire.message))
        assert max(after - before for before, after in itertools.pairwise(seen)) <= SHARE / 4
        assert app.messages == [b"<" + b"x" * 1000 + b">"]


async def test_an_app_that_does_not_receive_is_not_flooded(protocol_class: ProtocolClass) -> None:
    """A share is kept for it at most; the rest stays as it came, and follows in its order as the app takes it."""
    app = Taker()
    payloads = numbered(1000)
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(b"".join(frame(BINARY, payload) for payload in payloads))
        await settle()
        assert len(connection.protocol.cycle.queue) <= SHARE
        assert not connection.transport.reading
        app.go.set()
        async with asyncio.timeout(5):
            while len(app.received) < 1000:
                await asyncio.sleep(0)
        assert app.messages == payloads
        await settle()
        assert connection.transport.reading


@pytest.mark.parametrize("takes", [True, False])
async def test_what_was_inflated_counts(protocol_class: ProtocolClass, takes: bool) -> None:
    """Of 20 messages of a megabyte from 20 KB, one waits for the app, whether it takes them or not."""
    app = Taker(sizes=True)
    if takes:
        app.go.set()
    size = 1_000_000
    message = frame(BINARY, deflated(bytes(size)), rsv=4)
    async with Connection(protocol_class, app, ws_max_size=size, ws_per_message_deflate=True) as connection:
        await connection.open(DEFLATE)
        tracemalloc.start()
        try:
            connection.feed(message * 20)
            for _ in range(50):
                await asyncio.sleep(0)
                assert len(connection.protocol.cycle.queue) <= 1
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 6 * size  # of one or two, in the making
        app.go.set()
        async with asyncio.timeout(5):
            while len(app.received) < 20:
                await asyncio.sleep(0)
        assert app.messages == [size] * 20


async def test_a_large_message_leaves_the_next_ones_for_later(protocol_class: ProtocolClass) -> None:
    """A kilobyte of a message counts like a small frame."""
    app = Taker()
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(BINARY, b"x" * 200_000) + frame(BINARY, b"y") * 3)
        assert len(connection.protocol.cycle.queue) == 1
        app.go.set()
        await settle()
        assert app.messages == [b"x" * 200_000, b"y", b"y", b"y"]


async def test_a_close_frame_behind_many_messages(protocol_class: ProtocolClass) -> None:
    """The app gets all of them, and then the client's code; the answer leaves behind the pongs."""
    app = Taker()
    app.go.set()
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(BINARY, b"x") * 300 + frame(PING, b"last") + close(3000, b"bye") + frame(BINARY, b"no"))
        await connection.app_done()
        assert app.messages == [b"x"] * 300 + [None]
        assert app.received[-1] == {"type": "websocket.disconnect", "code": 3000, "reason": "bye"}
        assert connection.frames() == [(0x8A, b"last"), (0x88, b"\x0b\xb8bye")]
        assert connection.transport.closed


async def test_the_app_closes_in_the_middle(protocol_class: ProtocolClass) -> None:
    """Nothing more is handed to it, and the client's answer, behind all that it has sent, is still seen."""
    app = Taker()
    app.go.set()
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(BINARY, b"close") + frame(BINARY, b"x") * 1000 + close(3001))
        await settle(30)
        assert connection.frames() == [(0x88, b"\x0b\xb9")]
        assert connection.protocol.close_timer is None
        assert connection.transport.closed


@pytest.mark.parametrize("how", ["lost", "shutdown"])
async def test_an_end_in_the_middle(protocol_class: ProtocolClass, how: str) -> None:
    """Of what was not parsed yet nothing is told, answered or kept."""
    app = Taker()
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(BINARY, b"x") + frame(PING) * 1000)
        connection.take()
        if how == "lost":
            connection.lose(ConnectionResetError())
        else:
            connection.protocol.shutdown()
        app.go.set()
        await settle()
        assert app.messages == [b"x", None]
        assert connection.frames() == ([] if how == "lost" else [(0x88, b"\x03\xf4")])
        assert not connection.protocol.wire.has_more


async def test_what_comes_although_reading_is_paused(protocol_class: ProtocolClass) -> None:
    """A transport may have read more already: it is kept behind the rest, wherever it was cut."""
    app = Taker()
    payloads = numbered(600)
    data = b"".join(frame(BINARY, payload) for payload in payloads)
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        for at in range(0, len(data), 1500):
            connection.protocol.data_received(data[at : at + 1500])
        app.go.set()
        async with asyncio.timeout(5):
            while len(app.received) < 600:
                await asyncio.sleep(0)
        assert app.messages == payloads


async def test_much_before_the_handshake_is_answered(protocol_class: ProtocolClass) -> None:
    """What was held back until then is parsed in turns as well."""
    app = Taker()
    app.go.set()
    async with Connection(protocol_class, app) as connection:
        connection.feed(handshake() + frame(BINARY, b"x") * 500)
        await settle(30)
        assert app.messages == [b"x"] * 500
