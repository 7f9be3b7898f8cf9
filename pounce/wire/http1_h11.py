"""HTTP/1.1 parsed and written by h11: the strict, pure-Python way. h11 keeps the state of both sides.

h11 is pulled in a loop and stops by itself before a pipelined request. Implements RFC 9112 in the dialect of
uvicorn's h11 implementation (its 400 has no default fields and no length, `Connection` may move).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h11
from h11._connection import DEFAULT_MAX_INCOMPLETE_EVENT_SIZE

from pounce.errors import BadRequest, MisusedByApp
from pounce.wire.header_cache import HeaderCache
from pounce.wire.http1 import Http1Sink, error_fields
from pounce.wire.http1_library import LibraryWire
from pounce.wire.http1_lines import LineGuard
from pounce.wire.response_fields import STATUS_PHRASES, ResponseBody, checked_head, checked_status
from pounce.wire.strictness import INVALID_REQUEST, Headers, Rules

_CLOSE = (b"connection", b"close")


class H11Wire(LibraryWire):
    """See `Http1Wire` and `Http1Encoder`: the library keeps the state of both sides."""

    def __init__(
        self, sink: Http1Sink, header_cache: HeaderCache, rules: Rules, max_incomplete_size: int | None = None
    ) -> None:
        """`max_incomplete_size`: bytes of an incomplete head or chunk header that are kept (None: h11's default)."""
        limit = DEFAULT_MAX_INCOMPLETE_EVENT_SIZE if max_incomplete_size is None else max_incomplete_size
        super().__init__(sink, h11.Connection(h11.SERVER, limit), rules)
        #: In front of h11, which ends lines and joins them as no other parser does.
        self._guard = LineGuard(limit) if rules.is_strict else None
        self._is_paused = False
        self._taken = False
        self._behind = b""  # what has come, and was not parsed: behind a pipelined head, or an upgrade
        self._request_says_close = False
        self._is_head = False

    def feed(self, data: bytes) -> bool:
        """See `Http1Wire.feed`."""
        guard = self._guard
        if guard is None:
            self.conn.receive_data(data)
            return self._pump()
        if self._is_paused:
            self._behind += data
            return True
        is_inside = True
        while data:
            good, data = guard.take(data)
            if good:
                self.conn.receive_data(good)
            is_inside = self._pump()
            if self._is_paused or self._taken:
                self._behind = data
                return True
        return is_inside

    def _pump(self) -> bool:
        """Tell what there is. Whether it may have ended in the middle of a request."""
        conn, sink = self.conn, self.sink
        is_inside = True
        while True:
            try:
                event = conn.next_event()
            except h11.RemoteProtocolError as exc:
                # Without its traceback: a frame of h11's there holds the exception, and all of this connection.
                raise self._refusal() from exc.with_traceback(None)
            if event is h11.NEED_DATA:
                guard = self._guard
                if guard is None or guard.fault is None:
                    return is_inside
                fault, guard.fault = guard.fault, None
                raise fault
            if event is h11.PAUSED:
                self._is_paused = True
                sink.on_pause()
                return True
            if isinstance(event, h11.Request):
                self._taken = self._on_request(event)
                if self._taken:
                    return True
            elif isinstance(event, h11.Data):
                sink.on_body(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                if event.headers:
                    self.rules.check_trailers(event.headers)
                sink.on_end(len(event.headers))
                if conn.our_state is h11.DONE:
                    conn.start_next_cycle()
                elif conn.their_state is h11.MUST_CLOSE:
                    if self._guard is not None:
                        self._guard.end()
                    return False
                else:
                    is_inside = False  # what follows makes it pause
            elif isinstance(event, h11.ConnectionClosed):
                return False

    def _refusal(self) -> BadRequest:
        """What to raise where h11 does, which says 501 for any coding that it does not know."""
        if self._guard is not None and self.conn.our_state is h11.IDLE:
            return self._guard.refusal()
        return BadRequest(INVALID_REQUEST)

    def _on_request(self, event: h11.Request) -> bool:
        headers = list(event.headers)  # with names in lower case
        self._request_says_close = _CLOSE in headers
        self._is_head = event.method == b"HEAD"
        method = event.method.decode("ascii")
        http_version = event.http_version.decode("ascii")
        if self.rules.check(method, event.target, http_version, headers) and self._guard is not None:
            self._guard.begin_body()
        return self.sink.on_request(
            method,
            event.target,
            http_version,
            headers,
            True,  # h11 itself knows when the connection must close
            self.conn.they_are_waiting_for_100_continue,
            True,  # h11 tells the end of every message
            _upgrade_of(headers),
        )

    @property
    def trailing_data(self) -> bytes:
        """See `Http1Wire.trailing_data`."""
        return bytes(self.conn.trailing_data[0]) + self._behind

    def start_next(self) -> None:
        """See `Http1Wire.start_next`."""
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.DONE:
            self.conn.start_next_cycle()
            self._is_paused = False
            self._pump()
            if self._behind and not self._is_paused and not self._taken:
                data, self._behind = self._behind, b""
                self.feed(data)

    def head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], defaults: Headers, is_head: bool, keep_alive: bool
    ) -> bytes:
        """See `Http1Encoder.head`. All is checked here first: what h11 refuses leaves it unable to send anything else.

        A name or value may be an ASCII str: h11 takes it, and so it works with uvicorn on h11.
        """
        status = checked_status(status)
        fields, length, _ = checked_head(status, [*defaults, *headers], takes_text=True)
        if (self._request_says_close or not keep_alive) and _CLOSE not in fields:
            fields.append(_CLOSE)
        try:
            data = self._send(h11.Response(status_code=status, headers=fields, reason=STATUS_PHRASES[status]))
        except h11.LocalProtocolError as exc:
            raise MisusedByApp(str(exc)) from exc
        self.counter = ResponseBody(status, self._is_head, length)
        return data

    def body(self, data: bytes, more_body: bool) -> bytes:
        """See `Http1Encoder.body`."""
        data = self.counter.take(data, more_body)
        try:
            out = self._send(h11.Data(data=data))
            if more_body or self.counter.is_short:  # h11 would refuse to end it
                return out
            return out + self._send(h11.EndOfMessage())
        except h11.LocalProtocolError as exc:
            raise MisusedByApp(str(exc)) from exc

    def around(self, size: int) -> tuple[bytes, bytes] | None:
        """See `Http1Encoder.around`: h11 frames whatever has a length."""
        self.counter.count(size)
        part: Any = _Part(size)
        try:
            pieces: Any = self.conn.send_with_data_passthrough(h11.Data(data=part))
        except h11.LocalProtocolError as exc:
            raise MisusedByApp(str(exc)) from exc
        at = pieces.index(part)
        return b"".join(pieces[:at]), b"".join(pieces[at + 1 :])

    @property
    def close_after_response(self) -> bool:
        """See `Http1Encoder.close_after_response`."""
        return self.counter.is_short or self.conn.our_state is h11.MUST_CLOSE

    def continue_100(self) -> bytes:
        """See `Http1Encoder.continue_100`."""
        return self._send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))

    def early_hint(self, fields: Headers) -> bytes:
        """See `Http1Encoder.early_hint`."""
        return self._send(h11.InformationalResponse(status_code=103, headers=fields, reason=STATUS_PHRASES[103]))

    def end(self, trailers: Headers) -> bytes:
        """See `Http1Encoder.end`."""
        self.counter.take(b"", False)
        if self.counter.is_short:
            return b""
        return self._send(h11.EndOfMessage(headers=trailers if self.counter.is_open_ended else []))

    def error_response(self, status: int, message: str, defaults: Headers) -> bytes:
        """See `Http1Wire.error_response`. This dialect sends neither the default fields nor a length."""
        fields = error_fields()
        try:
            return (
                self._send(h11.Response(status_code=status, headers=fields, reason=STATUS_PHRASES[status]))
                + self._send(h11.Data(data=message.encode("ascii")))
                + self._send(h11.EndOfMessage())
            )
        except h11.LocalProtocolError:
            return b""  # a response is on its way already: all that is left is to close

    def closed(self) -> None:
        """See `Http1Wire.closed`."""
        if self.conn.our_state is not h11.ERROR:
            try:
                self.conn.send(h11.ConnectionClosed())
            except h11.LocalProtocolError:
                pass  # in the middle of a message
        super().closed()

    def _send(self, event: h11.Event) -> bytes:
        return self.conn.send(event) or b""


class _Part:
    """Stands for so many bytes that are written past h11."""

    __slots__ = ("_size",)

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size


def _upgrade_of(headers: Headers) -> bytes | None:
    """The protocol asked for by `Upgrade` where `Connection` names it too (RFC 9110 section 7.8), in lower case."""
    connection: list[bytes] = []
    upgrade = None
    for name, value in headers:
        if name == b"connection":
            connection += [token.strip() for token in value.lower().split(b",")]
        elif name == b"upgrade":
            upgrade = value.lower()
    return upgrade if b"upgrade" in connection else None
