"""One HTTP/2 connection: transport, streams and their apps, output in turns, keep-alive, limits, GOAWAY.

Runs on the worker's loop. Knows no frames: the wire does. Apps are started when the whole segment is parsed, as with
HTTP/1.1, and what they send before they first wait leaves in one write. Implements RFC 9113 sections 5, 6.8 and 10.5;
compatible with uvicorn's ZttpH2Protocol in attributes, log lines and what a shutdown does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from time import monotonic
from typing import Any, ClassVar

from pounce.connection.base import HttpConnection, Phase
from pounce.connection.debts import BODY, HEAD, LATE_BODY, LATE_HEAD, OUTPUT, STALL, Debt, Limits, Owed, owed_output
from pounce.connection.http2_stream import HttpStream
from pounce.connection.http2_turns import RequestsInTurns
from pounce.connection.http2_websocket import WebSocketStream, websocket_wire
from pounce.connection.input_turns import SMALL_READ
from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.exchange.http_cycle import RequestResponseCycle, ResponseState
from pounce.exchange.scope import http_scope
from pounce.exchange.server_responses import REFUSALS, service_unavailable
from pounce.wire.http2 import Http2Wire
from pounce.wire.http2_frames import CANCEL, ENHANCE_YOUR_CALM, ConnectionFault
from pounce.wire.http2_native import NativeWire
from pounce.wire.http2_requests import RequestHead

#: Bytes of queued bodies that are moved to the transport in one turn of the loop.
_TURN_SIZE = 262144

# At hand: a member of an enum is looked up slowly (Python 3.11).
_BUSY, _NEWLY_IDLE, *_ = Phase


@cache
def http2_wire(name: str) -> type[Http2Wire]:
    """`--http2-wire`: the class by its short name; the h2 library is imported where it is asked for."""
    if name == "h2":
        from pounce.wire.http2_h2 import H2Wire

        return H2Wire
    return NativeWire


class HTTP2Protocol(RequestsInTurns, HttpConnection):
    """asyncio's view of one HTTP/2 connection, and the `Http2Sink` of its wire."""

    alpn_protocols: ClassVar[list[str]] = ["h2"]
    stream_class = HttpStream

    def __init__(
        self,
        config: ConfigView,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """See `HttpConnection`."""
        super().__init__(config, server_state, app_state, _loop)
        self.ws_wire_class = websocket_wire(config.ws_protocol_class)
        self.limits = config.settings.http2
        common = config.settings.limits
        self.limit_body: int = common.body
        self.wire: Http2Wire = http2_wire(self.limits.wire)(self, self.limits, self.ws_wire_class is not None, common)
        #: No stream is taken any more, and the connection ends with the last one.
        self.shutdown_requested = False
        self._ends_when_idle = False
        self._limits_heads = config.settings.deadlines.head > 0
        #: Somebody writes what there is at the end of this step, or in the next turn of the loop.
        self.write_is_due = False

    def __repr__(self) -> str:
        peer = f"{self.client[0]}:{self.client[1]}" if self.client else "?"
        return f"<{type(self).__name__} {peer} streams={len(self.wire.streams)}>"

    @property
    def cycles(self) -> dict[int, RequestResponseCycle]:
        """The exchanges that are not complete, by stream."""
        streams = self.wire.streams.values()
        return {stream.id: stream.cycle for stream in streams if isinstance(stream, HttpStream) and stream.cycle}

    # Told by asyncio

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected, and will speak HTTP/2."""
        super().connection_made(transport)
        self.wire.start()
        if self.retiring:
            self.wire.announce_end()
        if self.traces:
            self.trace("HTTP/2 connection made")
        self._finish_step()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self.connections.discard(self)
        if self.traces:
            self.trace("HTTP/2 connection lost")
        self.ended = True
        self.server_state.input_turns.leave(self)
        self.unset_keepalive()
        self.fresh.clear()
        streams: list[Any] = list(self.wire.streams.values())
        self.wire.closed()
        for stream in streams:
            stream.local_open = stream.remote_open = False
            stream.on_gone()
        if self.flow is not None:
            self.flow.resume_writing()
        if exc is None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.ended:
            return
        self.phase = _BUSY
        if self.timeout_keep_alive_task is not None:
            self.unset_keepalive()
        wire = self.wire
        if len(data) > SMALL_READ and self.server_state.input_turns.are_awaited:
            wire.keep(data)
            self.on_more(True)
            return
        if wire.control.spent or wire.resets.spent:
            now = monotonic()
            wire.control.refill(now)
            wire.resets.refill(now)
        self.write_is_due = True
        if self.features and data:
            self.first_byte_at = monotonic()
        try:
            has_more = wire.feed(data)
        except ConnectionFault as fault:
            self.write_is_due = False
            self._on_fault(fault)
            return
        if self.fresh:
            self.start_fresh()
        if wire.out or wire.queued_size or not wire.streams:
            self._finish_step()
        else:  # until an app has something to say
            self.write_is_due = False
        if has_more or self.has_more:
            self.on_more(has_more)

    def pause_writing(self) -> None:
        """The transport's write buffer is over its high-water mark: bodies wait in their streams."""
        super().pause_writing()
        self.wire.paused = True

    def resume_writing(self) -> None:
        """The transport's write buffer has room again."""
        super().resume_writing()
        self.wire.paused = False
        self.unread_frames = 0
        self.resume_reading()
        self.write_soon()

    # Told by the wire

    def on_request(self, stream: HttpStream, head: RequestHead) -> None:
        """See `Http2Sink.on_request`."""
        if head.protocol and not head.refusal:
            self._on_extended_connect(stream, head)
            return
        scope = http_scope(self, head.method, head.path, head.query, "2", head.headers.copy())
        app = self.app
        if app is self.proxy:
            if self.trusts_peer and not app.field_names.isdisjoint(dict(head.headers)):
                app.rewrite(scope)
            app = app.app
        if head.refusal:
            app = REFUSALS[head.refusal]
        elif self.shutdown_requested:
            app = service_unavailable
        elif self.limit_concurrency is not None:
            # What `Connection: close` is to HTTP/1.1: where the connections are too many, this one goes, too.
            self._ends_when_idle = False
            if self.is_over_limit(self.limit_concurrency, len(self.fresh)):
                app = service_unavailable
                self._ends_when_idle = self.server_state.has_connections(self.limit_concurrency)
        access_logger = self.access_logger if self.access_log else None
        expects = head.expect_continue and stream.remote_open
        stream.takes_trailers = head.takes_trailers
        stream.cycle = cycle = RequestResponseCycle(
            stream,
            stream,
            stream,
            app,
            scope,
            self.logger,
            access_logger,
            True,
            expects,
            stream.remote_open,
            self.observers,
        )
        for feature in self.features:
            feature(cycle)
        self.fresh.append((stream, cycle))

    def _on_extended_connect(self, stream: HttpStream, head: RequestHead) -> None:
        """RFC 8441: the stream becomes a WebSocket; another protocol there is none."""
        if head.protocol != b"websocket" or self.shutdown_requested or not stream.remote_open:
            self.wire.send_head(stream, 501 if head.protocol != b"websocket" else 503, (), ())  # type: ignore[arg-type]
            self.wire.send_data(stream, b"", True)
            return
        websocket = WebSocketStream(self, stream)
        self.wire.streams[stream.id] = websocket
        if websocket.protocol.connect(head):
            self.fresh.append((websocket, websocket.protocol.cycle))

    def on_reset(self, stream: Any) -> None:
        """See `Http2Sink.on_reset`."""
        stream.on_gone()
        task = stream.task
        if task is not None and task in self.tasks:
            # It goes on until it notices, and until then counts as a stream: or a client could start any number.
            self.wire.lingering += 1
            task.add_done_callback(self._on_lingering_done)
        elif task is None and self.fresh:
            self.forget(stream)

    def on_goaway(self) -> None:
        """See `Http2Sink.on_goaway`."""
        self.shutdown_requested = True

    # Steps

    def write_soon(self) -> None:
        """There may be something to write: at the end of this step, or in the next turn of the loop."""
        if self.write_is_due:
            return
        self.write_is_due = True
        if self.holds_heads:
            self.loop.call_soon(self._finish_step)
        else:
            self._finish_step()

    def _finish_step(self) -> None:
        """Write what there is, a turn's worth of bodies at most; see whether the connection is idle, or at its end."""
        self.write_is_due = False
        wire = self.wire
        if wire.queued_size and wire.has_ready:
            wire.pump(_TURN_SIZE - wire.out_size)
        if wire.out:
            self._write()
        if wire.queued_size and wire.has_ready:
            self.write_soon()
        if self.fresh and not self.to_run and not self.is_crowded:
            self.server_state.input_turns.wait(self)
        if not wire.streams:
            if self.shutdown_requested or self._ends_when_idle:
                self.close()
            elif self.sweeps_idle:
                # uvicorn: whatever comes, a PING as well, and the idle time begins anew. But not for a byte of a head.
                if self.phase is not _BUSY or not (self._limits_heads and wire.awaits_head):
                    self.phase = _NEWLY_IDLE
            elif not self.transport.is_closing():
                self.start_keepalive()

    def _write(self) -> None:
        wire = self.wire
        out, has_large = wire.out, wire.has_large
        wire.out, wire.out_size, wire.has_large = [], 0, False
        transport = self.transport
        if transport.is_closing():
            return
        if wire.paused:
            self.unread_frames += sum(map(len, out))
            if self.unread_frames > self.limits.unread_size:
                self.flow.pause_reading()  # until the client has read some of our answers
        if has_large and self.writes_vectors:
            transport.writelines([piece for piece in out if piece])  # asyncio 3.14 spins on an empty one
        else:
            transport.write(out[0] if len(out) == 1 else b"".join(out))

    # Limits and ends

    def _on_fault(self, fault: ConnectionFault) -> None:
        self.logger.warning("Invalid HTTP/2 frame received: %s", fault)
        self.fresh.clear()
        self.close(fault.code, fault.reason)

    def _on_lingering_done(self, _task: Any) -> None:
        self.wire.lingering -= 1

    def owed(self, limits: Limits) -> Sequence[Owed]:
        """What its client owes of that for which there are limits: as a whole, and for each stream."""
        wire = self.wire
        owed = owed_output(self, limits)
        if self.transport.is_closing():
            return owed
        if limits[HEAD] and wire.awaits_head:
            owed.append((HEAD, None, wire.last_stream_id, None if wire.is_settled else self.accepted_at))
        if wire.queued_size > self.limits.stalled_size:
            owed.append((STALL, None, wire.sent_size, None))
        if limits[OUTPUT] and wire.queued_size:
            owed += [(OUTPUT, each, each.queued_size, None) for each in wire.streams.values() if each.queued_size]
        if limits[BODY]:
            for stream in wire.streams.values():
                cycle = getattr(stream, "cycle", None)  # a WebSocket has none, nor has what is answered
                if cycle is not None and cycle.more_body and cycle.readers:
                    owed.append((BODY, stream, (cycle.pieces, wire.rest_of_data(stream)), None))
        return owed

    def on_late(self, debt: Debt, stream: Any) -> None:
        """The client has not paid in time."""
        if debt is HEAD:
            self.close(ENHANCE_YOUR_CALM, LATE_HEAD)
        elif debt is STALL:
            self._on_fault(ConnectionFault(ENHANCE_YOUR_CALM, "responses are not taken"))
        elif stream is None:
            self.transport.abort()
        elif stream.local_open:
            if debt is BODY:
                self._end_upload(stream, 408, LATE_BODY.encode())
            else:
                self.wire.reset(stream.id, CANCEL)
                self.on_reset(stream)
                self.write_soon()

    def on_large_body(self, stream: HttpStream) -> None:
        """See `StreamConnection.on_large_body`. No message: it might have to wait for the client."""
        self.logger.warning("Request body too large.")
        self._end_upload(stream, 413, b"")

    def _end_upload(self, stream: Any, status: int, message: bytes) -> None:
        """Answer it where no response has begun, else reset it; the app hears that its client has gone."""
        if stream.cycle.state is ResponseState.NOTHING:
            fields = ((b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(message)))
            self.wire.send_head(stream, status, fields, self.server_state.default_headers)
            self.wire.send_data(stream, message, True)
        else:
            self.wire.reset(stream.id, CANCEL)
        self.on_reset(stream)
        self.write_soon()

    def close(self, code: int = 0, reason: str = "") -> None:
        """Say the last stream that was taken, and close."""
        if not self.transport.is_closing():
            self.ended = True
            self.unset_keepalive()
            self.wire.end(code, reason)
            self._write()
            self.transport.close()

    def exchanges(self) -> list[Any]:
        """See `Connection.exchanges`."""
        streams = self.wire.streams.values()
        sockets = [socket for stream in streams if isinstance(stream, WebSocketStream) for socket in stream.exchanges()]
        return [*self.cycles.values(), *sockets]

    def shutdown(self) -> None:
        """Asked by the server: end with the last response.

        A client that was told before (`shutdown_when_idle`) gets the final word on which streams count; any other one
        is told now, and what it sends before it knows is answered with 503, as with uvicorn.
        """
        if self.retiring:
            self.wire.end()
        else:
            self.wire.announce_end()
        self.shutdown_requested = True
        for stream in list(self.wire.streams.values()):
            if isinstance(stream, WebSocketStream):
                stream.shutdown()
        self.write_soon()
        if not self.wire.streams:
            self.close()

    def shutdown_when_idle(self) -> None:
        """Asked by a worker that is replaced: tell the client to go elsewhere, and answer what is on its way."""
        self.retiring = True
        self.wire.announce_end()
        self.write_soon()
