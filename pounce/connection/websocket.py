"""One WebSocket connection: transport, flow control, closing handshake and keepalive around a wire and a cycle.

Runs on the worker's loop. Knows no parser: subclasses name their wire. Takes over a connection from HTTP/1.1, with the
request that it has parsed; an HTTP class of the user's own calls `connection_made`, and then `data_received` with the
bytes of the head. Implements RFC 6455. Compatible with uvicorn's WebSocket protocol classes, whose constructor,
attributes, close codes and log lines these share.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from pounce.connection.base import Connection, HttpConnection
from pounce.connection.debts import WebSocketDebts
from pounce.connection.flow import HIGH_WATER_LIMIT, can_write_vectors
from pounce.connection.input_turns import SMALL_READ
from pounce.connection.peer import is_ssl, tls_of
from pounce.connection.ping import Keepalive
from pounce.connection.state import ServerState
from pounce.connection.websocket_turns import FramesInTurns
from pounce.contracts import ConfigView
from pounce.errors import BadRequest
from pounce.exchange.scope import http_scope
from pounce.exchange.ws_cycle import OPEN, UNANSWERED, Header, WebSocketCycle, WebSocketState
from pounce.logs import VisibleDebug
from pounce.wire.http1_h11 import H11Wire
from pounce.wire.response_fields import Headers
from pounce.wire.ws import WebSocketWire
from pounce.wire.ws_frames import ABNORMAL_CLOSURE, INTERNAL_ERROR, NO_STATUS_RECEIVED, SERVICE_RESTART

#: Seconds that the peer has to answer the close frame of a server that stops: enough for the answer of any client that
#: is there. Those that are not would hold up the stop.
_CLOSE_TIMEOUT_AT_STOP = 2.0

#: A message of this size is written in pieces: to join a header to it costs more.
_LARGE_MESSAGE_SIZE = 16 * 1024


class WebSocketProtocol(WebSocketDebts, FramesInTurns, Keepalive, Connection):
    """What the WebSocket protocol classes have in common. Not usable by itself: `wire_class` is missing."""

    wire_class: ClassVar[type[WebSocketWire]]

    def __init__(
        self,
        config: ConfigView,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.default_headers = server_state.default_headers
        self.server_state = server_state
        self.ping_interval, self.ping_timeout = config.ws_ping_interval, config.ws_ping_timeout

        self.state = WebSocketState.CONNECTING
        self.handshake_complete = False
        self.disconnected = False
        library_log = VisibleDebug(self.logger, {}) if self.logger.isEnabledFor(logging.DEBUG) else self.logger
        self.wire = self.wire_class(self, config.ws_max_size, config.ws_per_message_deflate, library_log)
        self.cycle: WebSocketCycle = None  # type: ignore[assignment]  # made when there is a valid handshake
        self.close_timer: asyncio.TimerHandle | None = None
        #: Seconds that the peer has to answer our close frame.
        self.close_timeout = 10.0
        self._head: H11Wire | None = None  # reads the request where it comes as bytes
        self.extensions["websocket.http.response"] = {}
        self.pongs = bytearray()
        self._held = bytearray()  # what came before the handshake was answered

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.value} client={self.client}>"

    # What observers of uvicorn's classes read

    @property
    def conn(self) -> Any:
        """The parser library's connection object."""
        return self.wire.conn

    @property
    def scope(self) -> dict[str, Any]:
        """The app's scope; AttributeError before the handshake request."""
        return self.cycle.scope

    @property
    def read_paused(self) -> bool:
        """Whether the transport was told to stop reading."""
        return self.flow.read_paused

    @property
    def write_paused(self) -> bool:
        """Whether `send()` has to wait."""
        return self.flow.write_paused

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.scheme = "wss" if is_ssl(transport) else "ws"
        self.extensions |= tls_of(transport)
        if self.traces:
            self.trace("WebSocket connection made")

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self.server_state.input_turns.leave(self)
        if self.traces:
            self.trace("WebSocket connection lost")
        self.finish()
        self.disconnected = True
        if self.cycle is not None:
            self.cycle.on_lost(NO_STATUS_RECEIVED if self.handshake_complete else ABNORMAL_CLOSURE)
        self.flow.resume_writing()  # asyncio does not, and the buffer will not drain any more

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flush_pongs()

    def data_received(self, data: bytes) -> None:
        if self.pong_timer is not None:
            self.alive_at = self.loop.time()
        if self.state is OPEN:
            if len(data) > SMALL_READ and self.puts_off(data):
                return
            self.cycle.woken = False
            if self.wire.receive_data(data):
                self.wait_for_turn()
            if self.pongs:
                self.flush_pongs()
        elif self.state is WebSocketState.CLOSING:
            if self.wire.receive_data(data):
                self.wait_for_turn()
        elif self.state is not WebSocketState.CLOSED:
            if self.cycle is None:
                self._receive_head(data)  # type: ignore[unreachable]
            else:
                self._hold(data)

    # The handshake

    def open(
        self, http: HttpConnection | None, method: str, target: bytes, headers: Headers, behind: bytes = b""
    ) -> None:
        """Start the app, or refuse the request that asks for it. Takes over from `http`, if that is ours, too."""
        if http is not None:
            self.flow, self.server, self.client = http.flow, http.server, http.client
            self.scheme = "wss" if http.scheme == "https" else "ws"
            self.connections.add(self)
            self.transport = http.transport
            if self.traces:
                self.trace("WebSocket connection made")
        fields = dict(headers)
        if not target.isascii() or b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0":
            refusal = self.wire.refuse(400, "")
        else:
            refusal = self.wire.open(method, headers)
        if refusal:
            self.finish()
            self.transport.write(refusal)
            self.transport.close()
            return
        raw_path, _, query = target.partition(b"?")
        self.make_cycle(http, raw_path, query, "1.1", self.wire.scope_headers)
        # Not eagerly, unlike requests: a turn of the loop is nothing to a connection that lives long, and after it the
        # transport is surely ours, so that what the app writes can pause us and not the HTTP/1.1 protocol before.
        run = self.cycle.run()
        if self.config.reset_contextvars:
            task = self.loop.create_task(run, context=contextvars.Context())
        elif http is not None and http.context is not None:
            # Not that of the request before, whose app may be what runs here.
            task = http.context.copy().run(self.loop.create_task, run)
        else:
            task = self.loop.create_task(run)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        if behind:
            self._hold(behind)

    def make_cycle(self, http: Any, raw_path: bytes, query: bytes, http_version: str, headers: Headers) -> None:
        """The handshake is valid."""
        scope = http_scope(self, "", raw_path, query, http_version, headers)
        del scope["method"]
        scope["type"], scope["asgi"]["spec_version"] = "websocket", "2.4"
        scope["subprotocols"] = list(self.wire.subprotocols)
        if self.scheme == "wss":
            known = self.extensions if http is None else http.extensions
            if "tls" in known:
                scope["extensions"]["tls"] = known["tls"].copy()
        app: Any = self.app
        if http is not None and app is http.proxy:  # whose peer is known: it need not be awaited through
            if http.trusts_peer and not app.field_names.isdisjoint(dict(headers)):
                app.rewrite(scope)
            app = app.app
        self.cycle = WebSocketCycle(app, scope, self, self.logger)

    def on_request(self, method: str, target: bytes, _http_version: str, headers: Headers, *_rest: Any) -> bool:
        """See `Http1Sink.on_request`: the head has come as bytes."""
        self.open(None, method, target, headers)
        return True

    def _receive_head(self, data: bytes) -> None:
        """From an HTTP class of the user's own."""
        if self._head is None:
            self._head = H11Wire(self, self.server_state.header_cache, self.server_state.rules(self.config))  # type: ignore[arg-type]
        try:
            self._head.feed(data)
        except BadRequest as exc:
            self.refuse(exc.status, "")
        if self.cycle is not None:
            self._hold(self._head.trailing_data)

    def _hold(self, data: bytes) -> None:
        # Neither library may see it before the answer: the extensions that it depends on are agreed on there.
        self._held += data
        if len(self._held) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    # Told by the server

    def exchanges(self) -> Sequence[WebSocketCycle]:
        """See `Connection.exchanges`."""
        return () if self.cycle is None or self.state is WebSocketState.CLOSED else (self.cycle,)

    def shutdown_when_idle(self) -> None:
        """Asked by a worker that is replaced: as `shutdown`, but the app gets some time to answer a handshake."""
        if self.state not in UNANSWERED:
            self.shutdown()

    def shutdown(self) -> None:
        """End the WebSocket because the server does: 1012 if it is open, a refusal if the app has not answered yet.

        Where the whole worker ends, the peer may answer the close frame (what it sends to a closed socket has the
        system reset it, frame and all); the refusal is 503, for the client may try again elsewhere; and a response of
        the app's own that has begun is let end. Else all of it is as with uvicorn.
        """
        stopping = self.server_state.stopping
        if stopping and self.state in (OPEN, WebSocketState.CLOSING):
            if self.state is OPEN:
                self.start_close(SERVICE_RESTART, "")
                self.cycle.on_disconnect(SERVICE_RESTART)
            self._hurry_peer()
            return
        if self.state is OPEN:
            self._fail(SERVICE_RESTART, "", SERVICE_RESTART)
        elif stopping and self.state is WebSocketState.DENYING:
            return
        elif stopping and self.state is WebSocketState.CONNECTING:
            self.refuse(503, "Service Unavailable")
        else:
            self._answer_for_app()
            self.finish()
        self.transport.close()

    def _hurry_peer(self) -> None:
        """The close frame is sent, and the peer has less time than usual to answer it."""
        if self.close_timer is not None and self.close_timeout > _CLOSE_TIMEOUT_AT_STOP:
            self.close_timer.cancel()
            self.close_timeout = _CLOSE_TIMEOUT_AT_STOP
            # Not `close`, which waits for a peer that reads nothing.
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    # Told by the wire

    def on_text(self, text: str) -> None:
        if self.state is OPEN:
            self.cycle.on_message({"type": "websocket.receive", "text": text})

    def on_bytes(self, data: bytes) -> None:
        if self.state is OPEN:
            self.cycle.on_message({"type": "websocket.receive", "bytes": data})

    def on_close(self, code: int, reason: str, reply: bytes) -> None:
        is_open = self.state is OPEN
        self.finish()
        if is_open:
            self.cycle.on_disconnect(code, reason)
            self.write_last(reply)
        self.transport.close()

    # Asked by the cycle

    def accept(self, subprotocol: str | None, headers: Iterable[Header]) -> None:
        if self.transport.is_closing():
            self.finish()
            return
        self.send_acceptance(subprotocol, headers)
        self.state = OPEN
        self.handshake_complete = True
        self.start_pings()
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            if self.wire.receive_data(held):
                self.wait_for_turn()
        if self.pongs:
            self.flush_pongs()

    def send_acceptance(self, subprotocol: str | None, headers: Iterable[Header]) -> None:
        """Answer that the WebSocket is open."""
        self.transport.write(self.wire.accept(subprotocol, [*self.default_headers, *headers]))

    def refuse(self, status: int, text: str) -> None:
        output = self.wire.refuse(status, text)
        self.finish()
        self.transport.write(output)
        self.transport.close()

    def start_response(self, status: int, headers: Iterable[Header]) -> None:
        output = self.wire.start_response(status, headers)
        self.state = WebSocketState.DENYING
        if output:
            self.transport.write(output)

    def send_body(self, body: bytes, more: bool) -> None:
        output = self.wire.response_body(body, more)
        if output:
            self.transport.write(output)
        if not more:
            self.finish()
            self.transport.close()

    def send_message(self, message: str | bytes) -> None:
        if len(message) < _LARGE_MESSAGE_SIZE or not can_write_vectors(self.loop):
            self.transport.write(self.wire.message_frame(message))
            return
        if type(message) not in (str, bytes):
            message = bytes(memoryview(message))  # type: ignore[arg-type]  # the app may change its buffer after send()
        self.transport.writelines(self.wire.pieces(message))

    def start_close(self, code: int | None, reason: str) -> None:
        output = self.wire.close(code, reason)
        self.state = WebSocketState.CLOSING
        self.stop_pings()
        self.read_on()  # or the peer's close frame would not be seen
        if not self.transport.is_closing():
            self.write_last(output)
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def on_app_done(self) -> None:
        self._answer_for_app()
        if self.close_timer is None and not self.transport.is_closing():
            self.transport.close()

    def _answer_for_app(self) -> None:
        if self.state is WebSocketState.CONNECTING or (
            self.state is WebSocketState.DENYING and not self.wire.head_sent
        ):
            self.refuse(500, "Internal Server Error")
        elif self.state is WebSocketState.DENYING:
            self.finish()
            self.break_off_response()

    def break_off_response(self) -> None:
        """The app has not finished its response."""
        self.transport.close()

    # Keepalive

    def send_ping(self, payload: bytes) -> None:
        if self.state is OPEN and not self.transport.is_closing():
            self.transport.write(self.wire.ping(payload))

    def on_pong_overdue(self) -> None:
        if self.state is not OPEN or self.transport.is_closing():
            return
        if self.flow.read_paused:
            # The app does not take what there is: an answer may be lying there unread. Ask again.
            self.start_pings()
            return
        if self.traces:
            self.trace("WebSocket keepalive ping timeout")
        self._fail(INTERNAL_ERROR, "keepalive ping timeout", NO_STATUS_RECEIVED)

    # Pieces

    def _fail(self, code: int, reason: str, told: int) -> None:
        """End an open WebSocket; the app is told another code than the client."""
        output = self.wire.fail(code, reason)
        self.finish()
        self.cycle.on_disconnect(told)
        if not self.transport.is_closing():  # the app may have ended, and what it sent not be taken yet
            self.transport.write(output)
            self.transport.close()

    def finish(self) -> None:
        """Nothing more is sent or expected: no timers, no parsing."""
        self.state = WebSocketState.CLOSED
        self.wire.stop()
        self.stop_pings()
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = None
