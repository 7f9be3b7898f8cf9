"""From HTTP/1.1 to our own WebSocket classes: what goes over with the connection."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from pounce.connection.websocket import WebSocketProtocol
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from pounce.middleware.proxy_headers import ProxyHeadersMiddleware
from tests.fakes import Connection, answer, get, settle
from tests.wire.ws_frames import BINARY, TEXT, frame, handshake

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {
    "ws_max_size": 2**20,
    "ws_per_message_deflate": False,
    "ws_ping_interval": None,
    "ws_ping_timeout": None,
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[WSProtocol, WebSocketsSansIOProtocol])
def ws(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings with one of our classes."""
    return {**SETTINGS, "ws_protocol_class": request.param}


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class App:
    """Keeps its scope, and echoes."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}
        self.received: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            self.received.append(message.get("text") or len(message["bytes"]))


@pytest.mark.parametrize("cut", [1, 60, 10_000])
async def test_the_request_and_what_is_behind_it(parser: str, ws: Any, cut: int) -> None:
    """The app sees the target, the fields and the ends of the connection, and the frames in their order."""
    app = App()
    data = handshake(b"Sec-WebSocket-Protocol: a, b", b"X-Name: v\xe9", target=b"/p%20q?x=y") + frame(TEXT, b"early")
    async with Connection(parser, app, **ws) as connection:
        for at in range(0, len(data), cut):
            connection.transport.feed(data[at : at + cut])
        await settle()
        protocol = connection.transport.protocol
        assert isinstance(protocol, WebSocketProtocol)
        assert connection.state.connections == {protocol}
        connection.transport.feed(frame(TEXT, b"later"))
        await settle()
    assert app.received == ["early", "later"]
    assert (app.scope["path"], app.scope["raw_path"], app.scope["query_string"]) == ("/p q", b"/p%20q", b"x=y")
    assert (app.scope["client"], app.scope["server"]) == (("127.0.0.2", 9000), ("127.0.0.1", 8000))
    assert (app.scope["type"], app.scope["scheme"], app.scope["subprotocols"]) == ("websocket", "ws", ["a", "b"])
    assert "method" not in app.scope
    assert (b"x-name", b"v\xe9") in app.scope["headers"]


@pytest.mark.parametrize("trusted", ["127.0.0.2", "192.0.2.1"])
async def test_the_fields_of_a_proxy(parser: str, ws: Any, trusted: str) -> None:
    """A trusted peer says who the client is, and by which scheme it came."""
    app = App()
    proxied: Any = ProxyHeadersMiddleware(app, trusted)
    async with Connection(parser, proxied, **ws) as connection:
        connection.transport.feed(handshake(b"X-Forwarded-For: 198.51.100.7", b"X-Forwarded-Proto: https"))
        await settle()
    expected = ("wss", ("198.51.100.7", 0)) if trusted == "127.0.0.2" else ("ws", ("127.0.0.2", 9000))
    assert (app.scope["scheme"], app.scope["client"]) == expected


async def test_much_data_behind_the_request(parser: str, ws: Any) -> None:
    """Reading pauses until the handshake is answered, and then goes on."""
    app = App()
    async with Connection(parser, app, **ws) as connection:
        connection.transport.feed(handshake() + frame(BINARY, bytes(100_000)))
        assert not connection.transport.reading
        await settle()
        assert connection.transport.reading
    assert app.received == [100_000]


async def test_a_bad_handshake_is_refused(parser: str, ws: Any) -> None:
    """Without the app."""
    app = App()
    async with Connection(parser, app, **ws) as connection:
        connection.transport.feed(handshake(version=b"12"))
        await settle()
        assert connection.take().startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 426 "))
        assert connection.transport.closed
    assert app.scope == {}


async def test_a_subclass_of_the_users_is_called_as_asyncio_calls(parser: str, ws: Any) -> None:
    """What it overrides runs: it gets the connection, and the request as bytes."""
    calls: list[Any] = []

    class Own(ws["ws_protocol_class"]):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            calls.append("made")
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            calls.append(data[:4])
            super().data_received(data)

    app = App()
    async with Connection(parser, app, **{**ws, "ws_protocol_class": Own}) as connection:
        connection.transport.feed(handshake())
        await settle()
    assert calls == ["made", b"GET "]
    assert app.scope["type"] == "websocket"


async def test_a_request_before_the_upgrade_leaves_nothing_to_do(parser: str, ws: Any) -> None:
    """No keep-alive timer of HTTP/1.1 runs for a connection that is a WebSocket now."""
    kinds: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kinds.append(scope["type"])
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
        else:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    async with Connection(parser, app, **ws) as connection:
        http = connection.transport.protocol
        connection.transport.feed(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n" + handshake())
        await settle()
        assert isinstance(connection.transport.protocol, WebSocketProtocol)
        assert http.timeout_keep_alive_task is None
    assert kinds == ["http", "websocket"]


NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="")


class Both:
    """Answers a request when it is let, without reading it; a WebSocket is accepted, and counted."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.accepted = 0
        self.names: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            self.names.append(NAME.get())
            await receive()
            await send({"type": "websocket.accept"})
            self.accepted += 1
            await receive()
            return
        NAME.set("of the request")
        await self.open.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


GET = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"


async def test_behind_a_request_that_was_answered_early(parser: str, ws: Any) -> None:
    """The rest of its body and the upgrade come in one segment: there is one WebSocket, and its app runs once."""
    app = Both()
    app.open.set()
    async with Connection(parser, app, **ws) as connection:
        connection.transport.feed(b"POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\r\nab")
        await settle()
        assert connection.take().endswith(b"ok")
        connection.transport.feed(b"cde" + handshake())
        await settle()
        assert connection.take().count(b" 101 ") == app.accepted == 1
        assert connection.state.connections == {connection.transport.protocol}


async def test_its_app_has_the_context_of_the_server(parser: str, ws: Any) -> None:
    """And not that of the request before it, whose last message lets it begin."""
    app = Both()
    async with Connection(parser, app, **ws) as connection:
        connection.transport.feed(GET + handshake())
        await settle()
        app.open.set()
        await settle()
        assert (app.accepted, app.names) == (1, [""])


async def test_a_client_that_has_closed_its_side_before(parser: str, ws: Any) -> None:
    """It gets the answer that it waits for; a WebSocket that can say nothing is not begun."""
    app = Both()
    async with Connection(parser, app, **ws) as connection:
        connection.transport.feed(GET + handshake())
        await settle()
        assert connection.protocol.eof_received()
        app.open.set()
        await settle()
        sent = connection.take()
        assert sent.endswith(b"ok")
        assert b" 101 " not in sent
        assert connection.transport.closed
        assert app.accepted == 0


async def test_connection_in_several_fields(parser: str, ws: Any) -> None:
    """They are one list (RFC 9110 section 5.3)."""
    app = Both()
    async with Connection(parser, app, **ws) as connection:
        connection.transport.feed(handshake(b"Connection: keep-alive"))
        await settle()
        assert app.accepted == 1


@pytest.mark.parametrize("name", ["h11", "httptools", "zttp"])
@pytest.mark.parametrize("content", [b"y" * 70_000, b"\n" * 70_000], ids=["no lines", "lines"])
async def test_frames_behind_an_upgrade_that_waits(name: str, content: bytes, ws: Any) -> None:
    """In one read with the request before: they are no HTTP, whose limits are not theirs."""
    if name == "zttp":
        pytest.importorskip("zttp")
    may_answer = asyncio.Event()
    websocket = App()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await websocket(scope, receive, send)
            return
        await may_answer.wait()
        await answer(send)

    sent = get() + handshake() + frame(BINARY, content)
    async with Connection(name, app, **ws) as connection:
        transport = connection.transport
        transport.feed(sent[:1500])
        await settle()
        assert transport.reading is (name == "httptools")  # which knows already that no request is behind it
        may_answer.set()
        await settle()
        for start in range(1500, len(sent), 47_000):
            assert transport.reading
            transport.feed(sent[start : start + 47_000])
            await settle()
        assert websocket.received == [len(content)]
