"""A WebSocket on one HTTP/2 stream (RFC 8441): the WebSocket protocol, with a stream as its transport.

Runs on the worker's loop. Exchange, frames, pings and the closing handshake are those of a WebSocket over HTTP/1.1;
only the opening handshake differs. The wire still sees one, since it settles extensions and subprotocols there: it is
made up here, and of the wire's answer only these two are sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pounce.connection.flow import HIGH_WATER_LIMIT, FlowControl
from pounce.connection.pick_websocket import AutoWebSocketsProtocol
from pounce.connection.websocket import WebSocketProtocol
from pounce.exchange.ws_cycle import Header, WebSocketCycle, WebSocketState, websocket_scope
from pounce.wire.http2_frames import CANCEL
from pounce.wire.http2_requests import RequestHead
from pounce.wire.http2_scheduler import Http2Stream
from pounce.wire.ws import UpgradeRequest, WebSocketWire

if TYPE_CHECKING:
    from pounce.connection.http2 import HTTP2Protocol
    from pounce.connection.http2_stream import HttpStream

#: The request that the WebSocket wire is shown: HTTP/1.1's, with what RFC 8441 has no use for.
_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nhost: websocket\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
_SHOWN = (b"sec-websocket-extensions", b"sec-websocket-protocol", b"sec-websocket-version")

#: Fields of a 101 that have no place in the answer to an extended CONNECT.
_NOT_SENT = (b"upgrade", b"connection", b"sec-websocket-accept")

_LOW_WATER = HIGH_WATER_LIMIT // 4


def websocket_wire(ws_protocol_class: Any) -> type[WebSocketWire] | None:
    """The wire for WebSockets over HTTP/2 where HTTP/1.1 uses this class; None: there are none."""
    if ws_protocol_class is None:
        return None
    for protocol_class in (ws_protocol_class, AutoWebSocketsProtocol):
        if isinstance(protocol_class, type) and issubclass(protocol_class, WebSocketProtocol):
            return protocol_class.wire_class
    return None


class WebSocketStream(Http2Stream):
    """The stream, and to the WebSocket protocol its transport."""

    __slots__ = ("_closing", "_lost", "_write_paused", "connection", "protocol", "read_paused", "task")

    def __init__(self, connection: HTTP2Protocol, stream: HttpStream, head: RequestHead) -> None:
        """Takes the place of `stream`, on which nothing has happened yet."""
        super().__init__(stream.id, stream.send_window, stream.receive_window)
        self.urgency, self.incremental = stream.urgency, stream.incremental
        self.connection = connection
        self.task: asyncio.Task[None] | None = None
        self.read_paused = False
        self._write_paused = False
        self._closing = False
        self._lost = False
        self.protocol = Http2WebSocket(connection, self, head)

    # Told by the connection

    def on_body(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._closing:
            self.connection.wire.consumed(self, len(data))
            return
        self.protocol.data_received(data)
        if not self.read_paused:
            self.resume_reading()

    def on_end(self) -> None:
        """The client has ended the stream: what the end of a TCP connection is to a WebSocket over HTTP/1.1."""
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

    def send_head(self, status: int, headers: Iterable[Header]) -> None:
        """The answer to the extended CONNECT. Raises MisusedByApp."""
        if self.local_open:
            self.connection.wire.send_head(self, status, headers, self.connection.server_state.default_headers)
            self.connection.write_soon()

    def pause_reading(self) -> None:
        """The client's window is not filled up any more."""
        self.read_paused = True

    def resume_reading(self) -> None:
        """It is."""
        self.read_paused = False
        if self.unread:
            self.connection.wire.consumed(self, self.unread)
            self.connection.write_soon()

    def close(self) -> None:
        """End the stream once everything is sent."""
        if not self._closing:
            self._closing = True
            if self.local_open:
                self.connection.wire.send_data(self, b"", True)
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

    def __init__(self, connection: HTTP2Protocol, stream: WebSocketStream, head: RequestHead) -> None:
        assert connection.ws_wire_class is not None
        self.wire_class = connection.ws_wire_class  # type: ignore[misc]
        super().__init__(connection.config, connection.server_state, connection.app_state, connection.loop)
        self._stream = stream
        self._head = head
        self.transport = stream  # type: ignore[assignment]
        self.flow = FlowControl(self.transport)
        self.server, self.client = connection.server, connection.client
        self.scheme = "wss" if connection.scheme == "https" else "ws"

    def open(self) -> None:
        """Show the wire a handshake; it answers with `on_upgrade` or `on_bad_upgrade`."""
        lines = [_HANDSHAKE]
        shown = [field for field in self._head.headers if field[0] in _SHOWN]
        if all(name != b"sec-websocket-version" for name, _ in shown):
            shown.append((b"sec-websocket-version", b"13"))
        lines += [b"%b: %b\r\n" % field for field in shown]
        self.wire.receive_data(b"".join((*lines, b"\r\n")))

    def on_upgrade(self, request: UpgradeRequest) -> None:
        head = self._head
        target = head.path + b"?" + head.query if head.query else head.path
        scope = websocket_scope(
            target=target.decode("ascii"),
            headers=head.headers.copy(),
            subprotocols=request.subprotocols,
            scheme=self.scheme,
            server=self.server,
            client=self.client,
            root_path=self.root_path,
            asgi_version=self.asgi_version,
            state=self.app_state.copy(),
        )
        scope["http_version"] = "2"
        self.cycle = WebSocketCycle(self.app, scope, self, self.logger)

    def on_bad_upgrade(self, response: bytes) -> None:
        self._end()
        self._answer(400, b"Bad Request")

    def accept(self, subprotocol: str | None, headers: Iterable[Header]) -> None:
        if self.transport.is_closing():
            self._end()
            return
        lines = self.wire.accept(subprotocol, headers).split(b"\r\n")[1:]
        fields = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines if line)]
        self._stream.send_head(200, [field for field in fields if field[0].lower() not in _NOT_SENT])
        self.state = WebSocketState.OPEN
        self.is_open = self.handshake_complete = True
        self.ping.start()
        self.flow.resume_reading()
        self.wire.release_held()
        self._flush_pongs()

    def forbid(self) -> None:
        self._end()
        self._answer(403, b"")

    def start_response(self, status: int, headers: Iterable[Header]) -> None:
        self._stream.send_head(status, headers)
        self.state = WebSocketState.DENYING

    def send_body(self, body: bytes, more: bool) -> None:
        if body:
            self.transport.write(body)
        if not more:
            self._end()
            self.transport.close()

    def send_internal_error(self) -> None:
        state = self.state
        if state is WebSocketState.CONNECTING:
            self._end()
            self._answer(500, b"Internal Server Error")
        elif state is WebSocketState.DENYING:
            self._end()
            self.transport.abort()

    def _send_unavailable(self) -> None:
        self._answer(503, b"Service Unavailable")

    def _answer(self, status: int, body: bytes) -> None:
        headers = [(b"content-length", b"%d" % len(body))]
        if body:
            headers.insert(0, (b"content-type", b"text/plain; charset=utf-8"))
        self._stream.send_head(status, headers)
        if body:
            self.transport.write(body)
        self.transport.close()
