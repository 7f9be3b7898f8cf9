"""However an app behaves, its WebSocket ends and the loop is everybody's: exceptions of any kind, calls in vain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pounce.connection.websocket import WebSocketProtocol
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from pounce.errors import ClientDisconnected
from tests.connection.http2_client import Connection as Http2Connection
from tests.connection.test_http2_websocket import Socket
from tests.connection.websocket_fakes import Connection, settle
from tests.fakes import FakeTransport
from tests.wire.ws_frames import close, handshake

pytestmark = pytest.mark.anyio

ProtocolClass = type[WebSocketProtocol]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[WSProtocol, WebSocketsSansIOProtocol])
def protocol_class(request: pytest.FixtureRequest) -> ProtocolClass:
    return request.param


class RaisingHandler(logging.Handler):
    """A handler with a bug."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("cannot log")


@pytest.fixture
def raising_handler() -> Iterator[None]:
    """The error log has a handler that raises."""
    logger, handler = logging.getLogger("uvicorn.error"), RaisingHandler(logging.ERROR)
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


class Unspeakable(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def in_a_circle() -> BaseException:
    """A group whose first member came out of handling it, as Starlette raises it."""
    group = ExceptionGroup("group", [ValueError("inner")])
    group.exceptions[0].__context__ = group
    return group.exceptions[0]


def deep() -> BaseException:
    """A group in a group, and so on."""
    exc: Exception = ValueError("inmost")
    for _ in range(600):
        exc = ExceptionGroup("group", [exc])
    return exc


FAILURES = {
    "an error": lambda: ValueError("x"),
    "a circle": in_a_circle,
    "groups in groups": deep,
    "no words": Unspeakable,
    "the end of a generator": GeneratorExit,
    "an exit": lambda: SystemExit(1),
    "an interrupt": KeyboardInterrupt,
    "a cancellation": asyncio.CancelledError,
}


@pytest.mark.parametrize("http", [1, 2])
@pytest.mark.parametrize("accepts", [False, True])
@pytest.mark.parametrize("failure", FAILURES)
async def test_whatever_the_app_raises(
    protocol_class: ProtocolClass, failure: str, accepts: bool, http: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets a 500 or, behind an accepted handshake, the end of the connection."""
    monkeypatch.setattr(logging, "raiseExceptions", False)  # of handlers that are shown an exception without words
    monkeypatch.setattr(asyncio.get_running_loop(), "call_exception_handler", lambda _: None)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if accepts:
            await send({"type": "websocket.accept"})
        raise FAILURES[failure]()

    await fails(app, protocol_class, http, accepts)


@pytest.mark.parametrize("http", [1, 2])
@pytest.mark.parametrize("accepts", [False, True])
@pytest.mark.parametrize("result", ["an error", "nothing", "something"])
async def test_whatever_the_log_raises(
    protocol_class: ProtocolClass,
    result: str,
    accepts: bool,
    http: int,
    raising_handler: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same where the log cannot take what is wrong."""
    monkeypatch.setattr(asyncio.get_running_loop(), "call_exception_handler", lambda _: None)

    async def app(scope: Any, receive: Any, send: Any) -> Any:
        if accepts:
            await send({"type": "websocket.accept"})
        if result == "an error":
            raise ValueError("x")
        return None if result == "nothing" else "x"

    await fails(app, protocol_class, http, accepts)


async def fails(app: Any, protocol_class: ProtocolClass, http: int, accepts: bool) -> None:
    if http == 1:
        async with Connection(protocol_class, app) as connection:
            answer = await connection.open()
            assert answer.startswith(b"HTTP/1.1 101 " if accepts else b"HTTP/1.1 500 ")
            assert connection.transport.closed
            assert not connection.state.tasks
            gc.collect()  # tasks whose exception nobody has asked for
            connection.lose()
    else:
        async with Http2Connection(app, ws_protocol_class=protocol_class) as connection2:
            socket = Socket(connection2)
            assert (await socket.opened()).status == ("200" if accepts else "500")
            await connection2.until(lambda: socket.answer.ended)
            gc.collect()


async def test_a_client_that_is_still_there_is_answered(protocol_class: ProtocolClass) -> None:
    """An app that gives up as if its client were gone leaves it no riddle."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ClientDisconnected

    async with Connection(protocol_class, app) as connection:
        assert (await connection.open()).startswith(b"HTTP/1.1 500 ")


async def test_an_exchange_that_is_thrown_away(protocol_class: ProtocolClass, caplog: pytest.LogCaptureFixture) -> None:
    """The end of the coroutine from outside, as with its loop, is no event: nothing is logged, written or awaited."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        [task] = connection.state.tasks
        caplog.clear()
        task.get_coro().close()  # type: ignore[union-attr]
        assert connection.take() == b""
        assert not connection.transport.closed
        connection.state.tasks.clear()
        task.cancel()
        with pytest.raises(RuntimeError, match="already awaited"):
            await task
    assert not caplog.records


# An app that only sends


class BrokenTransport(FakeTransport):
    """A transport whose client goes after some writes: it closes, and tells so in the loop's next turn."""

    def __init__(self, lives: int) -> None:
        super().__init__(tells_end=False)
        self.lives = lives
        self.late_writes = 0

    def write(self, data: bytes) -> None:
        if self.closed:
            self.late_writes += 1
            return
        super().write(data)
        self.lives -= 1
        if not self.lives:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, ConnectionResetError())

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))


class Flood:
    """An app that sends the same message for as long as it can, whatever happens to it."""

    def __init__(self, message: Any) -> None:
        self.message = message
        self.sent = 0
        self.failures: list[BaseException] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while True:
            try:
                await send(self.message)
                self.sent += 1
            except Exception as exc:
                self.failures.append(exc)


@pytest.mark.parametrize("size", [10, 65536])
async def test_an_app_that_ignores_the_end_of_its_client(protocol_class: ProtocolClass, size: int) -> None:
    """It hears of the end after a few messages, and fails more and more slowly until the server stops."""
    app = Flood({"type": "websocket.send", "bytes": bytes(size)})
    async with Connection(protocol_class, app) as connection:
        transport = BrokenTransport(lives=30)
        connection.protocol.transport = connection.transport = transport  # type: ignore[assignment]
        transport.protocol = connection.protocol
        connection.lost = True
        connection.feed(handshake())
        async with asyncio.timeout(10):
            while len(app.failures) < 10:
                await asyncio.sleep(0.01)
        assert transport.late_writes < 5  # as many in vain make asyncio log each
        assert {type(exc) for exc in app.failures} == {ClientDisconnected}
        before = len(app.failures)
        await asyncio.sleep(0.2)
        assert len(app.failures) - before <= 3
        connection.state.stopping = True
        await connection.app_done()


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.send"},
        {"type": "websocket.send", "bytes": b"x"},
        {"type": "websocket.send", "bytes": "no bytes"},
        {"type": "websocket.accept"},
        {"type": "websocket.close"},
        {},
    ],
    ids=str,
)
async def test_others_have_their_turn(protocol_class: ProtocolClass, message: Any) -> None:
    """Whether what it sends is right, wrong, or nothing, the loop goes on beside an app that only sends."""
    app = Flood(message)
    async with Connection(protocol_class, app) as connection:
        connection.feed(handshake())
        async with asyncio.timeout(10):
            for _ in range(10):
                await asyncio.sleep(0.001)
        assert app.sent or app.failures
        connection.state.stopping = True
        connection.protocol.shutdown()


async def test_others_have_their_turn_before_the_answer(protocol_class: ProtocolClass) -> None:
    """The same for an app that answers the handshake with what is no answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            with contextlib.suppress(RuntimeError):
                await send({"type": "websocket.send", "text": "too early"})

    async with Connection(protocol_class, app) as connection:
        connection.feed(handshake())
        async with asyncio.timeout(10):
            for _ in range(10):
                await asyncio.sleep(0.001)
        connection.state.stopping = True


async def test_others_have_their_turn_after_the_disconnect(protocol_class: ProtocolClass) -> None:
    """The same for one that asks and asks for messages when there will be no more; the server's stop ends it, too."""
    told = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal told
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            told += (await receive())["type"] == "websocket.disconnect"

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(close(1000))
        async with asyncio.timeout(10):
            while told < 9:
                await asyncio.sleep(0.001)
        before = told
        await asyncio.sleep(0.2)
        assert told - before <= 3
        connection.state.stopping = True


@pytest.mark.parametrize("how", ["reset", "lost"])
async def test_an_app_that_ignores_the_end_of_its_stream(protocol_class: ProtocolClass, how: str) -> None:
    """Over HTTP/2 it is the same, whether the stream ends or the connection does."""
    app = Flood({"type": "websocket.send", "bytes": bytes(1000)})
    async with Http2Connection(app, ws_protocol_class=protocol_class) as connection:
        socket = Socket(connection)
        await socket.opened()
        if how == "reset":
            connection.client.reset_stream(socket.stream_id)
            connection.transport.protocol.data_received(connection.client.data_to_send())
        else:
            connection.protocol.connection_lost(ConnectionResetError())
        async with asyncio.timeout(10):
            while len(app.failures) < 10:
                await asyncio.sleep(0.01)
        before = len(app.failures)
        await asyncio.sleep(0.2)
        assert len(app.failures) - before <= 3
        connection.state.stopping = True
        await settle()


async def test_a_shutdown_behind_the_end(protocol_class: ProtocolClass) -> None:
    """The app has ended, and what it sent is not taken yet: nothing is written behind the end of the transport."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})

    async with Connection(protocol_class, app) as connection:
        assert (await connection.open()).startswith(b"HTTP/1.1 101")
        assert connection.transport.closed
        connection.protocol.shutdown()
        assert connection.take() == b""
