"""Response heads and body framing of the httptools dialect: status lines, header checks, chunks.

Names and short values are checked once per worker (`HeaderCache`). Answers to: RFC 9112 sections
4 to 7, RFC 9110 section 5; uvicorn's httptools implementation for the order of the fields.
"""

from __future__ import annotations

import http
import re
from collections.abc import Iterable

from pounce.errors import MisusedByApp

Headers = list[tuple[bytes, bytes]]


def status_phrase(status: int) -> bytes:
    """The registered reason phrase of a status code, or nothing (RFC 9110 section 15)."""
    try:
        return http.HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


STATUS_PHRASES = {status: status_phrase(status) for status in range(100, 600)}
STATUS_LINE = {status: b"HTTP/1.1 %d %s\r\n" % (status, phrase) for status, phrase in STATUS_PHRASES.items()}

#: Not allowed in a field name. In a value no control character is, but for the tab; all else passes, as with uvicorn.
_BAD_IN_NAME = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_BAD_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_CONTENT_LENGTH = b"\r\ncontent-length: "
_TRANSFER_ENCODING = b"\r\ntransfer-encoding: "
_CONNECTION = b"\r\nconnection: "

_END = b"\r\n\r\n"
_CLOSE = b"\r\nconnection: close"
_CHUNKED = b"\r\ntransfer-encoding: chunked\r\n\r\n"

#: Names and values kept per worker, and how long a kept one may be: an app that invents them must not fill the memory.
_MAX_KEPT = 1024
_MAX_KEPT_SIZE = 128

#: How a response body is delimited: no field said so yet, chunked, or by a length.
UNDECIDED, CHUNKED, LENGTH = range(3)


class HeaderCache:
    """What one worker's apps send again and again, checked once: field names and values."""

    __slots__ = ("safe_values", "starts")

    def __init__(self) -> None:
        #: A name as the app writes it, to the line's beginning: CR LF, the name in lower case, colon, space.
        self.starts: dict[bytes, bytes] = {b"content-length": _CONTENT_LENGTH}
        self.safe_values: set[bytes] = set()

    def start_of(self, name: bytes) -> bytes:
        """The beginning of a line for a name that is not in `starts`. Raises MisusedByApp."""
        if _BAD_IN_NAME.search(name):
            raise MisusedByApp("Invalid HTTP header name.")
        start = b"\r\n%b: " % name.lower()
        # The very objects, so that `head` may compare identities; two of them are told apart by not being kept.
        if start == _TRANSFER_ENCODING:
            return _TRANSFER_ENCODING
        if start == _CONNECTION:
            return _CONNECTION
        if start == _CONTENT_LENGTH:
            start = _CONTENT_LENGTH
        if len(self.starts) < _MAX_KEPT and len(start) <= _MAX_KEPT_SIZE:
            self.starts[bytes(name)] = start
        return start

    def check_value(self, value: bytes) -> None:
        """For a value that is not in `safe_values`. Raises MisusedByApp."""
        if _BAD_IN_VALUE.search(value):
            raise MisusedByApp("Invalid HTTP header value.")
        if len(self.safe_values) < _MAX_KEPT and len(value) <= _MAX_KEPT_SIZE:
            self.safe_values.add(bytes(value))


class ResponseEncoder:
    """Encodes the responses of one connection, one after the other."""

    __slots__ = ("_cache", "_defaults", "_prefixes", "close_after_response", "framing", "is_head", "remaining")

    def __init__(self, cache: HeaderCache) -> None:
        """`cache` is shared by the connections of one worker."""
        self._cache = cache
        self._defaults: Headers | None = None
        self._prefixes: dict[int, bytes] = {}
        self.close_after_response = False
        self.is_head = False
        self.framing = UNDECIDED
        self.remaining = 0

    def head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], defaults: Headers, is_head: bool, keep_alive: bool
    ) -> bytes:
        """See `Http1Wire.head`."""
        if defaults is not self._defaults:
            self._defaults = defaults
            self._prefixes = {}
        prefix = self._prefixes.get(status)
        if prefix is None:
            prefix, headers = self._make_prefix(status, defaults, headers)
        cache = self._cache
        starts = cache.starts
        safe_values = cache.safe_values
        parts = [prefix]
        framing = UNDECIDED
        remaining = 0
        close = not keep_alive
        says_close = False
        for name, value in headers:
            start = starts.get(name)
            if start is None:
                start = cache.start_of(name)
                if start is _TRANSFER_ENCODING:
                    if value.lower() == b"chunked":
                        framing = CHUNKED
                        remaining = 0
                elif start is _CONNECTION and b"close" in [token.strip() for token in value.lower().split(b",")]:
                    close = says_close = True
            elif start is _CONTENT_LENGTH and framing == UNDECIDED:
                framing = LENGTH
                remaining = int(value)
                if value.isdigit():
                    parts += (start, value)
                    continue
            if value not in safe_values:
                cache.check_value(value)
            parts += (start, value)
        if close and not says_close:
            parts.append(_CLOSE)
        if framing == UNDECIDED and not is_head and status not in (204, 304):
            framing = CHUNKED
            parts.append(_CHUNKED)
        else:
            parts.append(_END)
        self.close_after_response = close
        self.is_head = is_head
        self.framing = framing
        self.remaining = remaining
        return b"".join(parts)

    def body(self, data: bytes, more_body: bool) -> bytes:
        """See `Http1Wire.body`."""
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
            raise MisusedByApp("Response content longer than Content-Length")
        self.remaining = remaining
        if remaining and not more_body:
            raise MisusedByApp("Response content shorter than Content-Length")
        return data

    def _make_prefix(
        self, status: int, defaults: Headers, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[bytes, Iterable[tuple[bytes, bytes]]]:
        """The status line with the default fields; where those frame the body, they go through the loop instead."""
        line = STATUS_LINE[status][:-2]
        starts = [self._cache.starts.get(name) or self._cache.start_of(name) for name, _ in defaults]
        if not {_CONTENT_LENGTH, _TRANSFER_ENCODING, _CONNECTION}.isdisjoint(starts):
            return line, [*defaults, *headers]
        parts = [line]
        for start, (_, value) in zip(starts, defaults, strict=True):
            if _BAD_IN_VALUE.search(value):
                raise MisusedByApp("Invalid HTTP header value.")
            parts += (start, value)
        prefix = self._prefixes[status] = b"".join(parts)
        return prefix, headers
