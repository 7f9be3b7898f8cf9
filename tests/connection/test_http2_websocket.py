"""WebSockets over HTTP/2 (RFC 8441): the opening handshake, messages both ways, and every way they end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import wsproto.extensions
from wsproto.frame_protocol import FrameProtocol, Opcode

from pounce.connection.http2_websocket import websocket_wire
from pounce.connection.websocket import WebSocketProtocol
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from tests.connection.http2_client import Connection
from tests.wire.http2_peer import data as http2_data, describe, joined, split
from tests.wire.ws_frames import close

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("http2_wire")]

CONNECT = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":authority", "a.example"),
    (":path", "/chat?room=1"),
    ("sec-websocket-version", "13"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[WSProtocol, WebSocketsSansIOProtocol], ids=["wsproto", "websockets"])
def ws(request: pytest.FixtureRequest) -> Any:
    """The WebSocket class that HTTP/1.1 would use."""
    return request.param


class Socket:
    """The client's end of one WebSocket, on a stream of a connection."""

    def __init__(self, connection: Connection, *fields: tuple[str, str], deflate: bool = False) -> None:
        self.connection = connection
        self.stream_id = connection.request([*CONNECT, *fields], end=False)
        self.frames = FrameProtocol(True, [])
        self.deflate = wsproto.extensions.PerMessageDeflate() if deflate else None
        self.read = 0

    @property
    def answer(self) -> Any:
        return self.connection.answers.get(self.stream_id)

    async def opened(self) -> Any:
        """Wait for the answer to the handshake."""
        await self.connection.until(lambda: self.answer and (self.answer.headers or self.answer.ended))
        if self.deflate is not None:
            self.deflate.finalize(dict(self.answer.headers)["sec-websocket-extensions"])
            self.frames = FrameProtocol(True, [self.deflate])
        return self.answer

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), 16384):
            self.connection.client.send_data(self.stream_id, data[start : start + 16384])

    def received(self) -> list[tuple[Opcode, Any]]:
        """The whole messages that have come since the last call."""
        body = self.answer.body[self.read :]
        self.read += len(body)
        self.frames.receive_bytes(body)
        return [(frame.opcode, frame.payload) for frame in self.frames.received_frames() if frame.message_finished]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Accepts, and sends back what it gets."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def test_the_server_says_that_it_can() -> None:
    """SETTINGS_ENABLE_CONNECT_PROTOCOL is 1, and not there where WebSockets are switched off."""
    for ws_class, expected in ((WSProtocol, 1), (None, 0)):
        async with Connection(echo, ws_protocol_class=ws_class) as connection:
            assert connection.client.remote_settings.enable_connect_protocol == expected


@pytest.mark.parametrize("deflate", [False, True])
async def test_messages_go_both_ways(ws: Any, deflate: bool) -> None:
    """Text, bytes, large and compressed ones."""
    async with Connection(echo, ws_protocol_class=ws) as connection:
        fields = [("sec-websocket-extensions", "permessage-deflate")] if deflate else []
        socket = Socket(connection, *fields, deflate=deflate)
        assert (await socket.opened()).status == "200"
        socket.send(bytes(socket.frames.send_data("héllo")) + bytes(socket.frames.send_data(b"x" * 30000)))
        got: list[Any] = []
        await connection.until(lambda: got.extend(socket.received()) or len(got) == 2)
        assert got == [(Opcode.TEXT, "héllo"), (Opcode.BINARY, b"x" * 30000)]


async def test_the_scope(ws: Any) -> None:
    """As over HTTP/1.1, with version 2 and the headers of the request."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"X-Y", b"z")]})

    async with Connection(app, ws_protocol_class=ws, root_path="/root") as connection:
        socket = Socket(connection, ("sec-websocket-protocol", "a, b"), ("cookie", "c=1"), ("cookie", "d=2"))
        answer = await socket.opened()
    (scope,) = scopes
    assert {key: scope[key] for key in ("type", "http_version", "scheme", "path", "raw_path", "query_string")} == {
        "type": "websocket",
        "http_version": "2",
        "scheme": "ws",
        "path": "/root/chat",
        "raw_path": b"/root/chat",
        "query_string": b"room=1",
    }
    assert scope["subprotocols"] == ["a", "b"]
    assert scope["headers"] == [
        (b"host", b"a.example"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-protocol", b"a, b"),
        (b"cookie", b"c=1; d=2"),
    ]
    names = dict(answer.headers)
    assert (names["sec-websocket-protocol"], names["x-y"]) == ("b", "z")
    assert not {"connection", "upgrade", "sec-websocket-accept"} & set(names)


async def test_requests_and_websockets_share_a_connection(ws: Any) -> None:
    """A request is answered while a WebSocket is open on the same connection."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await echo(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})

    async with Connection(app, ws_protocol_class=ws) as connection:
        sockets = [Socket(connection) for _ in range(3)]
        for socket in sockets:
            await socket.opened()
        assert (await connection.get()).body == b"hello"
        for number, socket in enumerate(sockets):
            socket.send(bytes(socket.frames.send_data(str(number))))
        await connection.exchange()
        assert [socket.received() for socket in sockets] == [[(Opcode.TEXT, str(number))] for number in range(3)]


async def test_the_client_closes(ws: Any) -> None:
    """Its close frame is answered, the stream ends, and the app is told the code."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        seen.append(await receive())

    async with Connection(app, ws_protocol_class=ws) as connection:
        socket = Socket(connection)
        await socket.opened()
        socket.send(bytes(socket.frames.close(3000, "bye")))
        await connection.until(lambda: socket.answer.ended)
        assert socket.received() == [(Opcode.CLOSE, (3000, "bye"))]
        assert socket.answer.reset in (None, 0)
        await connection.exchange()
        assert connection.protocol.wire.streams == {}
    assert seen == [{"type": "websocket.disconnect", "code": 3000, "reason": "bye"}]


async def test_the_client_closes_stream_and_websocket_in_one_frame(ws: Any) -> None:
    """Browsers do that: a close frame in the last DATA of the stream."""
    async with Connection(echo, ws_protocol_class=ws) as connection:
        socket = Socket(connection)
        await socket.opened()
        connection.client.send_data(socket.stream_id, bytes(socket.frames.close(3000, "bye")), end_stream=True)
        await connection.until(lambda: socket.answer.ended)
        assert socket.received() == [(Opcode.CLOSE, (3000, "bye"))]
        await connection.exchange()
        assert (connection.protocol.wire.streams, connection.transport.closed) == ({}, False)


async def test_the_client_ends_the_stream_before_it_is_answered(ws: Any) -> None:
    """There is no head whose body could end: the stream is reset, and the app told. The connection goes on."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})
            return
        while not seen or seen[-1]["type"] != "websocket.disconnect":
            seen.append(await receive())

    async with Connection(app, ws_protocol_class=ws) as connection:
        socket = Socket(connection)
        await connection.exchange()
        connection.client.send_data(socket.stream_id, b"", end_stream=True)
        await connection.until(lambda: socket.answer and socket.answer.ended)
        assert socket.answer.reset == 8
        assert (await connection.get()).status == "200"
    assert [(one["type"], one.get("code")) for one in seen] == [
        ("websocket.connect", None),
        ("websocket.disconnect", 1006),
    ]


@pytest.mark.parametrize("closes", [True, False])
async def test_the_end_of_the_stream_behind_many_messages(ws: Any, closes: bool) -> None:
    """They are parsed in turns, and the app gets all of them before it is told."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while not seen or seen[-1]["type"] == "websocket.receive":
            seen.append(await receive())

    async with Connection(app, ws_protocol_class=ws) as connection:
        socket = Socket(connection)
        await socket.opened()
        data = b"".join(bytes(socket.frames.send_data(b"%d" % number)) for number in range(500))
        if closes:
            data += bytes(socket.frames.close(3000, "bye"))
        connection.client.send_data(socket.stream_id, data, end_stream=True)
        connection.send()
        assert not connection.protocol.wire.streams[socket.stream_id].is_closing()
        await connection.until(lambda: socket.answer.ended)
        await connection.exchange()
        assert [message.get("bytes") for message in seen] == [b"%d" % number for number in range(500)] + [None]
        assert seen[-1]["code"] == (3000 if closes else 1005)
        assert connection.protocol.wire.streams == {}


async def test_what_a_full_window_inflates_to_stays_packed(ws: Any) -> None:
    """While the app takes nothing, frames are kept as they come; then it gets them one after the other."""
    go_on = asyncio.Event()
    sizes: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go_on.wait()
        while (message := await receive())["type"] == "websocket.receive":
            sizes.append(len(message["bytes"]))

    size = 1_000_000
    async with Connection(app, ws_protocol_class=ws, ws_max_size=size) as connection:
        socket = Socket(connection, ("sec-websocket-extensions", "permessage-deflate"), deflate=True)
        await socket.opened()
        sent = 0
        while connection.client.local_flow_control_window(socket.stream_id) > 10_000:
            socket.send(bytes(socket.frames.send_data(bytes(size))))
            await connection.exchange(2)
            sent += 1
        assert sent > 20
        websocket = connection.protocol.wire.streams[socket.stream_id]
        assert len(websocket.protocol.cycle.queue) == 1
        go_on.set()
        await connection.until(lambda: len(sizes) == sent)
        assert sizes == [size] * sent
        await connection.until(lambda: connection.client.local_flow_control_window(socket.stream_id) > 60_000)


async def test_the_app_closes(ws: Any) -> None:
    """Close frame, then the client's, then the end of the stream."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 3001, "reason": "enough"})

    async with Connection(app, ws_protocol_class=ws) as connection:
        socket = Socket(connection)
        await socket.opened()
        await connection.exchange()
        assert socket.received() == [(Opcode.CLOSE, (3001, "enough"))]
        assert not socket.answer.ended
        socket.send(bytes(socket.frames.close(3001)))
        await connection.until(lambda: socket.answer.ended)


@pytest.mark.parametrize("how", ["reset", "end", "lost"])
async def test_the_client_just_goes(ws: Any, how: str) -> None:
    """The app gets its disconnect, and `send()` raises OSError."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        seen.append((await receive())["code"])
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError:
            seen.append("OSError")

    async with Connection(app, ws_protocol_class=ws) as connection:
        socket = Socket(connection)
        await socket.opened()
        if how == "reset":
            connection.client.reset_stream(socket.stream_id)
        elif how == "end":
            connection.client.end_stream(socket.stream_id)
        else:
            connection.protocol.connection_lost(ConnectionResetError())
        await connection.exchange()
        assert seen == [1005, "OSError"]


@pytest.mark.parametrize(
    "messages,status,body",
    [
        ([{"type": "websocket.close"}], "403", b""),
        (
            [
                {"type": "websocket.http.response.start", "status": 418, "headers": [(b"x", b"y")]},
                {"type": "websocket.http.response.body", "body": b"tea", "more_body": True},
                {"type": "websocket.http.response.body", "body": b"pot"},
            ],
            "418",
            b"teapot",
        ),
        ([], "500", b"Internal Server Error"),
        # It would be the acceptance.
        ([{"type": "websocket.http.response.start", "status": 200}], "500", b"Internal Server Error"),
        ([{"type": "websocket.http.response.start", "status": 299}], "500", b"Internal Server Error"),
    ],
)
async def test_a_handshake_may_be_refused(ws: Any, messages: Any, status: str, body: bytes) -> None:
    """403, an answer of the app's own, or 500 where it gives none."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)

    async with Connection(app, ws_protocol_class=ws) as connection:
        socket = Socket(connection)
        await connection.until(lambda: socket.answer and socket.answer.ended)
        assert (socket.answer.status, socket.answer.body) == (status, body)


@pytest.mark.parametrize(
    "headers,status",
    [
        ([*CONNECT[:1], (":protocol", "webtransport"), *CONNECT[2:]], "501"),
        ([*CONNECT[:5], ("sec-websocket-version", "12")], "400"),
    ],
)
async def test_what_is_no_websocket_is_refused(ws: Any, headers: Any, status: str) -> None:
    """Another protocol, another version; the app is not asked."""
    called: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope)

    async with Connection(app, ws_protocol_class=ws) as connection:
        stream_id = connection.request(headers, end=False)
        await connection.until(lambda: connection.answers.get(stream_id) and connection.answers[stream_id].ended)
        assert (connection.answers[stream_id].status, called) == (status, [])


async def test_an_app_that_does_not_read_stops_the_client(ws: Any) -> None:
    """By the stream's window; the connection's other streams go on."""
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go_on.wait()
        while (await receive())["type"] == "websocket.receive":
            pass

    async with Connection(app, ws_protocol_class=ws) as connection:
        socket = Socket(connection)
        await socket.opened()
        client = connection.client
        frame = bytes(socket.frames.send_data(b"x" * 8000))
        sent = 0
        while client.local_flow_control_window(socket.stream_id) > len(frame):
            socket.send(frame)
            await connection.exchange(2)
            sent += 1
        assert sent < 20
        go_on.set()
        await connection.until(lambda: client.local_flow_control_window(socket.stream_id) > 60000)


async def test_a_client_that_does_not_read_stops_the_app(ws: Any) -> None:
    """`send()` waits, and goes on when the client reads."""
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(100):
            await send({"type": "websocket.send", "bytes": b"x" * 8000})
            sent += 1

    async with Connection(app, ws_protocol_class=ws, ws_per_message_deflate=False) as connection:
        connection.acknowledges = False
        socket = Socket(connection)
        await socket.opened()
        await connection.exchange(20)
        assert 8 < sent < 20
        connection.client.increment_flow_control_window(1 << 20)
        connection.client.increment_flow_control_window(1 << 20, socket.stream_id)
        await connection.until(lambda: sent == 100)


async def test_shutdown_closes_websockets(ws: Any) -> None:
    """With 1012, as over HTTP/1.1, and then the connection with GOAWAY."""
    async with Connection(echo, ws_protocol_class=ws) as connection:
        socket = Socket(connection)
        await socket.opened()
        connection.protocol.shutdown()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert connection.transport.closed
        frames = split(connection.transport.take())  # the h2 library gives up at the first GOAWAY
        assert joined(describe(*one) for one in frames) == [
            f"GOAWAY {2**31 - 1} NO_ERROR",
            "DATA 1 4 END",
            "RST_STREAM 1 NO_ERROR",
            "GOAWAY 1 NO_ERROR",
        ]
        assert frames[1][3] == b"\x88\x02\x03\xf4"  # a close frame with 1012


@pytest.mark.parametrize("answers", [True, False])
async def test_a_handshake_in_hand_when_the_worker_ends(ws: Any, answers: bool) -> None:
    """As over HTTP/1.1: the app has time to answer, and then it is a 503."""
    answer = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await answer.wait()
        await send({"type": "websocket.accept"})
        await receive()

    async with Connection(app, ws_protocol_class=ws) as connection:
        socket = Socket(connection)
        await connection.exchange()
        connection.state.stopping = True
        connection.protocol.shutdown_when_idle()
        await asyncio.sleep(0)
        if answers:
            answer.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        connection.protocol.shutdown()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        frames = split(connection.transport.take())  # the h2 library gives up at the first GOAWAY
        data = b"".join(frame[3] for frame in frames if describe(*frame).startswith("DATA 1"))
        assert data == (b"\x88\x02\x03\xf4" if answers else b"Service Unavailable")
        if answers:  # the client has some time to answer the close frame
            assert not connection.transport.closed
            connection.protocol.data_received(http2_data(1, close(1012)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert connection.transport.closed
        assert socket.stream_id == 1


async def test_the_log_lines_are_the_same(ws: Any, caplog: pytest.LogCaptureFixture) -> None:
    """As over HTTP/1.1."""
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with Connection(echo, ws_protocol_class=ws) as connection:
        await Socket(connection).opened()
    assert '127.0.0.2:9000 - "WebSocket /chat?room=1" [accepted]' in caplog.messages


def test_a_class_of_the_users_own_gets_the_automatic_wire() -> None:
    """What it does with HTTP/1.1's bytes cannot be known; None stays None."""

    assert websocket_wire(None) is None
    assert websocket_wire(object()) is WebSocketsSansIOProtocol.wire_class
    assert issubclass(WSProtocol, WebSocketProtocol)
    assert websocket_wire(WSProtocol) is WSProtocol.wire_class
