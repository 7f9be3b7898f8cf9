"""Responses of HTTP/1.1: messages become bytes, and are written at once.

`Http1Writer` is the way out of one connection, over an encoder: that of a parser's library, or `ResponseEncoder`'s.
Nothing that was sent waits for what the app does next: only a head may wait, for the first part of its body and no
longer than this turn of the loop, since both fit into one write. Knows nothing of a transport but how to write to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pounce.errors import MisusedByApp
from pounce.wire.header_cache import CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, HeaderCache
from pounce.wire.http1 import Http1Encoder
from pounce.wire.response_fields import (
    BODILESS,
    INVALID_VALUE,
    OWS,
    STATUS_LINE,
    TOO_LONG,
    TOO_SHORT,
    Headers,
    as_bytes,
    bad_in_value,
    body_bytes,
    check_coding,
    checked_fields,
    checked_status,
    checked_trailers,
    declared_length,
)

#: Bytes from which on a body part is written as it is: copying it to join it with its head would cost more.
_LARGE_BODY_SIZE = 16 * 1024

_END = b"\r\n\r\n"
_CLOSE = b"\r\nconnection: close"
_CHUNKED = b"\r\ntransfer-encoding: chunked\r\n\r\n"

#: How a response body is delimited: by the end of the connection, by chunks, by a length, or there is none.
AT_END, CHUNKED, LENGTH, NOTHING = range(4)

#: What a response without a length does: it has no body, or it is chunked, or it ends with the connection (HTTP/1.0
#: knows no chunks: RFC 9112 section 6.1). Status 204 has no body, and no field that would delimit one.
NO_BODY, NO_CONTENT, IN_CHUNKS, UNTIL_CLOSE = range(4)


class ResponseEncoder:
    """Encodes the responses of one connection, one after the other."""

    __slots__ = (
        "_cache",
        "close_after_response",
        "dropped_body",
        "framing",
        "is_head",
        "is_short",
        "remaining",
        "until_close",
    )

    def __init__(self, cache: HeaderCache) -> None:
        """`cache` is shared by the connections of one worker."""
        self._cache = cache
        self.close_after_response = False
        #: See `Http1Encoder`. Neither costs a response that is as it should be anything.
        self.is_short = False
        self.dropped_body = False
        self.is_head = False
        self.framing = AT_END
        self.remaining = 0
        #: The request was HTTP/1.0.
        self.until_close = False

    def head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], defaults: Headers, is_head: bool, keep_alive: bool
    ) -> bytes:
        """See `Http1Encoder.head`."""
        cache = self._cache
        if defaults is not cache.defaults:
            cache.defaults = defaults
            cache.prefixes = {}
        prefix = cache.prefixes.get(status)
        if prefix is None:
            prefix, headers = self._make_prefix(status, defaults, headers)
        fields = tuple(headers)
        if is_head or status in BODILESS:
            kind = NO_CONTENT if status == 204 else NO_BODY
        elif keep_alive or not self.until_close:
            kind = IN_CHUNKS
        else:
            kind = UNTIL_CLOSE
        key: Any = (fields, kind, keep_alive)
        try:
            known = cache.heads.get(key)
        except (TypeError, ValueError):  # a list, or what can be changed: allowed, but not hashable
            fields = tuple([(as_bytes(name), as_bytes(value)) for name, value in fields])
            key = (fields, kind, keep_alive)
            known = cache.heads.get(key)
        if known is None:
            known = self._encode_fields(fields, kind, keep_alive)
            cache.keep_head(key, known)
        text, self.framing, self.remaining, self.close_after_response = known
        self.is_head = is_head
        return prefix + text

    def _encode_fields(
        self, fields: Iterable[tuple[bytes, bytes]], kind: int, keep_alive: bool
    ) -> tuple[bytes, int, int, bool]:
        """The field lines, how they frame the body, its length, and whether the connection ends with it."""
        cache = self._cache
        parts: list[bytes] = []
        length: int | None = None
        length_at = 0
        is_chunked = False
        close = not keep_alive
        says_close = False
        for name, value in fields:
            start = cache.starts.get(name)
            if start is None:
                start = cache.start_of(name)
            if type(value) is not bytes:
                value = as_bytes(value)
            if bad_in_value(value):
                raise MisusedByApp(INVALID_VALUE)
            if start is CONTENT_LENGTH:
                is_first = length is None
                value = value.strip(OWS)
                length = declared_length(value, length)
                if kind == NO_CONTENT or not is_first:
                    continue
                length_at = len(parts)
            elif start is TRANSFER_ENCODING:
                check_coding(value)
                is_first = not is_chunked
                is_chunked = True
                if kind in (NO_CONTENT, UNTIL_CLOSE) or not is_first:
                    continue
            elif start is CONNECTION and b"close" in [token.strip() for token in value.lower().split(b",")]:
                close = says_close = True
            parts += (start, value)
        if is_chunked and length is not None and kind != NO_CONTENT:
            del parts[length_at : length_at + 2]  # RFC 9112 section 6.2: never both
        if close and not says_close:
            parts.append(_CLOSE)
        end = _END
        framing, remaining = AT_END, sys.maxsize
        if kind in (NO_BODY, NO_CONTENT):
            framing, remaining = NOTHING, 0  # whatever its fields say of the body that it would have
        elif length is not None and not is_chunked:
            framing, remaining = LENGTH, length
        elif kind == IN_CHUNKS:
            framing = CHUNKED
            if not is_chunked:
                end = _CHUNKED
        parts.append(end)
        return b"".join(parts), framing, remaining, close

    def body(self, data: bytes, more_body: bool) -> bytes:
        """See `Http1Encoder.body`."""
        if self.is_head:
            self.remaining = 0
            return b""
        if self.framing == CHUNKED:
            if not data:
                return b"" if more_body else b"0\r\n\r\n"
            if more_body:
                return b"%x\r\n%b\r\n" % (len(data), data)
            return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
        remaining = self.remaining - len(data)
        if remaining < 0:
            if self.framing == NOTHING:
                self.dropped_body = True
                return b""
            raise MisusedByApp(TOO_LONG)
        self.remaining = remaining
        if remaining and not more_body and self.framing == LENGTH:
            self.is_short = self.close_after_response = True
        return data

    def large_body(self, data: bytes, more_body: bool) -> list[bytes]:
        """See `Http1Encoder.large_body`."""
        if self.is_head or self.framing != CHUNKED:
            return [self.body(data, more_body)]
        return [b"%x\r\n" % len(data), data, b"\r\n" if more_body else b"\r\n0\r\n\r\n"]

    def takes(self, size: int) -> bool:
        """See `Http1Encoder.takes`."""
        if self.is_head or self.framing == NOTHING:
            if not self.is_head:
                self.dropped_body = True
            return False
        if size > self.remaining:
            raise MisusedByApp(TOO_LONG)
        return True

    def around(self, size: int) -> tuple[bytes, bytes] | None:
        """See `Http1Encoder.around`."""
        if self.framing == CHUNKED:
            return b"%x\r\n" % size, b"\r\n"
        self.remaining -= size
        return b"", b""

    def continue_100(self) -> bytes:
        """See `Http1Encoder.continue_100`."""
        return b"HTTP/1.1 100 Continue\r\n\r\n"

    def early_hint(self, fields: Headers) -> bytes:
        """See `Http1Encoder.early_hint`."""
        return STATUS_LINE[103] + _lines(fields) + b"\r\n"

    def end(self, trailers: Headers) -> bytes:
        """See `Http1Encoder.end`."""
        if self.framing != CHUNKED or self.is_head:
            return self.body(b"", False)
        return b"0\r\n" + _lines(trailers) + b"\r\n"

    def _make_prefix(
        self, status: int, defaults: Headers, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[bytes, Iterable[tuple[bytes, bytes]]]:
        """The status line with the default fields; where those frame the body, they go through the loop instead."""
        line = STATUS_LINE[checked_status(status)][:-2]
        starts = [self._cache.starts.get(name) or self._cache.start_of(name) for name, _ in defaults]
        if not {CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION}.isdisjoint(starts):
            return line, [*defaults, *headers]
        parts = [line]
        for start, (_, value) in zip(starts, defaults, strict=True):
            if bad_in_value(value):
                raise MisusedByApp(INVALID_VALUE)
            parts += (start, value)
        prefix = self._cache.prefixes[status] = b"".join(parts)
        return prefix, headers


def _lines(fields: Headers) -> bytes:
    """Checked fields, a line each."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


class Transport(Protocol):
    """What a writer needs of one."""

    def write(self, data: bytes) -> None: ...

    def writelines(self, pieces: list[bytes]) -> None: ...

    def is_closing(self) -> bool: ...


class WriterState(Protocol):
    """What the connections of one worker share."""

    default_headers: Headers


class Http1Writer:
    """Writes the responses of one connection, one after the other."""

    __slots__ = ("_call_soon", "_encoder", "_flush_soon", "_state", "_writes_vectors", "head", "in_step", "transport")

    def __init__(
        self, encoder: Http1Encoder, state: WriterState, call_soon: Callable[..., Any] | None, writes_vectors: bool
    ) -> None:
        """`call_soon` has something done at the end of the loop's turn; without it, heads are written by themselves.

        `writes_vectors`: the transport's `writelines` does not copy.
        """
        self._encoder = encoder
        self._state = state
        self._call_soon = call_soon
        self._writes_vectors = writes_vectors
        #: Of a response whose body has not begun: it waits for that, or for `flush()`.
        self.head = b""
        #: Whoever runs the app right now will `flush()` behind it.
        self.in_step = False
        self._flush_soon: Any = None  # the handle of a `flush()` that is due, where nobody else does it
        self.transport: Transport = None  # type: ignore[assignment]  # set when it is there

    def send_head(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        is_head: bool,
        keep_alive: bool,
        body_follows: bool = False,
    ) -> None:
        """Send a response's head. Raises MisusedByApp, and nothing has changed."""
        data = self._encoder.head(status, headers, self._state.default_headers, is_head, keep_alive)
        if self._call_soon is None:
            self.transport.write(data)
            return
        self.head = data
        if not self.in_step and not body_follows:
            self._flush_soon = self._call_soon(self.flush)

    def send_body(self, body: Any, more_body: bool) -> None:
        """Send a part of its body. Raises MisusedByApp; where the body is too short, behind what there is of it."""
        encoder = self._encoder
        try:
            if type(body) is not bytes:
                body = body_bytes(body)
            if len(body) >= _LARGE_BODY_SIZE:
                self._send_large(body, more_body)
            else:
                data = encoder.body(body, more_body)
                if self.head:
                    data = self.head + data
                    self.head = b""
                    if self._flush_soon is not None:
                        self._flush_soon.cancel()
                        self._flush_soon = None
                if data and not (more_body and self.transport.is_closing()):
                    self.transport.write(data)
        except BaseException:  # the head that waited for it was as it should be
            self.flush()
            raise
        if not more_body and encoder.is_short:
            raise MisusedByApp(TOO_SHORT)

    def _send_large(self, body: bytes, more_body: bool) -> None:
        pieces = self._encoder.large_body(body, more_body)
        if self.head:
            pieces.insert(0, self.head)
            self.head = b""
        if self.transport.is_closing():
            return  # asyncio would log every write
        if self._writes_vectors:
            # asyncio never gets rid of an empty piece at the end: it would spin on it.
            self.transport.writelines([piece for piece in pieces if piece])
        else:
            self.transport.write(b"".join(pieces))

    def takes(self, size: int) -> bool:
        """See `Http1Encoder.takes`."""
        return self._encoder.takes(size)

    def begin_part(self, size: int) -> bytes | None:
        """Send what goes before a part of the body that is written past this writer; see `Http1Encoder.around`.

        Returns what goes behind it, for `end_part`.
        """
        around = self._encoder.around(size)
        if around is None:
            return None
        self.head += around[0]
        self.flush()
        return around[1]

    def end_part(self, behind: bytes, more_body: bool) -> None:
        """The part was written. Raises as `send_body`."""
        self.head = behind
        self.send_body(b"", more_body)

    def send_continue(self) -> None:
        """Send `100 Continue`, if the connection still stands."""
        if not self.transport.is_closing():
            self.flush()
            self.transport.write(self._encoder.continue_100())

    def send_early_hint(self, links: Iterable[bytes]) -> None:
        """Send 103 with a Link field each, if the connection still stands. Raises MisusedByApp."""
        fields = checked_fields([(b"link", link) for link in links])
        if not self.transport.is_closing():
            self.transport.write(self._encoder.early_hint(fields))

    def check_trailers(self, fields: Iterable[tuple[bytes, bytes]]) -> Headers:
        """The fields that can be sent. Raises MisusedByApp."""
        return checked_trailers(fields)

    def send_trailers(self, fields: Headers) -> None:
        """End the response with checked trailers, where it has any. Raises as `send_body`."""
        data = self.head + self._encoder.end(fields)
        self.head = b""
        if data and not self.transport.is_closing():
            self.transport.write(data)
        if self._encoder.is_short:
            raise MisusedByApp(TOO_SHORT)

    def flush(self) -> None:
        """Write a head whose body does not come in the same step."""
        if self.head:
            data, self.head = self.head, b""
            if not self.transport.is_closing():
                self.transport.write(data)
