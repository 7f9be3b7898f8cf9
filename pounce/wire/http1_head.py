"""Response heads and body framing of the httptools dialect: status lines, header checks, chunks.

Names are lowered and checked once per worker (`header_starts`), values all in one pass. Answers to: RFC 9112 sections
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

#: Not allowed in a field name, and not in a field value (a tab is). Everything else passes as uvicorn lets it pass.
_BAD_IN_NAME = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_CONTROLS = bytes(code for code in range(0x20) if code != 0x09) + b"\x7f"

_CONTENT_LENGTH = b"content-length: "
_TRANSFER_ENCODING = b"transfer-encoding: "
_CONNECTION = b"connection: "
_FRAMING = frozenset((_CONTENT_LENGTH, _TRANSFER_ENCODING, _CONNECTION))

#: Names kept per worker. An app that invents names without end must not fill the memory.
_MAX_NAMES = 1024

#: How a response body is delimited: no field said so yet, chunked, or by a length.
UNDECIDED, CHUNKED, LENGTH = range(3)


class ResponseEncoder:
    """Encodes the responses of one connection, one after the other."""

    __slots__ = ("_defaults", "_prefixes", "_starts", "close_after_response", "framing", "is_head", "remaining")

    def __init__(self, header_starts: dict[bytes, bytes]) -> None:
        """`header_starts` maps a name as an app writes it to `name: `; shared by the connections of one worker."""
        self._starts = header_starts
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
        parts = [prefix]
        lines = 0
        starts = self._starts
        framing = UNDECIDED
        remaining = 0
        close = not keep_alive
        says_close = False
        for name, value in headers:
            start = starts.get(name)
            if start is None:
                start = self._check_name(name)
            if start in _FRAMING:
                if start is _CONTENT_LENGTH:
                    if framing == UNDECIDED:
                        framing = LENGTH
                        remaining = int(value)
                elif start is _TRANSFER_ENCODING:
                    if value.lower() == b"chunked":
                        framing = CHUNKED
                        remaining = 0
                elif b"close" in [token.strip() for token in value.lower().split(b",")]:
                    close = says_close = True
            parts += (start, value, b"\r\n")
            lines += 2
        # One pass over everything the app wrote: any control character beyond our own line ends is an attack or a bug.
        text = b"".join(parts)
        if len(text) - len(text.translate(None, _CONTROLS)) != lines + self._controls_in(prefix):
            raise MisusedByApp("Invalid HTTP header value.")
        if close and not says_close:
            text += b"connection: close\r\n"
        if framing == UNDECIDED and not is_head and status not in (204, 304):
            framing = CHUNKED
            text += b"transfer-encoding: chunked\r\n"
        self.close_after_response = close
        self.is_head = is_head
        self.framing = framing
        self.remaining = remaining
        return text + b"\r\n"

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
        line = STATUS_LINE[status]
        starts = [self._starts.get(name) or self._check_name(name) for name, _ in defaults]
        if not _FRAMING.isdisjoint(starts):
            return line, [*defaults, *headers]
        prefix = line + b"".join([b"%b%b\r\n" % (start, value) for start, (_, value) in zip(starts, defaults, strict=True)])
        if self._controls_in(prefix) != 2 * (1 + len(defaults)):
            raise MisusedByApp("Invalid HTTP header value.")
        self._prefixes[status] = prefix
        return prefix, headers

    def _check_name(self, name: bytes) -> bytes:
        if _BAD_IN_NAME.search(name):
            raise MisusedByApp("Invalid HTTP header name.")
        start = bytes(name).lower() + b": "
        for framing in _FRAMING:
            if start == framing:
                start = framing  # the very object, so that `head` may compare identities
        if len(self._starts) < _MAX_NAMES:
            self._starts[bytes(name)] = start
        return start

    @staticmethod
    def _controls_in(text: bytes) -> int:
        return len(text) - len(text.translate(None, _CONTROLS))
