"""A WebSocket on one HTTP/2 stream (RFC 8441): the WebSocket protocol, with a stream as its transport.

Runs on the worker's loop. Exchange, frames, pings and the closing handshake are those of a WebSocket over HTTP/1.1;
only the opening handshake differs, whose answers are the head and the body of a response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from pounce.connection.flow import HIGH_WATER_LIMIT, FlowControl
from pounce.connection.http2_stream import StreamConnection
from pounce.connection.pick_websocket import AutoWebSocketsProtocol
from pounce.connection.websocket import WebSocketProtocol
from pounce.contracts import ConfigView
from pounce.errors import MisusedByApp
from pounce.exchange.ws_cycle import OPEN, Header, WebSocketCycle, WebSocketState
from pounce.wire.http2_frames import CANCEL
from pounce.wire.http2_requests import RequestHead
from pounce.wire.http2_scheduler import Http2Stream
from pounce.wire.response_fields import body_bytes
from pounce.wire.ws import WebSocketWire

_LOW_WATER = HIGH_WATER_LIMIT // 4


def websocket_wire(ws_protocol_class: Any) -> type[WebSocketWire] | None:
    """The wire for WebSockets over HTTP/2 where HTTP/1.1 uses this class; None: there are none."""
    if ws_protocol_class is None:
        return None
    for protocol_class in (ws_protocol_class, AutoWebSocketsProtocol):
        if isinstance(protocol_class, type) and issubclass(protocol_class, WebSocketProtocol):
            return protocol_class.wire_class
    return None


class WebSocketConnection(StreamConnection, Protocol):
    """What a WebSocket asks of the connection that its stream is on."""

    config: ConfigView
    app_state: dict[str, Any]
    loop: asyncio.AbstractEventLoop
    server: tuple[str, int | None] | None
    client: tuple[str, int] | None
    scheme: str
    ws_wire_class: type[WebSocketWire] | None


class WebSocketStream(Http2Stream):
    """The stream, and to the WebSocket protocol its transport."""

    __slots__ = (
        "_answered",
        "_closing",
        "_ended",
        "_lost",
        "_write_paused",
        "connection",
        "protocol",
        "read_paused",
        "task",
    )

    def __init__(self, connection: WebSocketConnection, stream: Http2Stream) -> None:
        """Takes the place of `stream`, on which nothing has happened yet."""
        super().__init__(stream.id, stream.send_window, stream.receive_window)
        self.urgency, self.incremental = stream.urgency, stream.incremental
        self.connection = connection
        self.task: asyncio.Task[None] | None = None
        self.read_paused = False
        self._write_paused = False
        self._answered = False  # the handshake: its head is sent
        self._closing = False
        self._ended = False  # by the client, behind what is not parsed yet
        self._lost = False
        self.protocol = Http2WebSocket(connection, self)

    # Told by the connection

    def on_body(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._closing:
            self.connection.wire.consumed(self, len(data))
            return
        if self.read_paused and self.protocol.state is OPEN:
            self.protocol.wire.keep(data)  # within the window; inflated it could be any size
            return
        self.protocol.data_received(data)
        if not self.read_paused:
            self.resume_reading()

    def on_end(self) -> None:
        """The client has ended the stream: what the end of a TCP connection is to a WebSocket over HTTP/1.1."""
        if self.protocol.wire.has_more:
            self._ended = True
        else:
            self.close()

    def on_gone(self) -> None:
        """The stream or its connection was cut."""
        self._closing = True
        self._lose(ConnectionResetError())

    def on_sent(self) -> None:
        """See `Http2Stream.on_sent`."""
        if self._write_paused and self.queued_size <= _LOW_WATER:
            self._write_paused = False
            self.protocol.resume_writing()

    def exchanges(self) -> Sequence[WebSocketCycle]:
        """See `Connection.exchanges`."""
        return self.protocol.exchanges()

    def shutdown(self) -> None:
        """The server ends."""
        if not self._closing:
            self.protocol.shutdown()

    # A transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        return self.connection.transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._closing or self.connection.transport.is_closing()

    def write(self, data: bytes) -> None:
        """See `asyncio.WriteTransport`."""
        if self.local_open and not self._closing:
            self.connection.wire.send_data(self, data, False)
            if self.queued_size > HIGH_WATER_LIMIT and not self._write_paused:
                self._write_paused = True
                self.protocol.pause_writing()
            self.connection.write_soon()

    def writelines(self, pieces: list[bytes]) -> None:
        """See `asyncio.WriteTransport`."""
        self.write(b"".join(pieces))

    def send_head(self, status: int, headers: Iterable[Header]) -> None:
        """The answer to the extended CONNECT. Raises MisusedByApp."""
        if self.local_open:
            self.connection.wire.send_head(self, status, headers, self.connection.server_state.default_headers)
            self._answered = True
            self.connection.write_soon()

    def pause_reading(self) -> None:
        """Let the client's window run out."""
        self.read_paused = True

    def resume_reading(self) -> None:
        """Fill it up again."""
        self.read_paused = False
        if self.unread:
            self.connection.wire.consumed(self, self.unread)
            self.connection.write_soon()
        if self._ended:
            self.close()

    def close(self) -> None:
        """End the stream once everything is sent."""
        self.end(breaks_off=False)

    def end(self, breaks_off: bool) -> None:
        """The same; with `breaks_off` by a reset, as there should have been more. Without an answer there is nothing to
        end, and it is reset as well (RFC 9113 section 8.1)."""
        if not self._closing:
            self._closing = True
            if self.local_open:
                if self._answered:
                    self.connection.wire.send_data(self, b"", True, breaks_off=breaks_off)
                else:
                    self.connection.wire.reset(self.id, CANCEL)
                self.connection.write_soon()
            self.connection.loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """Cut the stream."""
        self._closing = True
        if self.local_open:
            self.connection.wire.reset(self.id, CANCEL)
            self.connection.write_soon()
        self._lose(None)

    def _lose(self, exc: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self.protocol.connection_lost(exc)


class Http2WebSocket(WebSocketProtocol):
    """A WebSocket whose handshake is an extended CONNECT. Made, asked and fed by its stream."""

    def __init__(self, connection: WebSocketConnection, stream: WebSocketStream) -> None:
        assert connection.ws_wire_class is not None
        self.wire_class = connection.ws_wire_class  # type: ignore[misc]
        super().__init__(connection.config, connection.server_state, connection.app_state, connection.loop)
        self._connection, self._stream = connection, stream
        self.transport = stream
        self.flow = FlowControl(self.transport)
        self.server, self.client = connection.server, connection.client
        self.scheme = "wss" if connection.scheme == "https" else "ws"

    def connect(self, head: RequestHead) -> bool:
        """Read what the client offers. Whether the app is to be asked; else the handshake is refused."""
        try:
            self.wire.connect(head.headers)
            if dict(head.headers).get(b"sec-websocket-version", b"13") != b"13":
                raise ValueError("another version")
        except ValueError:
            self.refuse(400, "Bad Request")
            return False
        self.make_cycle(self._connection, head.path, head.query, "2", head.headers.copy())
        return True

    def send_acceptance(self, subprotocol: str | None, headers: Iterable[Header]) -> None:
        self._stream.send_head(200, self.wire.agree(subprotocol, headers))

    def refuse(self, status: int, text: str) -> None:
        self.finish()
        body = text.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8")] if body else []
        self._stream.send_head(status, [*headers, (b"content-length", b"%d" % len(body))])
        if body:
            self.transport.write(body)
        self.transport.close()

    def start_response(self, status: int, headers: Iterable[Header]) -> None:
        if 200 <= status < 300:
            raise MisusedByApp(f"A response of status {status} accepts a WebSocket over HTTP/2.")  # RFC 8441 section 5
        self._stream.send_head(*self.wire.begin_refusal(status, headers))
        self.state = WebSocketState.DENYING
        self.wire.head_sent = True

    def send_body(self, body: bytes, more: bool) -> None:
        counter = self.wire.refusal_body
        assert counter is not None
        body = counter.take(body_bytes(body), more)
        if body:
            self.transport.write(body)
        if not more:
            self.finish()
            self._stream.end(breaks_off=counter.is_short)

    def break_off_response(self) -> None:
        self.transport.abort()
