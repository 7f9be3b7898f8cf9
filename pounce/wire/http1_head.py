"""Response heads and body framing of the httptools dialect: status lines, header checks, chunks.

What an app sends again and again is checked and encoded once per worker (`HeaderCache`). Answers to: RFC 9112 sections
4 to 7, RFC 9110 section 5; uvicorn's httptools implementation for the order of the fields.
"""

from __future__ import annotations

import http
import re
import sys
from collections.abc import Iterable
from typing import Any

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

#: Responses without a body, whatever their fields say (RFC 9112 section 6.3).
_NEVER_CHUNKED = frozenset((204, 304))

#: What is kept per worker, and how long a kept one may be: an app that invents fields must not fill the memory.
_MAX_NAMES = 1024
_MAX_HEADS = 512
_MAX_HEAD_SIZE = 1024

#: How a response body is delimited: no field said so yet, chunked, or by a length.
UNDECIDED, CHUNKED, LENGTH = range(3)

#: What a response without a length does: it has no body, or it is chunked, or it ends with the connection (HTTP/1.0
#: knows no chunks: RFC 9112 section 6.1).
NO_BODY, IN_CHUNKS, UNTIL_CLOSE = range(3)


class HeaderCache:
    """What one worker's apps send again and again, checked and encoded once."""

    __slots__ = ("defaults", "heads", "prefixes", "starts")

    def __init__(self) -> None:
        #: A name as the app writes it, to the line's beginning: CR LF, the name in lower case, colon, space.
        self.starts: dict[bytes, bytes] = {}
        #: The fields of a response as the app gave them (and what else decides), to what `_encode_fields` made of them.
        self.heads: dict[Any, tuple[bytes, int, int, bool]] = {}
        #: The default fields of this second, and status lines with those fields, by status.
        self.defaults: Headers | None = None
        self.prefixes: dict[int, bytes] = {}

    def start_of(self, name: bytes) -> bytes:
        """The beginning of a line for a name that is not in `starts`. Raises MisusedByApp."""
        if _BAD_IN_NAME.search(name):
            raise MisusedByApp("Invalid HTTP header name.")
        start = b"\r\n%b: " % name.lower()
        # The very objects, so that identities can be compared.
        for framing in (_CONTENT_LENGTH, _TRANSFER_ENCODING, _CONNECTION):
            if start == framing:
                start = framing
        if len(self.starts) < _MAX_NAMES and len(start) <= _MAX_HEAD_SIZE:
            self.starts[bytes(name)] = start
        return start

    def keep_head(self, key: Any, head: tuple[bytes, int, int, bool]) -> None:
        """Keep encoded fields, unless they are one client's own (a cookie): those will not come again."""
        if key is None or len(head[0]) > _MAX_HEAD_SIZE or b"\r\nset-cookie: " in head[0]:
            return
        if len(self.heads) >= _MAX_HEADS:
            self.heads.clear()
        self.heads[key] = head


class ResponseEncoder:
    """Encodes the responses of one connection, one after the other."""

    __slots__ = (
        "_cache",
        "close_after_response",
        "framing",
        "is_head",
        "remaining",
        "until_close",
    )

    def __init__(self, cache: HeaderCache) -> None:
        """`cache` is shared by the connections of one worker."""
        self._cache = cache
        self.close_after_response = False
        self.is_head = False
        self.framing = UNDECIDED
        self.remaining = 0
        #: The request was HTTP/1.0.
        self.until_close = False

    def head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], defaults: Headers, is_head: bool, keep_alive: bool
    ) -> bytes:
        """See `Http1Wire.head`."""
        cache = self._cache
        if defaults is not cache.defaults:
            cache.defaults = defaults
            cache.prefixes = {}
        prefix = cache.prefixes.get(status)
        if prefix is None:
            prefix, headers = self._make_prefix(status, defaults, headers)
        fields = tuple(headers)
        if is_head or status in _NEVER_CHUNKED:
            kind = NO_BODY
        elif keep_alive or not self.until_close:
            kind = IN_CHUNKS
        else:
            kind = UNTIL_CLOSE
        key: Any = (fields, kind, keep_alive)
        try:
            known = cache.heads.get(key)
        except TypeError:  # a field given as a list: allowed, but not hashable
            key = known = None
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
        framing = UNDECIDED
        remaining = 0
        close = not keep_alive
        says_close = False
        for name, value in fields:
            start = cache.starts.get(name)
            if start is None:
                start = cache.start_of(name)
            if _BAD_IN_VALUE.search(value):
                raise MisusedByApp("Invalid HTTP header value.")
            if start is _CONTENT_LENGTH:
                if framing == UNDECIDED:
                    framing = LENGTH
                    remaining = int(value)
            elif start is _TRANSFER_ENCODING:
                if value.lower() == b"chunked":
                    framing = CHUNKED
                    remaining = 0
            elif start is _CONNECTION and b"close" in [token.strip() for token in value.lower().split(b",")]:
                close = says_close = True
            parts += (start, value)
        if close and not says_close:
            parts.append(_CLOSE)
        end = _END
        if kind == NO_BODY:
            framing, remaining = LENGTH, 0  # whatever its fields say of the body that it would have
        elif framing == UNDECIDED:
            if kind == IN_CHUNKS:
                framing, end = CHUNKED, _CHUNKED
            else:
                framing, remaining = UNDECIDED, sys.maxsize
        parts.append(end)
        return b"".join(parts), framing, remaining, close

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
        if remaining and not more_body and self.framing != UNDECIDED:
            raise MisusedByApp("Response content shorter than Content-Length")
        return data

    def large_body(self, data: bytes, more_body: bool) -> list[bytes]:
        """See `Http1Wire.large_body`."""
        if self.is_head or self.framing != CHUNKED:
            return [self.body(data, more_body)]
        return [b"%x\r\n" % len(data), data, b"\r\n" if more_body else b"\r\n0\r\n\r\n"]

    def _make_prefix(
        self, status: int, defaults: Headers, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[bytes, Iterable[tuple[bytes, bytes]]]:
        """The status line with the default fields; where those frame the body, they go through the loop instead."""
        line = STATUS_LINE[status][:-2]
        if status < 200:
            raise MisusedByApp(f"Invalid HTTP status code '{status}' in response.")  # the client would wait for more
        starts = [self._cache.starts.get(name) or self._cache.start_of(name) for name, _ in defaults]
        if not {_CONTENT_LENGTH, _TRANSFER_ENCODING, _CONNECTION}.isdisjoint(starts):
            return line, [*defaults, *headers]
        parts = [line]
        for start, (_, value) in zip(starts, defaults, strict=True):
            if _BAD_IN_VALUE.search(value):
                raise MisusedByApp("Invalid HTTP header value.")
            parts += (start, value)
        prefix = self._cache.prefixes[status] = b"".join(parts)
        return prefix, headers
