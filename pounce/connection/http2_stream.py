"""One HTTP/2 stream with a request on it: the `HttpChannel` of its cycle, and the flow control of its two directions.

Runs on the worker's loop. One object is the wire's stream, the cycle's channel and the channel's flow. Knows no
transport: what is to be written lies in the wire, and the connection is told that it does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from pounce.connection.file_parts import send_in_parts
from pounce.connection.flow import HIGH_WATER_LIMIT
from pounce.connection.state import ServerState
from pounce.errors import MisusedByApp
from pounce.exchange.extensions import with_extensions
from pounce.exchange.http_cycle import RequestResponseCycle, ResponseState
from pounce.exchange.scope import EARLY_HINT, TRAILERS
from pounce.wire.http2 import Http2Wire
from pounce.wire.http2_frames import INTERNAL_ERROR
from pounce.wire.http2_scheduler import Http2Stream
from pounce.wire.response_fields import TOO_SHORT, ResponseBody, body_bytes, checked_trailers

#: Bytes of a response that wait for the client: above the first `send()` waits, up to the second it goes on.
_HIGH_WATER = HIGH_WATER_LIMIT
_LOW_WATER = HIGH_WATER_LIMIT // 4


class StreamConnection(Protocol):
    """What a stream asks of the connection that it is on."""

    wire: Http2Wire
    transport: asyncio.Transport
    server_state: ServerState
    spec_version: str
    logger: logging.Logger
    client: tuple[str, int] | None
    first_byte_at: float
    #: Bytes of a request's body; 0: no limit.
    limit_body: int
    #: Whether what is sent now will be written without `write_soon`.
    write_is_due: bool

    @property
    def is_crowded(self) -> bool:
        """Whether so much of all responses waits for the client that no stream is to add to it."""

    def write_soon(self) -> None:
        """There may be something to write."""

    def on_large_body(self, stream: Any) -> None:
        """Its body is above the limit, and so its stream is over."""


class HttpStream(Http2Stream):
    """A request and its response."""

    __slots__ = (
        "_body",
        "_drained",
        "_received",
        "connection",
        "cycle",
        "read_paused",
        "takes_trailers",
        "task",
        "write_paused",
    )

    sends_length_of_500 = False
    messages = with_extensions(EARLY_HINT, TRAILERS)

    def __init__(self, connection: StreamConnection, stream_id: int, send_window: int, receive_window: int) -> None:
        super().__init__(stream_id, send_window, receive_window)
        self.connection = connection
        self.cycle: RequestResponseCycle | None = None
        self.task: asyncio.Task[None] | None = None
        self.takes_trailers = False  # says its `TE` field
        #: There is something that the client may be told the app has read.
        self.read_paused = False
        self._received = 0  # bytes of a body for which there is a limit
        self.write_paused = False
        self._drained: asyncio.Event | None = None
        self._body: ResponseBody = None  # type: ignore[assignment]  # once the head is sent

    @property
    def spec_version(self) -> str:
        """See `HttpChannel.spec_version`."""
        return self.connection.spec_version

    def server_stops(self) -> bool:
        """See `HttpChannel.server_stops`."""
        return self.connection.server_state.stopping

    @property
    def client(self) -> tuple[str, int] | None:
        """See `HttpChannel.client`."""
        return self.connection.client

    @property
    def first_byte_at(self) -> float:
        """See `HttpChannel.first_byte_at`: of the segment that has completed the request's head."""
        return self.connection.first_byte_at

    # Flow

    async def drain(self) -> None:
        """Wait until little enough of the response waits for the client, or the stream is over."""
        while self.write_paused:
            if self._drained is None:
                self._drained = asyncio.Event()
            await self._drained.wait()

    def resume_reading(self) -> None:
        """The app takes what there is of the body: the client may send as much again."""
        self.read_paused = False
        if self.unread:
            self.connection.wire.consumed(self, self.unread)
            self.connection.write_soon()

    def on_sent(self) -> None:
        """See `Http2Stream.on_sent`."""
        if self.write_paused and self.queued_size <= _LOW_WATER:
            self._resume_writing()

    def _resume_writing(self) -> None:
        self.write_paused = False
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    def on_body(self, data: bytes) -> None:
        """A part of the request's body."""
        cycle, limit = self.cycle, self.connection.limit_body
        if cycle is None:
            self.connection.wire.consumed(self, len(data))  # answered early: the rest is read and dropped
            return
        if limit:
            self._received += len(data)
            if self._received > limit:
                self.connection.on_large_body(self)
                return
        self.read_paused = True
        cycle.on_body(data)

    def on_end(self) -> None:
        """The request is complete."""
        if self.cycle is not None:
            self.cycle.on_end()

    def on_gone(self) -> None:
        """The stream is over before its response: the app is told, and nothing it sends goes anywhere."""
        if self.cycle is not None:
            self.cycle.on_disconnect()
            self.cycle = None  # no cycle of references once it is over
        self._resume_writing()

    # Told by the cycle

    def send_head(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        is_head: bool,
        keep_alive: bool,  # of the connection, which no response ends
        body_follows: bool = False,
    ) -> None:
        """See `HttpWriter.send_head`."""
        connection = self.connection
        if not self.local_open or connection.transport.is_closing():
            self._body = ResponseBody(status, is_head)
            return
        length = connection.wire.send_head(self, status, headers, connection.server_state.default_headers)
        self._body = ResponseBody(status, is_head, length)
        if not connection.write_is_due:
            connection.write_soon()

    def send_body(self, body: Any, more_body: bool) -> None:
        """See `HttpWriter.send_body`."""
        counter = self._body
        if type(body) is not bytes:
            body = body_bytes(body)
        body = counter.take(body, more_body)
        if self.local_open:
            connection = self.connection
            connection.wire.send_data(self, body, not more_body, None, counter.is_short)
            if self.queued_size and (self.queued_size > _HIGH_WATER or connection.is_crowded):
                self.write_paused = True
            if not connection.write_is_due:
                connection.write_soon()
        if counter.is_short:
            self._report_short()
        if counter.dropped and not more_body:
            counter.dropped = False
            self.connection.logger.warning("Responses of status 204 and 304 have no body: the app's was left out.")

    def _report_short(self) -> None:
        """What there is is sent, and then the stream's reset: the app hears of its mistake."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        raise MisusedByApp(TOO_SHORT)

    def send_continue(self) -> None:
        """See `HttpWriter.send_continue`."""
        if self.local_open and self.remote_open:
            self.connection.wire.send_informational(self, 100, ())
            self.connection.write_soon()

    def flush(self) -> None:
        """See `HttpWriter.flush`: no head waits here."""

    def send_early_hint(self, links: Iterable[bytes]) -> None:
        """See `ExtendedWriter.send_early_hint`."""
        if self.local_open:
            self.connection.wire.send_informational(self, 103, [(b"link", link) for link in links])
            self.connection.write_soon()

    def check_trailers(self, fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """See `ExtendedWriter.check_trailers`."""
        return checked_trailers(fields)

    def send_trailers(self, fields: list[tuple[bytes, bytes]]) -> None:
        """See `ExtendedWriter.send_trailers`."""
        is_short = bool(self._body.left)
        if not self.takes_trailers or self._body.has_none:
            fields = []
        if self.local_open:
            self.connection.wire.send_data(self, b"", True, fields, breaks_off=is_short)
            self.connection.write_soon()
        if is_short:
            self._report_short()

    async def send_file(self, file: int, offset: int, count: int, more_body: bool) -> None:
        """See `ExtendedWriter.send_file`."""
        if not count or not self._body.takes(count):
            self.send_body(b"", more_body)
            return
        await send_in_parts(
            file, offset, count, self, lambda: not self.local_open,
            lambda part, is_last: self.send_body(part, more_body or not is_last),
        )  # fmt: skip

    def abandon(self, cycle: RequestResponseCycle) -> None:
        """See `HttpChannel.abandon`: only this stream ends, also where its response was complete (as with uvicorn).

        What of it waits for the client is sent before that.
        """
        connection = self.connection
        if not cycle.disconnected and not connection.transport.is_closing():
            if not self.queue:
                connection.wire.reset(self.id, INTERNAL_ERROR)
            elif cycle.state is not ResponseState.ALL:
                connection.wire.send_data(self, b"", True, breaks_off=True)
            connection.write_soon()
        cycle.disconnected = True
        self._resume_writing()

    def on_response_complete(self, cycle: RequestResponseCycle) -> None:
        """See `HttpChannel.on_response_complete`."""
        self.connection.server_state.total_requests += 1
        self.cycle = None
        if not self.connection.write_is_due:
            self.connection.write_soon()
