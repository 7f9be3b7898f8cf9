"""The way out of one HTTP/1.1 connection: heads and parts of responses, and what of them waits to leave in one write.

Runs on the worker's loop. Knows no parser, and of requests only their cycles: the wire makes bytes of messages. Answers
to: RFC 9112 sections 4 to 7 and 9.6.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from time import monotonic
from typing import Any, ClassVar

from pounce.connection.base import HttpConnection
from pounce.connection.held_streams import QUICK_SUCCESSION
from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.wire.http1 import Http1Wire

#: Bytes from which on a body part is written as it is: copying it to join it with its head would cost more.
_LARGE_BODY_SIZE = 16 * 1024

#: Pieces of responses that are held for one write. More must be written, so that the transport can say that the client
#: does not read.
MAX_HELD_PARTS = 64

#: Parts that are written at once after one has waited for nothing.
_WRITTEN_AT_ONCE = 64

_TCP_CORK: Any = getattr(socket, "TCP_CORK", None)  # Linux


class Http1Output(HttpConnection):
    """A connection that writes HTTP/1.1. Its subclass reads it."""

    __slots__ = (
        "_advancing",
        "_held_output",
        "_held_parts",
        "_held_size",
        "_out",
        "_part_at",
        "_parts_at_once",
        "wire",
    )

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

        # What is written at the end of the step, or of the turn of the loop, or when a stream pauses
        self._out: list[bytes] = []
        self._held_output = server_state.held_output
        self._held_size = 0  # bytes of bodies' parts in `_out`
        self._held_parts = -1  # pieces in it when the worker last looked; -1: it does not look
        self._part_at = 0.0  # when the last part of this body was sent (monotonic)
        self._parts_at_once = 0  # parts that will not wait, since one has waited in vain

    # Told by the cycle

    def send_head(self, cycle: RequestResponseCycle, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """See `HttpChannel.send_head`. The head waits for the end of this step, or for a body in the same step."""
        self._part_at = 0.0  # the first part of a body is never a quick one
        data = self.wire.head(
            status, headers, self.server_state.default_headers, cycle.scope["method"] == "HEAD", cycle.keep_alive
        )
        if self._holds_output:
            self._hold(data)
        else:
            self.transport.write(data)

    def send_body(self, cycle: RequestResponseCycle, body: bytes, more_body: bool) -> None:
        """See `HttpChannel.send_body`."""
        if type(body) is not bytes:
            body = bytes(memoryview(body))  # the app may change its buffer after send(); a str is refused here
        if more_body or len(body) >= _LARGE_BODY_SIZE:
            self._send_part(body, more_body)
            return
        data = self.wire.body(body, False)
        out = self._out
        if self.wire.close_after_response:
            out.append(data)  # `close` is next, which writes it
        elif self._holds_output and self._held_output.patient and not self._held_size:
            self._hold(data)
        elif out:
            out.append(data)
            self.flush()
        elif data:
            self.transport.write(data)

    def _hold(self, data: bytes) -> None:
        out = self._out
        out.append(data)
        if len(out) == 1 and (self._held_output.patient or not self._advancing):
            self._held_output.add(self, self.loop)  # which may write it at once

    def _send_part(self, body: bytes, more_body: bool) -> None:
        """Write a part of a body at once, unless it follows quickly: then several may leave in one write."""
        now = monotonic()
        follows = now - self._part_at < QUICK_SUCCESSION
        self._part_at = now
        out = self._out
        is_large = len(body) >= _LARGE_BODY_SIZE
        if is_large:
            pieces = self.wire.large_body(body, more_body)
            out += pieces
            self._held_size += sum(map(len, pieces))
        else:
            data = self.wire.body(body, more_body)
            if not (follows or out):
                if data:
                    self.transport.write(data)
                return
            out.append(data)
            self._held_size += len(data)
        streams = self.server_state.held_streams
        if (
            not (follows and more_body and self._holds_output)
            or (is_large and not self._writes_vectors)  # joining what is large would cost more than it saves
            or self._held_size >= self.flow.burst_size
            or len(out) > MAX_HELD_PARTS
            or now < streams.wait_from
        ):
            self.flush()
        elif self._parts_at_once:
            self._parts_at_once -= 1
            self.flush()
        elif self._held_parts < 0:
            self._held_parts = 0  # the worker looks before this stream's next step: it cannot have gone on by then
            streams.add(self, self.loop)

    def goes_on(self) -> bool:
        """See `Stream.goes_on`."""
        known = self._held_parts
        self._held_parts = held = len(self._out)
        return held > known

    def release(self, goes_on: bool) -> None:
        """See `Stream.release`."""
        # Where a part waited for none, the next ones would, too: an app that has them from another thread, say.
        most = 1 if self._held_size < _LARGE_BODY_SIZE else 3  # a large chunk is three pieces
        if not goes_on and 0 < len(self._out) <= most and self._held_size > 0:
            self._parts_at_once = _WRITTEN_AT_ONCE
        self.flush()
        self._held_parts = -1

    def send_continue(self) -> None:
        """See `HttpChannel.send_continue`."""
        if not self.transport.is_closing():
            self.flush()
            self.transport.write(self.wire.continue_100())

    def flush(self) -> None:
        """Write what is held back."""
        out = self._out
        if out:
            self._out = []
            size, self._held_size = self._held_size, 0
            if len(out) == 1:
                self.transport.write(out[0])
            elif size < _LARGE_BODY_SIZE or not self._writes_vectors:
                self.transport.write(b"".join(out))
            else:
                # asyncio never gets rid of an empty piece at the end: it would spin on it.
                self.transport.writelines([piece for piece in out if piece])
            if size >= _LARGE_BODY_SIZE:
                self.flow.wrote(size)
            if size and self._held_parts >= 0:
                self.server_state.held_streams.on_written(self._part_at)

    def flush_and_end(self) -> None:
        """Write what is held back, and end this direction in the same segment: it wakes the client once, not twice.

        The connection is to be closed next. Both at once: while the kernel holds data back (TCP_CORK) nothing may come
        between, neither the loop's other work nor input that would have the connection reset.
        """
        sock = self._tcp_socket() if self._out else None
        if sock is None:
            self.flush()
            return
        try:
            with contextlib.suppress(OSError):  # the client has gone
                sock.setsockopt(socket.IPPROTO_TCP, _TCP_CORK, 1)
            self.flush()
            if self.transport.is_closing():
                return  # writing failed, and the number may be another file's by now
            with contextlib.suppress(OSError):
                if self.transport.get_write_buffer_size():
                    sock.setsockopt(socket.IPPROTO_TCP, _TCP_CORK, 0)  # the rest will take its time
                else:
                    sock.shutdown(socket.SHUT_WR)
        finally:
            sock.detach()

    def _tcp_socket(self) -> socket.socket | None:
        """The transport's socket, to be detached, where there is TCP alone between this and the client, on Linux.

        Not the loop's own object for it: uvloop's makes a socket for every option that is set, and can't shut down.
        """
        if _TCP_CORK is None or self.client is None or self.scheme != "http" or not self._holds_output:
            return None
        known: Any = self.transport.get_extra_info("socket")
        try:
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, known.fileno())
        except (AttributeError, OSError, ValueError):  # none, or closed
            return None
