"""One HTTP/1.1 connection: its requests, in their order; keep-alive, limits, upgrade. A parser is a `wire_class`.

Runs on the worker's loop. Knows no parser and no other thread. A request's way: `data_received` feeds the wire, which
tells `on_request`/`on_body`/`on_end`; `_advance` runs the app; its messages go out through the writer.

The app is started when the whole segment is parsed, so that `receive()` finds what has arrived; what it sends before it
first waits leaves in one write. Implements RFC 9112 section 9; compatible with uvicorn's protocol classes.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from pounce.connection.base import Input, Phase
from pounce.connection.debts import Http1Debts
from pounce.connection.http1_files import Http1FileWriter
from pounce.connection.http1_input import Http1Input
from pounce.connection.state import ServerState
from pounce.connection.upgrade import Upgrade, hand_over, warn_unsupported
from pounce.contracts import ConfigView
from pounce.errors import BadRequest
from pounce.exchange.extensions import with_extensions
from pounce.exchange.http_cycle import MESSAGES, RequestResponseCycle, ResponseState
from pounce.exchange.scope import EARLY_HINT, TRAILERS, http_scope
from pounce.exchange.server_responses import service_unavailable
from pounce.wire.strictness import INVALID_REQUEST, Headers

#: Pipelined requests that are answered in a row, for a share of lines that are parsed.
_LINES_PER_REQUEST = 4

# At hand: a member of an enum is looked up slowly (Python 3.11).
_OPEN, _HALF_CLOSED, _ENDED = Input
_NEWLY_IDLE = Phase.NEWLY_IDLE
_ALL = ResponseState.ALL

# Numbers, since `b"#" in target` raises and drops an exception inside of Python first (3.14).
_HASH, _SLASH, _QUESTION_MARK = b"#/?"


class HTTP1Protocol(Http1Debts, Http1Input):
    """asyncio's view of one HTTP/1.1 connection, and the `HttpChannel` of its cycles."""

    __slots__ = ("scope", "ws_protocol_class")

    wire_class: ClassVar[Any]
    scope: Any
    messages = with_extensions(EARLY_HINT, TRAILERS)
    sends_length_of_500: ClassVar[bool] = False

    def __init__(
        self,
        config: ConfigView,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """See `HttpConnection`."""
        super().__init__(config, server_state, app_state, _loop)
        self.ws_protocol_class = config.ws_protocol_class
        incomplete = self.most_incomplete()
        self.wire = self.wire_class(self, server_state.header_cache, server_state.rules(config), incomplete)
        #: What its cycles send goes through this.
        self.writer = Http1FileWriter(
            self.wire.encoder, server_state, self.loop.call_soon if self.holds_heads else None, self.writes_vectors
        )

    def __repr__(self) -> str:
        peer = "{}:{}".format(*self.client) if self.client else "?"
        return f"<{type(self).__name__} {peer} {'ACTIVE' if self.active else 'IDLE'}>"

    # Told by asyncio

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self.writer.transport = transport
        self.writer.flow = self.flow
        if self.traces:
            self.trace("HTTP connection made")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self.connections.discard(self)
        if self.traces:
            self.trace("HTTP connection lost")
        self.unset_keepalive()
        self.drop_input()
        active, latest = self.active, self.cycle
        if active is not None and active is not latest:
            active.on_disconnect()
        if latest is not None:
            latest.on_disconnect()
        if self.flow is not None:
            self.flow.resume_writing()
        self.let_go()

    def eof_received(self) -> bool:
        """The client sends no more. True where it may wait for answers (RFC 9112 section 9.6); TLS does not allow that.
        Otherwise asyncio closes the transport."""
        if self.input is _HALF_CLOSED:
            return True
        latest = self.cycle
        ended = self.input is _ENDED and not isinstance(self.behind, Upgrade)
        if self.scheme != "http" or latest is None or latest.more_body or ended:
            self.writer.flush()
            return False
        if self.active is None and not self.pipeline:
            return False
        self.input = _HALF_CLOSED
        for cycle in self.exchanges():
            cycle.on_client_done()
        return True

    # Told by the wire

    def on_request(
        self,
        method: str,
        target: bytes,
        http_version: str,
        headers: Headers,
        keep_alive: bool,
        expect_continue: bool,
        has_body: bool,
        upgrade: bytes | None,
    ) -> bool:
        """See `Http1Sink.on_request`."""
        if len(headers) > self.unchecked_fields:
            self.check_head(headers, has_body)
        if target[0] != _SLASH or _HASH in target:  # not in origin form
            target = self.wire.origin_form(method, target, headers)
        if upgrade is not None:
            if upgrade == b"websocket" and self.ws_protocol_class is not None:
                self.wire.rules.check_handshake(http_version, headers)
                self.behind = Upgrade(method, target, headers, [])
                if self.input is _OPEN:
                    self.input = _ENDED
                return True
            warn_unsupported(self.logger, self.ws_protocol_class)
        raw_path, query_string = target, b""
        if _QUESTION_MARK in target:
            raw_path, _, query_string = target.partition(b"?")
        try:
            scope = http_scope(self, method, raw_path, query_string, http_version, headers)
        except UnicodeDecodeError as exc:
            raise BadRequest(INVALID_REQUEST) from exc
        app = self.app
        if app is self.proxy:
            if self.trusts_peer and not app.field_names.isdisjoint(dict(headers)):
                app.rewrite(scope)
            app = app.app
        if self.limit_concurrency is not None and self.is_over_limit(self.limit_concurrency):
            app = service_unavailable
        if self.retiring or self.timeout_keep_alive <= 0:
            keep_alive = False  # and the client is told, rather than cut off in the middle of its next request
        access_logger = self.access_logger if self.access_log else None
        self.scope = scope
        self.cycle = cycle = RequestResponseCycle(
            self,
            self.writer,
            self.flow,
            app,
            scope,
            self.logger,
            access_logger,
            keep_alive,
            expect_continue,
            has_body,
            self.observers,
        )
        if http_version == "1.0":  # which knows neither interim responses nor chunks
            cycle.messages = MESSAGES
            del scope["extensions"][EARLY_HINT], scope["extensions"][TRAILERS]
        if self.features:
            for feature in self.features:
                feature(cycle)
            self.first_byte_at = 0.0
        if self.input is _HALF_CLOSED and not has_body:
            cycle.on_client_done()
        self.pipeline.append(cycle)
        return False

    # The order of requests

    def _advance(self) -> None:
        """Start the apps of parsed requests, one after the other is answered; then write what they said at once."""
        writer = self.writer
        writer.in_step = True
        pipeline = self.pipeline
        left = 0
        while True:
            self.active = cycle = pipeline.popleft()
            self.start_app(cycle.run())
            if not pipeline or self.active is not None:
                break
            # The app may have run and answered meanwhile.
            left = (left or self.server_state.input_turns.share // _LINES_PER_REQUEST) - 1  # type: ignore[unreachable]
            if not left:
                break
        writer.in_step = False
        if writer.head:
            writer.flush()
        if self.active is None:
            if pipeline:  # type: ignore[unreachable]
                self.wait_for_turn()
            else:
                self._on_drained()

    def go_on(self) -> None:
        """See `InputInTurns.go_on`."""
        # In the turn between, the connection may have ended, or been handed over.
        if self.active is None and self in self.connections and not self.transport.is_closing():
            if self.pipeline:
                self._advance()
            else:
                self._on_drained()

    def _on_drained(self) -> None:
        """Every request that was parsed is answered: what waited for that, or the idle time."""
        if self.sweeps_idle and self.input is _OPEN:
            self.phase = _NEWLY_IDLE
            if self.flow.read_paused:
                self.read_on()
            return
        if self.transport.is_closing():
            return
        behind = self.behind
        if isinstance(behind, BadRequest):
            self.refuse(behind)
        elif self.input is _HALF_CLOSED:
            self.close()  # whatever is behind: no frame of a WebSocket can come any more
        elif behind is not None:
            hand_over(self, behind)
        else:
            self.read_on()
            self.start_keepalive()

    # Told by the cycle, besides what is sent (`Http1Writer`)

    def abandon(self, cycle: RequestResponseCycle) -> None:
        """See `HttpChannel.abandon`. What a child task of the app may still send is dropped, and so is what the next
        request's app sends, where the response was complete."""
        cycle.on_disconnect()
        if self.active is not None:
            self.active.on_disconnect()
        self.close()

    def on_response_complete(self, cycle: RequestResponseCycle) -> None:
        """See `HttpChannel.on_response_complete`."""
        self.server_state.total_requests += 1
        self.active = None
        encoder = self.wire.encoder
        if encoder.dropped_body:
            encoder.dropped_body = False
            self.logger.warning("Responses of status 204 and 304 have no body: the app's was left out.")
        if encoder.close_after_response or not cycle.keep_alive:
            if cycle.more_body:
                self.close_gently()
            else:
                self.close()
        elif self.holds_requests_back or (self.pipeline and not self.writer.in_step):
            self._next_request()
        elif not self.writer.in_step:
            self._on_drained()

    def _next_request(self) -> None:
        if self.transport.is_closing():
            return
        try:
            self.wire.start_next()
        except BadRequest as exc:
            self.on_bad_request(exc)
        self.check_verdict()
        if self.cycle is not None and self.cycle.more_body:
            if self.input is _HALF_CLOSED:
                self.close()  # a further request that will never be complete
                return
            if self.held:
                self.wait_for_turn()
            else:
                self.flow.held = False
        if self.writer.in_step:
            return  # the loop there goes on with the next request
        if not self.pipeline:
            self._on_drained()
        elif self.holds_heads:
            self.wait_for_turn()  # nor must the next app run inside this one's `send`
        else:
            self._advance()

    def let_go(self) -> None:
        """Break the reference cycles: this connection shall be freed at once, not by the garbage collector."""
        self.cycle = self.active = self.scope = self.behind = None
        self.wire.closed()

    # Told by the server

    def exchanges(self) -> list[RequestResponseCycle]:
        """See `Connection.exchanges`."""
        return [*self.pipeline] if self.active is None else [self.active, *self.pipeline]

    def shutdown(self) -> None:
        """Asked by the server: end the connection after the request in hand, or now."""
        self.shutdown_when_idle()
        if self.cycle is None or self.cycle.state is _ALL:
            if self.held:  # which may be a request
                self.ends_behind_held = True
            else:
                self.close()

    def shutdown_when_idle(self) -> None:
        """Asked by a worker that is replaced: end with the next response, for which an idle client gets some time."""
        self.retiring = True
        if self.cycle is not None:
            self.cycle.keep_alive = False
