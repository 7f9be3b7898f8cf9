"""HTTP/1.1 parsed and written by zttp (an optional native parser that uvicorn offers too).

zttp is pulled in a loop and holds a pipelined request back until the cycle before it is over. Implements RFC 9112;
responses are framed as uvicorn frames them on zttp, but that HTTP/1.0 gets no chunks.
"""

from __future__ import annotations

from collections.abc import Iterable

import zttp

from pounce.errors import BadRequest, MisusedByApp
from pounce.wire.header_cache import HeaderCache
from pounce.wire.http1 import Http1Sink, error_fields
from pounce.wire.http1_library import LibraryWire
from pounce.wire.request_limits import fields_too_large
from pounce.wire.response_fields import BODILESS, ResponseBody, checked_head, checked_status
from pounce.wire.strictness import INVALID_REQUEST, Headers, Rules


class ZttpWire(LibraryWire):
    """See `Http1Wire` and `Http1Encoder`: the library keeps the state of both sides."""

    def __init__(
        self, sink: Http1Sink, header_cache: HeaderCache, rules: Rules, max_incomplete_size: int | None = None
    ) -> None:
        """`max_incomplete_size` is h11's limit and unused here: zttp has its own."""
        super().__init__(sink, zttp.Connection(zttp.SERVER), rules)
        self._request_open = False
        self._response_open = False
        self._is_http10 = False  # the request
        self._until_close = False  # the response's body ends with the connection
        self._heads = 0
        #: What was fed since the last request head, that head's own segment included (see `trailing_data`).
        self._recent = bytearray()
        self._upgrade_line = b""

    def feed(self, data: bytes) -> bool:
        """See `Http1Wire.feed`."""
        if self._response_open and not self._request_open:
            self.sink.on_pause()  # zttp keeps what comes ahead of its turn, however much
        heads = self._heads
        self._recent += data
        try:
            self._pump(self.conn.receive_event(data))
        except zttp.RemoteProtocolError as exc:
            raise self._bad_request(exc) from exc
        if self._request_open:
            self._recent.clear()
        elif self._heads > heads and not self._upgrade_line:
            del self._recent[: -len(data)]
        return True

    def _pump(self, event: zttp.Event) -> None:
        sink = self.sink
        next_event = self.conn.next_event
        while event is not zttp.NEED_DATA:
            if isinstance(event, zttp.Request):
                self._request_open = not event.end_stream
                self._response_open = True
                self._heads += 1
                upgrade = self.conn.upgrade()
                method = event.method.decode("ascii")
                if len(method) == 4 and method != "HEAD" and method.upper() == "HEAD":
                    raise BadRequest(INVALID_REQUEST)  # zttp takes it for HEAD, and no body then; to the app it is none
                http_version = event.http_version.decode("ascii")
                self._is_http10 = http_version == "1.0"
                headers = event.headers.to_list(lowercase_names=True)  # type: ignore[union-attr]
                self.rules.check(method, event.target, http_version, headers)
                taken = sink.on_request(
                    method,
                    event.target,
                    http_version,
                    headers,
                    # zttp itself knows when the connection must close, but keeps that of a client of HTTP/1.0
                    http_version != "1.0" or not self.rules.is_strict,
                    event.expect_continue and http_version != "1.0",  # RFC 9110 section 10.1.1
                    self._request_open,
                    upgrade.lower() if upgrade is not None else None,
                )
                if taken:
                    self._upgrade_line = b"%b %b HTTP/" % (event.method, event.target)
                    return
            elif isinstance(event, zttp.Data):
                sink.on_body(bytes(event.data))
            elif isinstance(event, zttp.EndOfMessage) and self._request_open:
                self._request_open = False
                sink.on_end(len(event.trailers))
                if not self._response_open:
                    self.conn.start_next_cycle()
            event = next_event()

    @property
    def trailing_data(self) -> bytes:
        """See `Http1Wire.trailing_data`. zttp does not tell, so the head is looked for in what was fed last."""
        head = self._recent.rfind(self._upgrade_line)
        return bytes(self._recent[head:].partition(b"\r\n\r\n")[2])

    def start_next(self) -> None:
        """See `Http1Wire.start_next`."""
        if self._request_open:
            return  # the rest of the request's body is still to be read and dropped
        self.conn.start_next_cycle()
        try:
            self._pump(self.conn.next_event())
        except zttp.RemoteProtocolError as exc:
            raise self._bad_request(exc) from exc

    def _bad_request(self, exc: zttp.RemoteProtocolError) -> BadRequest:
        """What to raise where zttp does, which does not say why. It has limits of its own, which cannot be changed:
        100 fields of less than 16 KiB, 64 KiB in all.
        """
        if "size limit" in str(exc):
            return fields_too_large()
        if not self._request_open:
            return self.rules.refusal_of(bytes(self._recent))
        return BadRequest(INVALID_REQUEST)

    def head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], defaults: Headers, is_head: bool, keep_alive: bool
    ) -> bytes:
        """See `Http1Encoder.head`."""
        status = checked_status(status)
        fields, length, is_chunked = checked_head(status, [*defaults, *headers])
        has_body = not is_head and status not in BODILESS
        self._until_close = self._is_http10 and has_body and length is None
        if is_chunked and self._is_http10:  # RFC 9112 section 6.1
            fields = [field for field in fields if field[0].lower() != b"transfer-encoding"]
        elif has_body and length is None and not (is_chunked or self._is_http10):
            fields.append((b"transfer-encoding", b"chunked"))
        if (self._until_close or not keep_alive) and b"connection" not in [name.lower() for name, _ in fields]:
            fields.append((b"connection", b"close"))
        try:
            self.conn.send_response(status, fields)
        except zttp.ProtocolError as exc:
            raise MisusedByApp(str(exc)) from exc
        self.counter = ResponseBody(status, is_head, length)
        return bytes(self.conn.data_to_send())

    def body(self, data: bytes, more_body: bool) -> bytes:
        """See `Http1Encoder.body`."""
        data = self.counter.take(data, more_body)
        try:
            if data and not self._until_close:  # zttp knows no such body
                self.conn.send_data(data)
            if not more_body:
                if not self.counter.is_short:  # zttp would refuse to end it
                    self.conn.end_message()
                self._response_open = False
        except zttp.ProtocolError as exc:
            raise MisusedByApp(str(exc)) from exc
        if self._until_close:
            return bytes(self.conn.data_to_send()) + data
        return bytes(self.conn.data_to_send())

    @property
    def close_after_response(self) -> bool:
        """See `Http1Encoder.close_after_response`."""
        return self.counter.is_short or self._until_close or bool(self.conn.should_close())

    def continue_100(self) -> bytes:
        """See `Http1Encoder.continue_100`."""
        self.conn.send_informational(100)
        return bytes(self.conn.data_to_send())

    def early_hint(self, fields: Headers) -> bytes:
        """See `Http1Encoder.early_hint`."""
        self.conn.send_informational(103, fields)
        return bytes(self.conn.data_to_send())

    def end(self, trailers: Headers) -> bytes:
        """See `Http1Encoder.end`."""
        if not self.counter.is_open_ended or not trailers:
            return self.body(b"", False)
        self.conn.end_message(trailers)
        self._response_open = False
        return bytes(self.conn.data_to_send())

    def error_response(self, status: int, message: str, defaults: Headers) -> bytes:
        """See `Http1Wire.error_response`. This dialect sends a length and no default fields."""
        body = message.encode("ascii")
        try:
            self.conn.send_response(status, error_fields(length=len(body)))
            self.conn.send_data(body)
            self.conn.end_message()
        except zttp.ProtocolError:
            return b""  # a response is on its way already: all that is left is to close
        return bytes(self.conn.data_to_send())
