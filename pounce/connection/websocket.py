"""One WebSocket connection: transport, flow control, closing handshake and keepalive around a wire and a cycle.

Runs on the worker's loop. Knows no parser: subclasses name their wire. Takes over a connection from HTTP/1.1, which
calls `connection_made` and then `data_received` with the request head. Answers to: RFC 6455, and to uvicorn's
WebSocket protocol classes, whose constructor, attributes, close codes and log lines these share.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Iterable
from typing import Any, ClassVar

from pounce.connection.base import Connection
from pounce.connection.flow import HIGH_WATER_LIMIT, can_write_vectors
from pounce.connection.peer import is_ssl
from pounce.connection.ping import PingTimer
from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.exchange.ws_cycle import Header, WebSocketCycle, WebSocketState, websocket_scope
from pounce.logs import TRACE_LOG_LEVEL
from pounce.wire.ws import (
    ABNORMAL_CLOSURE,
    INTERNAL_ERROR,
    NO_STATUS_RECEIVED,
    SERVICE_RESTART,
    SERVICE_UNAVAILABLE,
    UpgradeRequest,
    WebSocketWire,
)

#: A message of this size is written in pieces: to join a header to it costs more.
_LARGE_MESSAGE_SIZE = 16 * 1024


class WebSocketProtocol(Connection):
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
        self.scheme = "ws"
        self.default_headers = server_state.default_headers
        self.server_state = server_state

        self.state = WebSocketState.CONNECTING
        self.is_open = False
        self.handshake_complete = False
        self.disconnected = False
        self.cycle: WebSocketCycle | None = None
        self.close_timer: asyncio.TimerHandle | None = None
        #: Seconds that the peer has to answer our close frame.
        self.close_timeout = 10.0
        self.wire = self.wire_class(self, config.ws_max_size, config.ws_per_message_deflate, self.logger)
        self.ping = PingTimer(
            self.loop, config.ws_ping_interval, config.ws_ping_timeout, self._send_ping, self._on_pong_overdue
        )
        self._pongs: list[bytes] = []
        self._writes_vectors = False

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
        if self.cycle is None:
            raise AttributeError("scope")
        return self.cycle.scope

    @property
    def read_paused(self) -> bool:
        """Whether the transport was told to stop reading."""
        return self.flow.read_paused

    @property
    def write_paused(self) -> bool:
        """Whether `send()` has to wait."""
        return self.flow.write_paused

    @property
    def ping_timer(self) -> asyncio.TimerHandle | None:
        """Until the next ping."""
        return self.ping.ping_timer

    @property
    def pong_timer(self) -> asyncio.TimerHandle | None:
        """Until the pong is overdue."""
        return self.ping.pong_timer

    @property
    def pending_ping_payload(self) -> bytes | None:
        """Of the ping that awaits its pong."""
        return self.ping.pending_payload

    @property
    def ping_sent_at(self) -> float:
        """Loop time of the last ping; 0.0 before the first."""
        return self.ping.sent_at

    @property
    def last_ping_rtt(self) -> float:
        """Seconds from the last ping to its pong."""
        return self.ping.last_rtt

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._writes_vectors = can_write_vectors(self.loop)
        self.scheme = "wss" if is_ssl(transport) else "ws"
        self._trace("connection made")

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self._trace("connection lost")
        self._end()
        self.disconnected = True
        if self.cycle is not None:
            self.cycle.on_lost(NO_STATUS_RECEIVED if self.handshake_complete else ABNORMAL_CLOSURE)
        self.flow.resume_writing()  # asyncio does not, and the buffer will not drain any more
        if exc is None:
            self.transport.close()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._flush_pongs()

    def data_received(self, data: bytes) -> None:
        if self.ping.pong_timer is not None:
            self.ping.on_life()
        if self.is_open:
            self.cycle.woken = False  # type: ignore[union-attr]
            self.wire.receive_data(data)
        elif self.state is not WebSocketState.CLOSED:
            self.wire.receive_data(data)
            if self.wire.held_size > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
        if self._pongs:
            self._flush_pongs()

    # Told by the server

    def shutdown_when_idle(self) -> None:
        """Asked by a worker that is replaced: as `shutdown`, but the app gets some time to answer a handshake."""
        if self.state is not WebSocketState.CONNECTING and self.state is not WebSocketState.DENYING:
            self.shutdown()

    def shutdown(self) -> None:
        """End the WebSocket because the server does: 1012 if it is open, a refusal if the app has not answered yet.

        That is 503 where the whole worker ends: the client may try again elsewhere. A response of the app's own that
        has begun is let end there, as any other. Else it is 500, as with uvicorn.
        """
        if self.is_open:
            output = self.wire.fail(SERVICE_RESTART, "")
            self._end()
            assert self.cycle is not None
            self.cycle.on_disconnect(SERVICE_RESTART)
            self.transport.write(output)
        elif self.server_state.stopping and self.state is WebSocketState.DENYING:
            return
        elif self.server_state.stopping and self.state is WebSocketState.CONNECTING:
            self._send_unavailable()
            self._end()
        else:
            self.send_internal_error()
            self._end()
        self.transport.close()

    # Told by the wire

    def on_upgrade(self, request: UpgradeRequest) -> None:
        scope = websocket_scope(
            target=request.target,
            headers=request.headers,
            subprotocols=request.subprotocols,
            scheme=self.scheme,
            server=self.server,
            client=self.client,
            root_path=self.root_path,
            asgi_version=self.asgi_version,
            state=self.app_state.copy(),
        )
        self.cycle = WebSocketCycle(self.app, scope, self, self.logger)
        # Not eagerly, unlike requests: a turn of the loop is nothing to a connection that lives long, and after it the
        # transport is surely ours, so that what the app writes can pause us and not the HTTP/1.1 protocol before.
        run = self.cycle.run()
        if self.config.reset_contextvars:
            task = self.loop.create_task(run, context=contextvars.Context())
        else:
            task = self.loop.create_task(run)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_bad_upgrade(self, response: bytes) -> None:
        self._end()
        self.transport.write(response)
        self.transport.close()

    def on_text(self, text: str) -> None:
        if self.is_open:
            self.cycle.on_message({"type": "websocket.receive", "text": text})  # type: ignore[union-attr]

    def on_bytes(self, data: bytes) -> None:
        if self.is_open:
            self.cycle.on_message({"type": "websocket.receive", "bytes": data})  # type: ignore[union-attr]

    def on_ping(self, pong: bytes) -> None:
        if not self.is_open:
            return
        if self.flow.write_paused:
            # The peer does not read. RFC 6455, section 5.5.3: one pong may answer all pings before it.
            self._pongs.clear()
        self._pongs.append(pong)

    def on_pong(self, payload: bytes) -> None:
        self.ping.on_pong(payload)

    def on_close(self, code: int, reason: str, reply: bytes) -> None:
        if self.is_open:
            self._end()
            assert self.cycle is not None
            self.cycle.on_disconnect(code, reason)
            self._write_last(reply)
        else:
            self._end()
        self.transport.close()

    def on_failure(self, code: int, reason: str, close: bytes) -> None:
        self.on_close(code, reason, close)

    # Asked by the cycle

    def server_stops(self) -> bool:
        """Whether the worker is on its way out."""
        return self.server_state.stopping

    def is_closing(self) -> bool:
        """Whether what is written goes nowhere."""
        return self.transport.is_closing()

    def drain(self) -> Awaitable[None]:
        return self.flow.drain()

    def accept(self, subprotocol: str | None, headers: Iterable[Header]) -> None:
        if self.transport.is_closing():
            self._end()
            return
        output = self.wire.accept(subprotocol, [*self.default_headers, *headers])
        self.state = WebSocketState.OPEN
        self.is_open = self.handshake_complete = True
        self.transport.write(output)
        self.ping.start()
        self.flow.resume_reading()
        self.wire.release_held()
        self._flush_pongs()

    def forbid(self) -> None:
        output = self.wire.forbid()
        self._end()
        self.transport.write(output)
        self.transport.close()

    def start_response(self, status: int, headers: Iterable[Header]) -> None:
        output = self.wire.start_response(status, list(headers))
        self.state = WebSocketState.DENYING
        if output:
            self.transport.write(output)

    def send_body(self, body: bytes, more: bool) -> None:
        output = self.wire.response_body(body, more)
        if output:
            self.transport.write(output)
        if not more:
            self._end()
            self.transport.close()

    def send_text(self, text: str) -> None:
        if self._writes_vectors and len(text) >= _LARGE_MESSAGE_SIZE:
            self.transport.writelines(self.wire.text_pieces(text))
        else:
            self.transport.write(self.wire.text(text))

    def send_bytes(self, data: bytes) -> None:
        if self._writes_vectors and len(data) >= _LARGE_MESSAGE_SIZE:
            if type(data) is not bytes:
                data = bytes(memoryview(data))  # the app may change its buffer after send()
            self.transport.writelines(self.wire.binary_pieces(data))
        else:
            self.transport.write(self.wire.binary(data))

    def start_close(self, code: int | None, reason: str) -> None:
        output = self.wire.close(code, reason)
        self.state = WebSocketState.CLOSING
        self.is_open = False
        self.ping.stop()
        self.flow.resume_reading()  # or the peer's close frame would not be seen
        if not self.transport.is_closing():
            self._write_last(output)
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def send_internal_error(self) -> None:
        if self.state is WebSocketState.CONNECTING or self.state is WebSocketState.DENYING:
            output = self.wire.internal_error()
            self._end()
            if output:
                self.transport.write(output)

    def _send_unavailable(self) -> None:
        self.transport.write(SERVICE_UNAVAILABLE)

    def pause_reading(self) -> None:
        self.flow.pause_reading()

    def resume_reading(self) -> None:
        if self.is_open:  # before that, reading pauses for what is held back
            self.flow.resume_reading()

    def on_app_done(self) -> None:
        if self.close_timer is None:
            self.transport.close()

    # Timers

    def _send_ping(self, payload: bytes) -> None:
        if self.is_open:
            self.transport.write(self.wire.ping(payload))

    def _on_pong_overdue(self) -> None:
        if not self.is_open or self.transport.is_closing():
            return
        if self.flow.read_paused:
            # The app does not take what there is: an answer may be lying there unread. Ask again.
            self.ping.start()
            return
        self._trace("keepalive ping timeout")
        output = self.wire.fail(INTERNAL_ERROR, "keepalive ping timeout")
        self._end()
        assert self.cycle is not None
        self.cycle.on_disconnect(NO_STATUS_RECEIVED)
        self.transport.write(output)
        self.transport.close()

    # Pieces

    def _end(self) -> None:
        """Nothing more is sent or expected: no timers, no parsing."""
        self.state = WebSocketState.CLOSED
        self.is_open = False
        self.ping.stop()
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = None

    def _flush_pongs(self) -> None:
        if self._pongs and not self.flow.write_paused:
            if self.is_open:
                self.transport.write(b"".join(self._pongs))
            self._pongs.clear()

    def _write_last(self, frame: bytes) -> None:
        # Pongs of the same read belong before the close frame.
        self.transport.write(b"".join([*self._pongs, frame]))
        self._pongs.clear()

    def _trace(self, event: str) -> None:
        if self.logger.isEnabledFor(TRACE_LOG_LEVEL):
            prefix = f"{self.client[0]}:{self.client[1]} - " if self.client else ""
            self.logger.log(TRACE_LOG_LEVEL, f"%sWebSocket {event}", prefix)
