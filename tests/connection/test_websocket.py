"""The WebSocket connection over both wires: handshake, messages, flow control, closing."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pounce.connection.ping import Keepalive
from pounce.connection.websocket import WebSocketProtocol
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from pounce.errors import ClientDisconnected
from tests.connection.websocket_fakes import Connection, settle
from tests.fakes import StandingLoop
from tests.wire.ws_frames import (
    BINARY,
    CLOSE,
    CONT,
    DEFLATE,
    PING,
    PONG,
    TEXT,
    close,
    deflated,
    frame,
    handshake,
    server_frames,
)

pytestmark = pytest.mark.anyio

ProtocolClass = type[WebSocketProtocol]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[WSProtocol, WebSocketsSansIOProtocol])
def protocol_class(request: pytest.FixtureRequest) -> ProtocolClass:
    return request.param


@pytest.fixture(autouse=True)
def logger_as_it_was() -> Iterator[None]:
    """The connection's logger at INFO, reaching caplog whatever other tests configured."""
    names = ("uvicorn", "uvicorn.error")
    before = [(logging.getLogger(name).level, logging.getLogger(name).propagate) for name in names]
    for name in names:
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.INFO)
    yield
    for name, (level, propagate) in zip(names, before, strict=True):
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).propagate = propagate


class Script:
    """An app that accepts, notes what it receives until the disconnect, and echoes where asked to."""

    def __init__(self, echo: bool = False) -> None:
        self.echo = echo
        self.received: list[dict[str, Any]] = []
        self.scope: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            self.received.append(message)
            if message["type"] == "websocket.disconnect":
                return
            if self.echo:
                await send({**message, "type": "websocket.send"})


async def closes(scope: Any, receive: Any, send: Any) -> None:
    """An app that accepts and closes."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 4001, "reason": "enough"})


# Handshake


async def test_scope(protocol_class: ProtocolClass) -> None:
    """The scope holds what the handshake said, decoded as ASGI asks."""
    app = Script()
    async with Connection(protocol_class, app, root_path="/root") as connection:
        connection.feed(handshake(b"Sec-WebSocket-Protocol: a, b", b"X-Name: v\xe9", target=b"/p%2Fq%20r?x=%20y"))
        await settle()
        scope = dict(app.scope)
        headers = scope.pop("headers")
        assert scope == {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.2", 9000),
            "root_path": "/root",
            "path": "/root/p/q r",
            "raw_path": b"/root/p%2Fq%20r",
            "query_string": b"x=%20y",
            "subprotocols": ["a", "b"],
            "state": {"seen": 1},
            "extensions": {"websocket.http.response": {}},
        }
        assert scope["state"] is not connection.app_state
        assert (b"host", b"example.org") in headers
        assert (b"x-name", b"v\xe9") in headers
        assert connection.protocol.scope is app.scope


async def test_accept_is_logged(protocol_class: ProtocolClass, caplog: pytest.LogCaptureFixture) -> None:
    """An accepted handshake leaves uvicorn's line on `uvicorn.error`."""
    async with Connection(protocol_class, Script()) as connection:
        connection.feed(handshake(target=b"/chat room?a=b".replace(b" ", b"%20")))
        await settle()
    assert ("uvicorn.error", logging.INFO, '127.0.0.2:9000 - "WebSocket /chat%20room?a=b" [accepted]') in (
        caplog.record_tuples
    )


async def test_accept_with_subprotocol_and_headers(protocol_class: ProtocolClass) -> None:
    """The app's choice of subprotocol and its headers are in the 101, after the server's default headers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [[b"x-app", b"1"]]})
        await receive()

    async with Connection(protocol_class, app) as connection:
        response = (await connection.open(b"Sec-WebSocket-Protocol: a, b")).lower()
        assert b"sec-websocket-protocol: b\r\n" in response
        assert response.index(b"server: pounce\r\n") < response.index(b"x-app: 1\r\n")


async def test_refusal_of_a_bad_handshake(protocol_class: ProtocolClass) -> None:
    """A broken handshake is answered and closed without the app."""
    app = Script()
    async with Connection(protocol_class, app) as connection:
        response = await connection.open(b"Sec-WebSocket-Protocol: \xff")
        assert response.startswith(b"HTTP/1.1 400 ")
        assert connection.transport.closed
        connection.feed(b"anything")
    assert app.scope == {}
    assert not connection.state.connections


async def test_frames_behind_the_request(protocol_class: ProtocolClass) -> None:
    """Frames in the segment of the request reach the app, and no byte is written before the 101."""
    app = Script(echo=True)
    async with Connection(protocol_class, app) as connection:
        connection.feed(handshake() + frame(PING, b"p") + frame(TEXT, b"early"))
        await settle()
        head, _, rest = connection.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert rest == b"\x8a\x01p" + b"\x81\x05early"


async def test_compressed_frames_behind_the_request(protocol_class: ProtocolClass) -> None:
    """They are read after the answer, with the extensions that are agreed on in it."""
    app = Script()
    async with Connection(protocol_class, app, ws_per_message_deflate=True) as connection:
        connection.feed(handshake(DEFLATE) + frame(TEXT, deflated(b"packed"), rsv=4))
        connection.feed(frame(TEXT, b"plain"))
        await settle()
        assert [message["text"] for message in app.received] == ["packed", "plain"]


@pytest.mark.parametrize("size", [1, 30, 1000])
async def test_a_request_in_bytes(protocol_class: ProtocolClass, size: int) -> None:
    """An HTTP class of the user's own hands the request over as bytes, as uvicorn's do; frames may be behind it."""
    app = Script(echo=True)
    async with Connection(protocol_class, app) as connection:
        data = handshake(b"Sec-WebSocket-Protocol: a, b", target=b"/chat?x=y") + frame(TEXT, b"early")
        for at in range(0, len(data), size):
            connection.protocol.data_received(data[at : at + size])
        await settle()
        assert (app.scope["path"], app.scope["query_string"], app.scope["subprotocols"]) == (
            "/chat",
            b"x=y",
            ["a", "b"],
        )
        head, _, rest = connection.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert rest == b"\x81\x05early"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00 \r\n\r\n",
        handshake(b"Content-Length: 5") + b"hello",
        handshake(target=b"/\xff"),
    ],
    ids=["tls", "body", "target"],
)
async def test_a_request_that_is_none(protocol_class: ProtocolClass, data: bytes) -> None:
    """It is answered with 400, and nothing behind it is read."""
    async with Connection(protocol_class, Script()) as connection:
        connection.protocol.data_received(data)
        assert connection.take().startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert connection.transport.closed
        connection.protocol.data_received(frame(TEXT, b"x"))
        assert not connection.state.tasks


async def test_much_data_before_the_answer_pauses_reading(protocol_class: ProtocolClass) -> None:
    """A client that sends on without waiting for the 101 is held back, and goes on after it."""
    accept = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await accept.wait()
        await send({"type": "websocket.accept"})
        assert len((await receive())["bytes"]) == 100_000
        await receive()

    async with Connection(protocol_class, app) as connection:
        connection.feed(handshake())
        connection.feed(frame(BINARY, bytes(100_000)))
        await settle()
        assert not connection.transport.reading
        accept.set()
        await settle()
        assert connection.transport.reading


@pytest.mark.parametrize("reset", [True, False])
async def test_contextvars(protocol_class: ProtocolClass, reset: bool) -> None:
    """`reset_contextvars` gives the app an empty context; without it the server's shows through."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get())

    variable.set("of the server")
    async with Connection(protocol_class, app, reset_contextvars=reset) as connection:
        await connection.open()
    assert seen == ["unset" if reset else "of the server"]


# Refusal


async def test_close_before_accept_is_403(protocol_class: ProtocolClass, caplog: pytest.LogCaptureFixture) -> None:
    """`websocket.close` instead of accept is a logged 403; the app then sees a disconnect with 1006, each time."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})
        seen.extend([await receive(), await receive()])
        with pytest.raises(RuntimeError, match=r"Unexpected ASGI message 'websocket.send'"):
            await send({"type": "websocket.send", "text": "x"})

    async with Connection(protocol_class, app) as connection:
        assert (await connection.open()).startswith(b"HTTP/1.1 403 ")
        assert connection.transport.closed
        await connection.app_done()
    assert seen == [{"type": "websocket.disconnect", "code": 1006}] * 2
    assert '127.0.0.2:9000 - "WebSocket /" 403' in caplog.messages
    assert "Exception in ASGI application\n" not in caplog.messages


async def test_denial_response(protocol_class: ProtocolClass, caplog: pytest.LogCaptureFixture) -> None:
    """`websocket.http.response` is sent as given, body in parts."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [[b"content-length", b"6"], [b"content-type", b"text/x"]]
        await send({"type": "websocket.http.response.start", "status": 402, "headers": headers})
        with pytest.raises(RuntimeError, match=r"'websocket.http.response.body' but got 'websocket.accept'"):
            await send({"type": "websocket.accept"})
        await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"way"})
        seen.append(await receive())

    async with Connection(protocol_class, app) as connection:
        response = await connection.open()
        assert response.startswith(b"HTTP/1.1 402 ")
        assert response.lower().count(b"content-length: 6\r\n") == 1
        assert response.endswith(b"\r\n\r\nno way")
        assert connection.transport.closed
    assert seen == [{"type": "websocket.disconnect", "code": 1006}]
    assert '127.0.0.2:9000 - "WebSocket /" 402' in caplog.messages


async def test_denial_without_headers_or_body(protocol_class: ProtocolClass) -> None:
    """`headers` and `body` are optional in the ASGI specification."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 404})
        await send({"type": "websocket.http.response.body"})

    async with Connection(protocol_class, app) as connection:
        assert (await connection.open()).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.send", "text": "x"},
        {"type": "websocket.http.response.start", "status": 700},
        {"type": "websocket.http.response.body", "body": b""},
    ],
    ids=lambda message: message["type"],
)
async def test_wrong_first_message_is_a_500(protocol_class: ProtocolClass, message: dict[str, Any]) -> None:
    """What may not come first raises in the app; the client gets a 500."""
    errors = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(message)
        except RuntimeError as exc:
            errors.append(str(exc))
            raise

    async with Connection(protocol_class, app) as connection:
        response = await connection.open()
        assert response.startswith(b"HTTP/1.1 500 ")
        assert response.endswith(b"Internal Server Error")
        assert connection.transport.closed
    assert errors[0].startswith(("Expected ASGI message 'websocket.accept'", "Invalid HTTP status code '700'"))


async def test_app_that_returns_early(protocol_class: ProtocolClass, caplog: pytest.LogCaptureFixture) -> None:
    """An app that ends without an answer is logged, and the client gets a 500."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    async with Connection(protocol_class, app) as connection:
        assert (await connection.open()).startswith(b"HTTP/1.1 500 ")
    assert "ASGI callable returned without completing handshake." in caplog.messages


# Messages


async def test_echo(protocol_class: ProtocolClass) -> None:
    """Text and bytes go both ways, whole or in fragments."""
    app = Script(echo=True)
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(TEXT, "hé".encode()))
        await settle()
        connection.feed(frame(BINARY, b"\x00", fin=False) + frame(CONT, b"\xff"))
        await settle()
        assert connection.frames() == [(0x81, "hé".encode()), (0x82, b"\x00\xff")]
        assert app.received == [
            {"type": "websocket.receive", "text": "hé"},
            {"type": "websocket.receive", "bytes": b"\x00\xff"},
        ]


async def test_deflate(protocol_class: ProtocolClass) -> None:
    """With `ws_per_message_deflate` an offer is taken up, both ways."""
    app = Script(echo=True)
    async with Connection(protocol_class, app, ws_per_message_deflate=True) as connection:
        assert b"permessage-deflate" in await connection.open(DEFLATE)
        connection.feed(frame(TEXT, deflated(b"again " * 100), rsv=4))
        await settle()
        assert app.received == [{"type": "websocket.receive", "text": "again " * 100}]
        [(first, payload)] = connection.frames()
        assert first == 0xC1
        assert len(payload) < 100


@pytest.mark.parametrize("vectors", [True, False])
async def test_large_messages_are_not_copied(
    protocol_class: ProtocolClass, vectors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the transport takes vectors, a large message is written behind its header and not joined to it."""
    monkeypatch.setattr("pounce.connection.websocket.can_write_vectors", lambda _loop: vectors)
    data, text = bytes(70_000), "ä" * 20_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": data})
        await send({"type": "websocket.send", "text": text})
        await send({"type": "websocket.send", "bytes": b"small"})
        await receive()

    async with Connection(protocol_class, app) as connection:
        output = await connection.open()
        assert server_frames(output.partition(b"\r\n\r\n")[2]) == [
            (0x82, data),
            (0x81, text.encode()),
            (0x82, b"small"),
        ]
        assert [pieces[1] is data for pieces in connection.transport.vectors] == [True, False] * vectors


async def test_large_buffer_may_change_after_send(
    protocol_class: ProtocolClass, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the app does to its buffer after `send()` does not change what is sent."""
    monkeypatch.setattr("pounce.connection.websocket.can_write_vectors", lambda _loop: True)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["bytes"] == b"go"
        for buffer in (bytearray(20_000), memoryview(bytearray(20_000))):
            await send({"type": "websocket.send", "bytes": buffer})
            buffer[:] = b"x" * 20_000
        await receive()

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(BINARY, b"go"))
        await settle()
        assert connection.frames() == [(0x82, bytes(20_000))] * 2


async def test_waiting_app_costs_no_pause(protocol_class: ProtocolClass) -> None:
    """An app that waits in `receive()` gets its messages without the transport being paused, even several at once."""
    async with Connection(protocol_class, Script(echo=True)) as connection:
        await connection.open()
        for _ in range(3):
            connection.feed(frame(TEXT, b"x") * 5)
            await settle()
        assert connection.frames() == [(0x81, b"x")] * 15
        assert connection.transport.pauses == 0


async def test_unread_message_pauses_reading(protocol_class: ProtocolClass) -> None:
    """One message that nobody waits for stops the reading, until the app has taken all that is queued."""
    go = asyncio.Event()
    received = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while len(received) < 3:
            await go.wait()
            go.clear()
            received.append((await receive())["text"])
        await receive()

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(TEXT, b"1", fin=False))
        assert connection.transport.reading
        connection.feed(frame(CONT, b"") + frame(TEXT, b"2"))
        assert not connection.transport.reading
        go.set()
        await settle()
        assert not connection.transport.reading
        go.set()
        await settle()
        assert received == ["1", "2"]
        assert connection.transport.reading
        connection.feed(frame(TEXT, b"3"))
        assert not connection.transport.reading
        go.set()


async def test_busy_app_is_paused_on_the_second_read(protocol_class: ProtocolClass) -> None:
    """An app that was woken but does not come back for more is overtaken by one read at most."""
    busy = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await busy.wait()

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(TEXT, b"1") + frame(TEXT, b"2"))
        await settle()
        assert connection.transport.reading
        connection.feed(frame(TEXT, b"3"))
        assert not connection.transport.reading
        busy.set()


async def test_app_that_never_receives_is_still_kept_alive(protocol_class: ProtocolClass) -> None:
    """Control frames do not pause the reading of an app that only sends."""
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await done.wait()

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(PING, b"1"))
        connection.feed(frame(PONG, b"2"))
        assert connection.frames() == [(0x8A, b"1")]
        assert connection.transport.reading
        done.set()


async def test_cancelled_receive_loses_nothing(protocol_class: ProtocolClass) -> None:
    """A `receive()` that is cancelled just as its message comes in leaves the message for the next one."""
    received = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        connection.feed(frame(TEXT, b"kept"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(3):
            task = asyncio.ensure_future(receive())
            received.append(await task)

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.lose()
        await connection.app_done()
    assert received == [
        {"type": "websocket.receive", "text": "kept"},
        *[{"type": "websocket.disconnect", "code": 1005}] * 2,
    ]


async def test_cancelled_receivers_are_forgotten(protocol_class: ProtocolClass) -> None:
    """Polling `receive()` with a timeout leaves nothing behind, and the message goes to the one that still waits."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receive(), 0.001)
        first, second = asyncio.ensure_future(receive()), asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        cycle = connection.protocol.cycle
        assert cycle is not None
        assert len(cycle._waiters) == 2
        connection.feed(frame(TEXT, b"first"))
        first.cancel()
        assert (await second)["text"] == "first"

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        await connection.app_done()
        assert connection.frames() == []
        assert connection.transport.closed


async def test_two_receivers_both_hear_of_the_end(protocol_class: ProtocolClass) -> None:
    """Every `receive()` that waits when the connection is lost returns the disconnect."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        seen.extend(await asyncio.gather(receive(), receive()))

    async with Connection(protocol_class, app) as connection:
        await connection.open()
    assert seen == [{"type": "websocket.disconnect", "code": 1005}] * 2


# Backpressure


async def test_send_waits_for_the_write_buffer(protocol_class: ProtocolClass) -> None:
    """`send()` blocks while the transport is full, and each sender goes on when it has room."""
    sent = []
    start = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def one(text: str) -> None:
            await send({"type": "websocket.send", "text": text})
            sent.append(text)

        await send({"type": "websocket.accept"})
        await start.wait()
        await asyncio.gather(one("a"), one("b"))

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.protocol.pause_writing()
        start.set()
        await settle()
        assert sent == []
        assert connection.take() == b""
        connection.protocol.resume_writing()
        await settle()
        assert sorted(sent) == ["a", "b"]
        assert len(connection.frames()) == 2


async def test_lost_connection_releases_a_blocked_send(protocol_class: ProtocolClass) -> None:
    """A `send()` that waits for room raises ClientDisconnected, an OSError, when the connection is lost."""
    start = asyncio.Event()
    errors: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await start.wait()
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError as exc:
            errors.append(exc)
            raise

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.protocol.pause_writing()
        start.set()
        await settle()
        connection.lose(ConnectionResetError())
        await connection.app_done()
    assert [type(exc) for exc in errors] == [ClientDisconnected]


async def test_pings_of_a_peer_that_does_not_read(protocol_class: ProtocolClass) -> None:
    """While the transport is full, a flood of pings is answered by its last pong only."""
    async with Connection(protocol_class, Script()) as connection:
        await connection.open()
        connection.feed(frame(PING, b"1") + frame(PING, b"2"))
        assert connection.frames() == [(0x8A, b"1"), (0x8A, b"2")]
        connection.protocol.pause_writing()
        for i in range(3, 100):
            connection.feed(frame(PING, b"%d" % i) * 5)
        assert connection.take() == b""
        connection.protocol.resume_writing()
        assert connection.frames() == [(0x8A, b"99")]


# Closing


async def test_peer_closes(protocol_class: ProtocolClass) -> None:
    """The peer's close is echoed after the pongs it is owed; the app gets what came before it, then its code."""
    app = Script()
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(TEXT, b"last") + frame(PING, b"p") + close(1001, b"going") + frame(TEXT, b"too late"))
        assert connection.frames() == [(0x8A, b"p"), (0x80 | CLOSE, b"\x03\xe9going")]
        assert connection.transport.closed
        connection.feed(frame(PONG))
        await connection.app_done()
    assert app.received == [
        {"type": "websocket.receive", "text": "last"},
        {"type": "websocket.disconnect", "code": 1001, "reason": "going"},
    ]


async def test_peer_closes_without_a_code(protocol_class: ProtocolClass) -> None:
    """An empty close frame is 1005 for the app, and an empty frame in reply."""
    app = Script()
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(CLOSE))
        assert connection.frames() == [(0x80 | CLOSE, b"")]
        await connection.app_done()
    assert app.received == [{"type": "websocket.disconnect", "code": 1005, "reason": ""}]


async def test_lost_connection(protocol_class: ProtocolClass) -> None:
    """A connection that ends without a close frame is 1005 for the app."""
    app = Script()
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.lose(ConnectionResetError())
        await connection.app_done()
    assert app.received == [{"type": "websocket.disconnect", "code": 1005}]
    assert not connection.state.connections


async def test_lost_before_the_answer(protocol_class: ProtocolClass, caplog: pytest.LogCaptureFixture) -> None:
    """A client that leaves during the handshake is 1006 for the app, whose accept then raises ClientDisconnected."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.append(await receive())
        try:
            await send({"type": "websocket.accept"})
        except OSError as exc:
            seen.append(type(exc))

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.lose()
        await connection.app_done()
        assert connection.take() == b""
    assert seen == [{"type": "websocket.disconnect", "code": 1006}, ClientDisconnected]
    assert caplog.messages == []


async def test_app_closes(protocol_class: ProtocolClass) -> None:
    """Our close frame goes out, the transport stays for the peer's, and what else comes in meanwhile is dropped."""
    async with Connection(protocol_class, closes) as connection:
        await connection.open()
        await connection.app_done()
        assert not connection.transport.closed
        assert connection.protocol.close_timer is not None
        connection.feed(frame(TEXT, b"crossing") + frame(PING))
        assert connection.transport.reading
        assert connection.take() == b""
        connection.feed(close(4001))
        assert connection.transport.closed
        assert connection.protocol.close_timer is None
        assert connection.take() == b""


async def test_app_closes_over_unread_messages(protocol_class: ProtocolClass) -> None:
    """Closing resumes paused reading, or the peer's close frame would never come in."""
    start = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await start.wait()
        await send({"type": "websocket.close"})
        assert (await receive())["text"] == "unread"
        assert await receive() == {"type": "websocket.disconnect", "code": 1000, "reason": ""}

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(frame(TEXT, b"unread"))
        assert not connection.transport.reading
        start.set()
        await settle()
        assert connection.transport.reading
        assert connection.frames() == [(0x80 | CLOSE, b"\x03\xe8")]


async def test_garbage_while_closing(protocol_class: ProtocolClass) -> None:
    """A peer that answers our close with nonsense is cut off without a second close frame."""
    async with Connection(protocol_class, closes) as connection:
        await connection.open()
        connection.feed(b"\xff\xff\xff\xff\xff\xff\xff\xff")
        assert connection.transport.closed
        assert connection.take() == b""


async def test_silent_peer_is_given_up(protocol_class: ProtocolClass) -> None:
    """A peer that never answers our close frame keeps the connection for `close_timeout` seconds."""
    connection = Connection(protocol_class, closes)
    connection.protocol.close_timeout = 0
    await connection.open()
    await settle()
    assert connection.transport.closed
    connection.lose()
    assert connection.protocol.close_timer is None


async def test_app_uses_a_closed_websocket(protocol_class: ProtocolClass) -> None:
    """After its own close the app gets RuntimeError; once the connection is gone, ClientDisconnected."""
    errors = []
    lost = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        with pytest.raises(RuntimeError, match=r"'websocket.send' or 'websocket.close', but got 'websocket.accept'"):
            await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        for _ in range(2):
            try:
                await send({"type": "websocket.send", "text": "x"})
            except (RuntimeError, OSError) as exc:
                errors.append(exc)
            await lost.wait()

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.lose()
        lost.set()
        await connection.app_done()
    assert str(errors[0]) == "Unexpected ASGI message 'websocket.send', after sending 'websocket.close'."
    assert isinstance(errors[1], ClientDisconnected)


async def test_send_after_the_peer_closed(protocol_class: ProtocolClass) -> None:
    """Between the peer's close frame and the end of the transport, `send()` raises ClientDisconnected already."""
    errors = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        for message in ({"type": "websocket.send", "text": "x"}, {"type": "websocket.close"}):
            try:
                await send(message)
            except OSError as exc:
                errors.append(type(exc))

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.feed(close(1000))
        await connection.app_done()
    assert errors == [ClientDisconnected] * 2


@pytest.mark.parametrize(
    ("data", "code"), [(frame(TEXT, b"\xff"), 1007), (frame(TEXT, b"x" * 101), 1009), (frame(3), 1002)]
)
async def test_violation(protocol_class: ProtocolClass, data: bytes, code: int) -> None:
    """A breach is told to both ends with the same code, and nothing is read any more."""
    app = Script()
    async with Connection(protocol_class, app, ws_max_size=100) as connection:
        await connection.open()
        connection.feed(data)
        [(first, payload)] = connection.frames()
        assert (first, payload[:2]) == (0x80 | CLOSE, code.to_bytes(2, "big"))
        assert connection.transport.closed
        connection.feed(frame(TEXT, b"more"))
        await connection.app_done()
    [message] = app.received
    assert (message["type"], message["code"]) == ("websocket.disconnect", code)


async def test_app_ends_without_closing(protocol_class: ProtocolClass, caplog: pytest.LogCaptureFixture) -> None:
    """An app that ends, or raises, closes the transport without a close frame: 1006 for the client, as in uvicorn."""

    async def returns(scope: Any, receive: Any, send: Any) -> int:
        await send({"type": "websocket.accept"})
        return 123

    async def raises(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        raise ValueError("of the app")

    for app in (returns, raises):
        async with Connection(protocol_class, app) as connection:
            response = await connection.open()
            assert response.endswith(b"\r\n\r\n")
            assert connection.transport.closed
    assert "ASGI callable should return None, but returned '123'." in caplog.messages
    assert "Exception in ASGI application\n" in caplog.messages


# Shutdown


async def test_shutdown_of_an_open_websocket(protocol_class: ProtocolClass) -> None:
    """The server's end is a close frame with 1012, and the same code for the app."""
    app = Script()
    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.protocol.shutdown()
        assert connection.frames() == [(0x80 | CLOSE, b"\x03\xf4")]
        assert connection.transport.closed
        connection.feed(close(1012))
        await connection.app_done()
    assert app.received == [{"type": "websocket.disconnect", "code": 1012}]


async def test_shutdown_during_the_handshake(protocol_class: ProtocolClass) -> None:
    """A handshake that the app has not answered gets a 500."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert await receive() == {"type": "websocket.disconnect", "code": 1006}

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.protocol.shutdown()
        assert connection.take().startswith(b"HTTP/1.1 500 ")
        assert connection.transport.closed


async def test_shutdown_before_the_request(protocol_class: ProtocolClass) -> None:
    """A connection that has sent nothing yet is answered and closed."""
    async with Connection(protocol_class, Script()) as connection:
        connection.protocol.shutdown()
        assert connection.take().startswith(b"HTTP/1.1 500 ")
        assert connection.transport.closed


async def test_shutdown_while_closing(protocol_class: ProtocolClass) -> None:
    """A closing handshake under way is cut short, without another close frame."""
    async with Connection(protocol_class, closes) as connection:
        await connection.open()
        connection.protocol.shutdown()
        assert connection.transport.closed
        assert connection.protocol.close_timer is None
        assert connection.take() == b""


async def test_shutdown_during_a_denial(protocol_class: ProtocolClass) -> None:
    """A response that has begun is not followed by another."""
    stay = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        await stay.wait()

    async with Connection(protocol_class, app) as connection:
        response = await connection.open()
        connection.protocol.shutdown()
        assert connection.transport.closed
        assert (response + connection.take()).count(b"HTTP/1.1 ") == 1
        stay.set()


async def test_handshake_in_hand_when_the_worker_ends(protocol_class: ProtocolClass) -> None:
    """The app has time to answer; what it accepts is open until the worker's patience ends."""
    answer = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await answer.wait()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hello"})
        assert await receive() == {"type": "websocket.disconnect", "code": 1012}

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.state.stopping = True
        connection.protocol.shutdown_when_idle()
        assert not connection.transport.closed
        answer.set()
        await settle()
        head, _, rest = connection.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert rest == b"\x81\x05hello"
        connection.protocol.shutdown()
        assert connection.frames() == [(0x80 | CLOSE, b"\x03\xf4")]
        assert not connection.transport.closed
        connection.feed(close(1012))
        assert connection.transport.closed


async def test_handshake_that_the_worker_cannot_wait_for(protocol_class: ProtocolClass) -> None:
    """503: the client may try elsewhere."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert await receive() == {"type": "websocket.disconnect", "code": 1006}
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.accept"})

    async with Connection(protocol_class, app) as connection:
        await connection.open()
        connection.state.stopping = True
        connection.protocol.shutdown_when_idle()
        connection.protocol.shutdown()
        head, _, body = connection.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nconnection: close" in head.lower()
        assert body == b"Service Unavailable"
        assert connection.transport.closed


async def test_denial_in_hand_when_the_worker_ends(protocol_class: ProtocolClass) -> None:
    """The app's own response is let end."""
    stay = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 403, "headers": [(b"content-length", b"4")]})
        await stay.wait()
        await send({"type": "websocket.http.response.body", "body": b"gone"})

    async with Connection(protocol_class, app) as connection:
        response = await connection.open()
        connection.state.stopping = True
        connection.protocol.shutdown_when_idle()
        connection.protocol.shutdown()
        assert not connection.transport.closed
        stay.set()
        await settle()
        response += connection.take()
        assert response.startswith(b"HTTP/1.1 403 ")
        assert response.endswith(b"\r\n\r\ngone")
        assert connection.transport.closed


@pytest.mark.parametrize("peer", ["answers", "is slow", "is gone", "reads nothing"])
async def test_open_websocket_when_the_worker_ends(protocol_class: ProtocolClass, peer: str) -> None:
    """1012 at once, to both ends. The peer has two seconds to answer; what it has sent before goes nowhere."""
    loop, app = StandingLoop(), Script()
    async with Connection(protocol_class, app, loop=loop) as connection:
        await connection.open()
        connection.state.stopping = True
        connection.protocol.shutdown_when_idle()
        assert connection.frames() == [(0x80 | CLOSE, b"\x03\xf4")]
        connection.protocol.shutdown()  # behind the linger
        assert connection.take() == b""
        await connection.app_done()
        assert app.received == [{"type": "websocket.disconnect", "code": 1012}]
        assert not connection.transport.closed
        if peer in ("answers", "is slow"):
            if peer == "is slow":
                connection.feed(frame(TEXT, b"on its way"))
            connection.feed(close(1012))
        elif peer == "is gone":
            connection.lose(ConnectionResetError())
        else:
            connection.transport.write = pytest.fail  # type: ignore[method-assign]
            assert loop.fire() == 2.0
        assert loop.pending == 0
        assert connection.transport.closed or peer == "is gone"
        assert len(app.received) == 1


async def test_a_close_under_way_when_the_worker_ends(protocol_class: ProtocolClass) -> None:
    """The app's own close frame is the last; its peer has less time from then on."""
    loop = StandingLoop()
    async with Connection(protocol_class, closes, loop=loop) as connection:
        await connection.open()
        connection.state.stopping = True
        connection.protocol.shutdown_when_idle()
        connection.protocol.shutdown()
        assert connection.take() == b""
        assert not connection.transport.closed
        assert loop.fire() == 2.0
        assert connection.transport.closed


# Keepalive


async def test_ping_and_pong(protocol_class: ProtocolClass) -> None:
    """A pong in time stops the timeout, and the next ping follows an interval after the last one."""
    loop = StandingLoop()
    async with Connection(
        protocol_class, Script(), loop=loop, ws_ping_interval=20.0, ws_ping_timeout=5.0
    ) as connection:
        assert loop.pending == 0
        await connection.open()
        assert connection.protocol.ping_timer is not None
        assert loop.fire() == 20.0
        [(first, payload)] = connection.frames()
        assert (first, len(payload)) == (0x89, 4)
        assert connection.protocol.pending_ping_payload == payload
        assert connection.protocol.ping_sent_at == 120.0
        connection.feed(frame(PONG, b"not it"))
        assert connection.protocol.pong_timer is not None
        loop.now += 2
        connection.feed(frame(PONG, payload))
        assert connection.protocol.pong_timer is None
        assert connection.protocol.last_ping_rtt == 2.0
        assert loop.fire() == 18.0


async def test_overdue_pong(protocol_class: ProtocolClass) -> None:
    """Without a pong the connection ends with 1011, and the app hears of it at once."""
    loop = StandingLoop()
    app = Script()
    async with Connection(protocol_class, app, loop=loop, ws_ping_interval=20.0, ws_ping_timeout=5.0) as connection:
        await connection.open()
        loop.fire()
        connection.take()
        assert loop.fire() == 5.0
        assert connection.frames() == [(0x80 | CLOSE, b"\x03\xf3keepalive ping timeout")]
        assert connection.transport.closed
        await connection.app_done()
        assert app.received == [{"type": "websocket.disconnect", "code": 1005}]
        assert loop.pending == 0


async def test_whatever_comes_puts_the_timeout_off(protocol_class: ProtocolClass) -> None:
    """A peer that is sending is alive, though its pong waits behind the frame: the time counts from the last bytes."""
    loop = StandingLoop()
    app = Script()
    message = frame(BINARY, bytes(1000))
    async with Connection(protocol_class, app, loop=loop, ws_ping_interval=20.0, ws_ping_timeout=5.0) as connection:
        await connection.open()
        loop.fire()
        connection.take()
        for part in (message[:300], message[300:600], message[600:900]):
            loop.now += 1
            connection.feed(part)
        assert loop.now == 123.0
        assert loop.fire_at(125.0) == 5.0
        assert loop.fire_at(128.0) == 3.0
        assert connection.frames() == [(0x80 | CLOSE, b"\x03\xf3keepalive ping timeout")]
        await connection.app_done()
        assert loop.pending == 0


async def test_the_pong_behind_a_large_frame_counts(protocol_class: ProtocolClass) -> None:
    """It ends the wait, and the next ping follows as ever."""
    loop = StandingLoop()
    message = frame(BINARY, bytes(1000))
    async with Connection(
        protocol_class, Script(), loop=loop, ws_ping_interval=20.0, ws_ping_timeout=5.0
    ) as connection:
        await connection.open()
        loop.fire()
        [(_, payload)] = connection.frames()
        loop.now += 4
        connection.feed(message[:500])
        loop.fire_at(125.0)
        connection.feed(message[500:] + frame(PONG, payload))
        assert connection.protocol.pong_timer is None
        assert loop.fire() == 15.0
        assert [first for first, _ in connection.frames()] == [0x80 | PING]


async def test_what_is_not_read_cannot_be_overdue(protocol_class: ProtocolClass) -> None:
    """A pong may wait behind messages that the app does not take: the peer is asked again, and not cut."""
    loop = StandingLoop()
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await done.wait()
        assert (await receive())["text"] == "1"
        await receive()

    async with Connection(protocol_class, app, loop=loop, ws_ping_interval=20.0, ws_ping_timeout=5.0) as connection:
        await connection.open()
        connection.feed(frame(TEXT, b"1"))
        assert not connection.transport.reading
        for _ in range(3):
            assert loop.fire() == 20.0
            assert [first for first, _ in connection.frames()] == [0x80 | PING]
            assert loop.fire() == 5.0
            assert connection.frames() == []
        loop.fire()
        connection.take()
        done.set()
        await settle()
        assert connection.transport.reading
        loop.fire()
        assert connection.frames() == [(0x80 | CLOSE, b"\x03\xf3keepalive ping timeout")]


@pytest.mark.parametrize("end", ["peer", "app", "lost", "shutdown"])
async def test_no_ping_after_the_end(protocol_class: ProtocolClass, end: str) -> None:
    """However the WebSocket ends, no keepalive timer is left."""
    loop = StandingLoop()
    app = closes if end == "app" else Script()
    async with Connection(protocol_class, app, loop=loop, ws_ping_interval=20.0, ws_ping_timeout=5.0) as connection:
        await connection.open()
        if end == "peer":
            connection.feed(close(1000))
        elif end == "lost":
            connection.lose()
        elif end == "shutdown":
            connection.protocol.shutdown()
        assert connection.protocol.ping_timer is None
        assert connection.protocol.pong_timer is None
        connection.lose()
        assert loop.pending == 0


class Pings(Keepalive):
    """Pings without a connection."""

    def __init__(self, loop: Any, interval: float | None, timeout: float | None, sent: list[bytes]) -> None:
        self.loop, self.ping_interval, self.ping_timeout = loop, interval, timeout
        self.sent = sent

    def send_ping(self, payload: bytes) -> None:
        self.sent.append(payload)

    def on_pong_overdue(self) -> None:
        pytest.fail("no timeout was asked for")


def test_pings_without_a_timeout() -> None:
    """With an interval but no timeout, pings go on and nobody waits for the pongs."""
    loop = StandingLoop()
    sent: list[bytes] = []
    ping = Pings(loop, 10.0, None, sent)
    ping.start_pings()
    for _ in range(3):
        assert loop.fire() == 10.0
    assert len(sent) == 3
    ping.on_pong(sent[-1])
    assert loop.pending == 1


@pytest.mark.parametrize("interval", [None, 0, 0.0])
def test_no_interval_no_pings(interval: float | None) -> None:
    """No interval, or zero, means no pings."""
    loop = StandingLoop()
    ping = Pings(loop, interval, 5.0, [])
    ping.start_pings()
    assert loop.pending == 0
