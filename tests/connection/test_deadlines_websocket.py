"""WebSocket: clients that take nothing, or do not close, are not kept; apps have their time."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from pounce.connection.http1 import HTTP1Protocol
from pounce.connection.state import ServerState
from pounce.connection.websocket import WebSocketProtocol
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from tests.fakes import PROTOCOLS, Clock, FakeTransport, plain_config, settle
from tests.wire.ws_frames import close, handshake

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("ws", [WSProtocol, WebSocketsSansIOProtocol], ids=["wsproto", "websockets"]),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class SlowTransport(FakeTransport):
    """One that is gone when its client has taken everything, as a real one."""

    aborted = False

    def close(self) -> None:
        self.closed = True
        if not self.written and not self.lost:
            asyncio.get_running_loop().call_soon(self.lose)

    def take(self) -> bytes:
        data = super().take()
        if self.closed:
            self.close()
        return data

    def abort(self) -> None:
        self.aborted = self.closed = True
        if not self.lost:
            asyncio.get_running_loop().call_soon(self.lose)


class Connected:
    """A connection over HTTP/1.1 to an app of WebSockets."""

    def __init__(self, ws: type[WebSocketProtocol], app: Any, parser: str = "h11", **deadlines: float) -> None:
        config = plain_config(
            app,
            ws_protocol_class=ws,
            ws_max_size=2**20,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            ws_ping_timeout=None,
        )
        self.state = ServerState()
        self.state.sweeps_idle = True
        self.clock = Clock(self.state, **deadlines)
        self.transport = SlowTransport()
        self.transport.protocol = protocol = PROTOCOLS[parser](config, self.state, {})
        protocol.connection_made(self.transport)  # type: ignore[arg-type]

    async def feed(self, data: bytes) -> None:
        """Bytes of the client."""
        self.transport.feed(data)
        await settle()

    async def ended(self) -> None:
        """It has ended by itself, and nothing of it is kept."""
        await settle()
        self.clock.run(0.5)
        assert self.transport.lost
        assert (self.clock.held, self.state.connections, self.state.tasks) == (0, set(), set())


class App:
    """Accepts, sends messages of this size, closes; then waits for the end."""

    def __init__(self, *sizes: int, closes: bool = True) -> None:
        self.sizes = sizes
        self.closes = closes
        self.answers = asyncio.Event()
        self.answers.set()
        self.closing = asyncio.Event()
        self.disconnect: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await self.answers.wait()
        await send({"type": "websocket.accept"})
        try:
            for size in self.sizes:
                await send({"type": "websocket.send", "bytes": b"x" * size})
            if self.closes:
                await self.closing.wait()
                await send({"type": "websocket.close"})
        except OSError:
            pass
        while self.disconnect is None:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.disconnect = message


@pytest.mark.parametrize("parser", PROTOCOLS)
async def test_half_a_handshake(ws: Any, parser: str) -> None:
    """A head like any other."""
    connection = Connected(ws, App(), parser)
    await connection.feed(handshake()[:-2])
    connection.clock.run(31)
    assert connection.transport.closed
    assert connection.transport.take().startswith(b"HTTP/1.1 408 ")
    await connection.ended()


async def test_an_app_that_takes_its_time_to_answer(ws: Any) -> None:
    """The client owes nothing: not while its handshake is not answered, nor while nothing is sent."""
    app = App(closes=False)
    app.answers.clear()
    connection = Connected(ws, app, body=10, write=10)
    await connection.feed(handshake())
    assert isinstance(connection.transport.protocol, HTTP1Protocol) is False
    connection.clock.run(100)
    app.answers.set()
    await settle()
    assert connection.transport.take().startswith(b"HTTP/1.1 101 ")
    connection.clock.run(100)
    assert not connection.transport.closed
    await connection.feed(close(1000))
    connection.transport.take()
    await connection.ended()
    assert app.disconnect["code"] == 1000


async def test_messages_that_are_not_taken(ws: Any) -> None:
    """The connection is cut, and `send()` fails."""
    app = App(1000, 1000, 1000, closes=False)
    connection = Connected(ws, app, write=10)
    connection.transport.limit = 500
    await connection.feed(handshake())
    connection.clock.run(9)
    del connection.transport.written[:1]
    connection.clock.run(9)
    assert not connection.transport.closed
    connection.clock.run(2)
    assert connection.transport.aborted
    await connection.ended()
    assert app.disconnect["code"] == 1005


@pytest.mark.parametrize("takes", [True, False])
async def test_a_close_frame_that_is_not_answered(ws: Any, takes: bool) -> None:
    """After `close_timeout` the connection is closed; who does not even take what was sent is cut off, whatever the
    settings say.
    """
    app = App(1000)
    connection = Connected(ws, app, head=0)
    await connection.feed(handshake())
    protocol = connection.transport.protocol
    protocol.close_timeout = 0
    app.closing.set()
    await asyncio.sleep(0)
    if takes:
        connection.transport.take()
    await settle()
    assert connection.transport.closed
    if not takes:
        connection.clock.run(9)
        del connection.transport.written[:1]
        connection.clock.run(9)
        assert not connection.transport.aborted
        connection.clock.run(2)
        assert connection.transport.aborted
    await connection.ended()
    assert protocol.close_timer is None


async def test_a_refusal_that_is_not_taken(ws: Any) -> None:
    """It is what is left to say."""

    async def refuses(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})

    connection = Connected(ws, refuses)
    await connection.feed(handshake())
    assert connection.transport.closed
    connection.clock.run(11)
    assert connection.transport.aborted
    await connection.ended()


@pytest.mark.parametrize("end", ["lost", "reset", "closed by the client", "shut down", "failed", "late"])
async def test_nothing_is_kept_of_a_connection_that_ends(ws: Any, end: str) -> None:
    """Not longer than to the next pass, whichever way it ends: no debt, no object, no timer."""
    connection = Connected(ws, App(1000, 1000, closes=False), write=10)
    connection.transport.limit = 500
    await connection.feed(handshake())
    connection.clock.run(1)
    assert connection.clock.held == 1
    protocol = weakref.ref(connection.transport.protocol)
    match end:
        case "lost":
            connection.transport.lose()
        case "reset":
            connection.transport.lose(ConnectionResetError())
        case "closed by the client":
            await connection.feed(close(1000))
            connection.transport.take()
        case "shut down":
            connection.transport.protocol.shutdown()
            connection.clock.run(11)
        case "failed":
            await connection.feed(b"\xff\xff")
            connection.clock.run(11)
        case "late":
            connection.clock.run(11)
    await connection.ended()
    connection.transport.protocol = None
    gc.collect()  # it has a cycle of references with its library
    assert protocol() is None
