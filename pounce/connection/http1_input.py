"""What comes in on an HTTP/1.1 connection: metered, parsed in turns, held back, refused, or read and thrown away.

Runs on the worker's loop, in front of the order of requests (`http1`). Small segments that end with a head are handed
to the wire as they are: nothing in them can be above a limit but the number of fields. Everything else goes through a
`Meter` first. Implements RFC 9112 sections 2.2, 9.3 and 9.6.
"""

from __future__ import annotations

import asyncio
import sys
from time import monotonic
from typing import Any

from pounce import names
from pounce.connection.base import Input, Phase
from pounce.connection.flow import HIGH_WATER_LIMIT
from pounce.connection.http1_files import Http1FileWriter
from pounce.connection.http1_turns import InputInTurns
from pounce.connection.input_turns import SMALL_READ
from pounce.connection.lingering import linger
from pounce.connection.state import ServerState
from pounce.connection.upgrade import Upgrade, hand_over
from pounce.contracts import ConfigView
from pounce.errors import BadRequest
from pounce.exchange.http_cycle import RequestResponseCycle, ResponseState
from pounce.wire.http1 import Http1Wire
from pounce.wire.request_limits import Meter, content_too_large, fields_too_large
from pounce.wire.small_chunks import run_of
from pounce.wire.strictness import Headers

# At hand: a member of an enum is looked up slowly (Python 3.11).
_OPEN, _HALF_CLOSED, _ENDED = Input
_BUSY = Phase.BUSY
_NOTHING, _ALL = ResponseState.NOTHING, ResponseState.ALL

#: Of these a wire need not have told anything: bytes of methods, and the space behind one.
_OF_METHODS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ- ")

_LF = 10
_HEAD_END = b"\r\n\r\n"

#: Small chunks that are joined, for a line that is parsed.
_SMALL_CHUNKS_PER_LINE = 8

#: Bytes of the shortest request there is.
_SHORTEST_REQUEST = 18


class Http1Input(InputInTurns):
    """The receiving half of an HTTP/1.1 connection. `HTTP1Protocol` is the whole."""

    __slots__ = (
        "_behind_upgrade",
        "_body_left",
        "_linger_left",
        "_linger_timer",
        "_meter",
        "_plain_size",
        "_small_size",
        "behind",
        "limit_body",
        "limits",
        "unchecked_fields",
        "wire",
        "writer",
    )

    wire: Http1Wire
    writer: Http1FileWriter

    def __init__(
        self,
        config: ConfigView,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """See `HttpConnection`."""
        super().__init__(config, server_state, app_state, _loop)
        self.limits = limits = config.settings.limits
        self.limit_body: int = limits.body

        self.input = _OPEN
        #: What follows behind the requests in hand, and ends them.
        self.behind: Upgrade | BadRequest | None = None

        #: Bytes of a segment that cannot be above a limit if it begins a request; and the same, or 0 where the next one
        #: does not.
        self._small_size = self._plain_size = min(
            limits.request_line,
            limits.field_size,
            limits.head_size,
            limits.chunk_extensions,
            limits.pipeline * _SHORTEST_REQUEST,
        )
        #: Fields up to which a head needs no look.
        self.unchecked_fields: int = -1 if limits.body else limits.fields
        self._meter: Meter | None = None  # made when there is something to count
        self._behind_upgrade = b""  # what the wire has and the meter has not seen
        self._body_left = 0  # of what the body of the latest request may have
        #: Bytes that may still be dropped of a request that was answered early; and when it must be over.
        self._linger_left: int | None = None
        self._linger_timer: asyncio.TimerHandle | None = None

    # Told by asyncio

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self.phase = _BUSY
        if self.timeout_keep_alive_task is not None:
            self.unset_keepalive()
        if self.input is not _OPEN:
            if isinstance(self.behind, Upgrade):  # perhaps the first frames
                self.behind.behind.append(data)
                self.flow.pause_reading()
            return
        if self.features and not self.first_byte_at and not data.isspace():  # not for empty lines before a request
            latest = self.cycle
            if latest is None or not latest.more_body:
                self.first_byte_at = monotonic()
        try:
            if len(data) > self._plain_size:
                self._feed(data)
            elif self.wire.feed(data) or data[-1] in _OF_METHODS:
                self._follow(data)
        except BadRequest as exc:
            self.on_bad_request(exc)
        if self.pipeline:
            if self.input is _ENDED and self.transport.is_closing():
                self.pipeline.clear()  # it was closed before these were parsed, by what came in front of them
            elif self.active is None:
                self._advance()
            if self.pipeline:
                self._plain_size = 0
                self.flow.pause_reading()
        elif isinstance(self.behind, Upgrade) and self.active is None and not self.transport.is_closing():
            hand_over(self, self.behind)

    # Limits

    def _feed(self, data: bytes) -> None:
        """A segment that is not one of the small ones that end with a head. Raises BadRequest."""
        if self.held:
            self.held += data
            return
        meter = self._meter
        if meter is not None and meter.verdict is not None:
            return
        turns = self.server_state.input_turns
        if len(data) > SMALL_READ and turns.are_awaited:
            self.put_off(data)
            return
        if self._linger_left is not None:
            self._linger_left -= len(data)
            if self._linger_left < 0:
                self._reset()
                return
        is_plain = (meter is None or meter.is_between) and not turns.are_busy
        if is_plain and len(data) <= self._small_size and not self.pipeline:
            self._plain_size = self._small_size
            if self.wire.feed(data) or data[-1] in _OF_METHODS:
                self._follow(data)
            return
        if meter is None:
            meter = self._meter = Meter(self.limits)
        self._feed_metered(data, meter)
        is_plain = meter.is_between and not turns.are_busy and not self.held and self._linger_left is None
        self._plain_size = self._small_size if is_plain else 0

    def _follow(self, data: bytes) -> None:
        """A small segment that began a request has been parsed: where in a request does it end? Raises BadRequest."""
        left = -1
        latest = self.cycle
        if latest is not None and len(self.pipeline) == 1:  # that is the only one that the segment began
            left = data.find(_HEAD_END) + len(_HEAD_END) + len(latest.body) - len(data)
            if latest.more_body:
                left = self._left_of_body(latest) if not left else -1
        if not left or self.input is not _OPEN:
            return
        meter = self._meter
        if meter is None:
            meter = self._meter = Meter(self.limits)
        if left > 0:
            meter.expect(left)
        else:
            self._meter_parsed(data, meter)
            if meter.verdict is not None:  # fields that are small, but many
                raise meter.verdict
        if not meter.is_between:
            self._plain_size = 0

    def _meter_parsed(self, data: bytes, meter: Meter) -> None:
        """Bytes that the wire has: up to an upgrade, of which it will know in its turn whether HTTP goes on behind."""
        at, end = 0, len(data)
        while at < end and meter.verdict is None:
            at = meter.take(data, at)
            if meter.upgrades and at < end and self.holds_requests_back and self.behind is None:
                self._behind_upgrade = data[at:]
                self.flow.hold()
                return

    def _left_of_body(self, cycle: RequestResponseCycle) -> int:
        """Bytes that are still to come of a request; below 0: its head does not say that."""
        for name, value in cycle.scope["headers"]:
            if name == b"content-length" and value.isdigit() and len(value) < 19:
                return int(value) - len(cycle.body)
        return -1

    def _feed_metered(self, data: bytes, meter: Meter) -> None:
        at, end = 0, len(data)
        meter.lines = self.share
        while at < end:
            requests = sys.maxsize if self.holds_requests_back else self.limits.pipeline - len(self.pipeline)
            if requests <= 0:
                self.held = data[at:]
                self.flow.hold()
                return
            if meter.lines <= 0:
                if self._linger_left is not None:
                    self._linger_left += end - at  # which will come by here again
                self.put_off(data[at:])
                return
            start = at
            small = run_of(data, at, meter.lines * _SMALL_CHUNKS_PER_LINE) if meter.is_at_chunk else None
            if small is not None and small.chunks:
                at = small.end
                meter.lines -= small.chunks // _SMALL_CHUNKS_PER_LINE + 1
                self.wire.feed(small.as_chunk())
            else:
                at = meter.take(data, at, requests)
                if at > start:  # nothing at all would be the end
                    self.wire.feed(data if at - start == end else data[start:at])
            if meter.verdict is not None:
                latest = self.cycle
                if not self.holds_requests_back or latest is None or latest.more_body or latest.state is _ALL:
                    raise meter.verdict
                self.flow.hold()  # the wire is not there yet
                return
            if self.input is not _OPEN:
                if isinstance(self.behind, Upgrade) and at < end:
                    self.behind.behind.append(data[at:])
                return
            if meter.upgrades and self.holds_requests_back and at < end:
                latest = self.cycle
                if latest is not None and not latest.more_body and latest.state is not _ALL:
                    self.held = data[at:]  # whether it is taken only the wire will know, in its turn
                    self.flow.hold()
                    return

    def check_verdict(self) -> None:
        """A wire that holds requests back has gone on: has it come to what is above a limit?"""
        meter = self._meter
        if meter is not None and self._behind_upgrade and self.input is _OPEN:
            data, self._behind_upgrade = self._behind_upgrade, b""
            self._meter_parsed(data, meter)
        if meter is not None and meter.verdict is not None and self.input is _OPEN:
            latest = self.cycle
            if not self.pipeline or (latest is not None and latest.more_body):
                self.on_bad_request(meter.verdict)

    def most_incomplete(self) -> int | None:
        """Bytes of a head or of what surrounds a chunk that h11 may keep; None: its own limit."""
        given = self.config.h11_max_incomplete_event_size
        if given is None and names.product() != "uvicorn":  # one of whose tests is about h11's own
            return self.limits.head_size + self.limits.chunk_extensions + self.limits.request_line
        return given

    def check_head(self, headers: Headers, has_body: bool) -> None:
        """Raise BadRequest for a head that is complete, and above a limit."""
        if len(headers) > self.limits.fields:
            raise fields_too_large()
        if has_body and self.limit_body:
            self._body_left = self.limit_body
            for name, value in headers:
                if name == b"content-length" and (len(value.lstrip(b"0")) > 18 or int(value) > self.limit_body):
                    raise content_too_large()

    def on_body(self, data: bytes) -> None:
        """See `Http1Sink.on_body`."""
        cycle = self.cycle
        if self.behind is not None or cycle is None or cycle.state is _ALL:
            if self._linger_left is None and self.input is _OPEN:
                self._begin_lingering()
            return  # answered early: the rest of the request is read and dropped
        if self.limit_body:
            self._body_left -= len(data)
            if self._body_left < 0:
                raise content_too_large()
        cycle.on_body(data)
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_end(self, trailers: int) -> None:
        """See `Http1Sink.on_end`."""
        cycle = self.cycle
        if self.behind is None and cycle is not None and cycle.more_body:
            if trailers and trailers > self.limits.fields:
                raise fields_too_large()
            cycle.on_end()
            if self.input is _HALF_CLOSED:
                cycle.on_client_done()
            if cycle.state is _ALL:
                if self._linger_left is not None:
                    self._end_lingering()
                if self.holds_heads:
                    # Answered early: the connection is idle only now, unless the next request is here already.
                    self.loop.call_soon(self.go_on)

    def on_pause(self) -> None:
        """See `Http1Sink.on_pause`."""
        if self.input is not _HALF_CLOSED:  # there is no more to read, and reading on would tell the end once more
            self.flow.hold()

    # The order of requests

    def _advance(self) -> None:
        """Start the apps of parsed requests."""
        raise NotImplementedError

    # What is thrown away

    def _begin_lingering(self) -> None:
        """A request was answered before its body has come: the rest of it is read for the sake of the next one."""
        if not (self.limits.linger_size and self.limits.linger_seconds):
            self.close()
            return
        self._linger_left = self.limits.linger_size
        self._linger_timer = self.loop.call_later(self.limits.linger_seconds, self._reset)

    def _end_lingering(self) -> None:
        self._linger_left = None
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None

    def _reset(self) -> None:
        """What comes behind an early answer does not end."""
        self.input = _ENDED
        if not self.transport.is_closing():
            self.transport.abort()

    def close(self) -> None:
        """Close the transport behind what was sent, once."""
        if not self.transport.is_closing():
            self._stop()
            self.transport.close()

    def close_gently(self) -> None:
        """The same where the client may be sending: closed at once, it might never read what was sent to it."""
        if not self.transport.is_closing():
            self._stop()
            linger(self)

    def _stop(self) -> None:
        self.writer.flush()
        self.drop_input()

    def drop_input(self) -> None:
        """Nothing that has come, or will, counts any more."""
        self.input = _ENDED
        self.pipeline.clear()
        self.held = b""
        if self._linger_timer is not None:
            self._end_lingering()

    def on_bad_request(self, bad_request: BadRequest) -> None:
        """Answer requests that came before the broken one, then refuse, and read no more (RFC 9112 section 2.2)."""
        self.logger.warning(bad_request.reason)
        if self.input is _OPEN:
            self.input = _ENDED
        broken = self.cycle
        if broken is not None and broken.more_body and broken.state is not _ALL:
            if broken is self.active:
                broken.on_disconnect()
                if broken.state is not _NOTHING:
                    self.close()
                else:
                    self.refuse(bad_request)
                return
            if broken in self.pipeline:
                self.pipeline.remove(broken)
        if self.active is None and not self.pipeline:
            self.refuse(bad_request)
        else:
            self.behind = bad_request
            self.flow.hold()

    def refuse(self, bad_request: BadRequest) -> None:
        """Answer what is no request, or none that is taken, and end the connection."""
        if not self.transport.is_closing():
            self.writer.flush()
            self.transport.write(
                self.wire.error_response(bad_request.status, bad_request.reason, self.server_state.default_headers)
            )
            self.close_gently()
