"""The way out of one HTTP/1.1 connection: what its cycles send is written at once.

Only a head may wait, for the first part of its body and no longer than this turn of the loop, since both fit into one
write. Runs on the worker's loop. Knows no parser, and of requests only their cycles: the wire makes bytes of messages.
Compatible with RFC 9112 sections 4 to 7 and 9.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, ClassVar

from pounce.connection.base import HttpConnection
from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.errors import MisusedByApp
from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.wire.http1 import Http1Wire
from pounce.wire.response_fields import body_bytes

#: Bytes from which on a body part is written as it is: copying it to join it with its head would cost more.
_LARGE_BODY_SIZE = 16 * 1024


class Http1Output(HttpConnection):
    """A connection that writes HTTP/1.1. Its subclass reads it."""

    __slots__ = ("_advancing", "_head", "wire")

    wire_class: ClassVar[Any]

    def __init__(
        self,
        config: ConfigView,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """See `HttpConnection`."""
        super().__init__(config, server_state, app_state, _loop)
        self.wire: Http1Wire = self.wire_class(self, server_state.header_cache, config.h11_max_incomplete_event_size)
        self._advancing = False  # the subclass starts apps, and flushes behind them
        self._head = b""  # of a response whose body has not begun

    # Told by the cycle

    def send_head(self, cycle: RequestResponseCycle, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """See `HttpChannel.send_head`. The head waits for the end of this step, or for a body in the same step."""
        if cycle.waiting_for_100_continue and cycle.more_body:
            # RFC 9110 section 10.1.1: whether the client still sends the body that it asked about is anybody's guess.
            cycle.keep_alive = False
        data = self.wire.head(status, headers, self.server_state.default_headers, cycle.is_head, cycle.keep_alive)
        if not self._holds_heads:
            self.transport.write(data)
            return
        self._head = data
        if not self._advancing:
            self.loop.call_soon(self.flush)

    def send_body(self, cycle: RequestResponseCycle, body: bytes, more_body: bool) -> None:
        """See `HttpChannel.send_body`."""
        if type(body) is not bytes:
            body = body_bytes(body)
        wire = self.wire
        if len(body) >= _LARGE_BODY_SIZE:
            self._send_large(body, more_body)
        else:
            data = wire.body(body, more_body)
            if self._head:
                data = self._head + data
                self._head = b""
            if data and not (more_body and self.transport.is_closing()):
                self.transport.write(data)
        if not more_body:
            if wire.is_short:  # what there is has been sent; the connection ends with the app's mistake
                raise MisusedByApp("Response content shorter than Content-Length")
            if wire.dropped_body:
                wire.dropped_body = False
                self.logger.warning("Responses of status 204 and 304 have no body: the app's was left out.")

    def _send_large(self, body: bytes, more_body: bool) -> None:
        pieces = self.wire.large_body(body, more_body)
        if self._head:
            pieces.insert(0, self._head)
            self._head = b""
        if self.transport.is_closing():
            return  # asyncio would log every write
        if self._writes_vectors:
            # asyncio never gets rid of an empty piece at the end: it would spin on it.
            self.transport.writelines([piece for piece in pieces if piece])
        else:
            self.transport.write(b"".join(pieces))

    def send_continue(self) -> None:
        """See `HttpChannel.send_continue`."""
        if not self.transport.is_closing():
            self.flush()
            self.transport.write(self.wire.continue_100())

    def flush(self) -> None:
        """Write a head whose body does not come in the same step."""
        if self._head:
            data, self._head = self._head, b""
            if not self.transport.is_closing():
                self.transport.write(data)
