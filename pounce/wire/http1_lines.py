"""The lines of requests over HTTP/1.1, checked in front of a parser that is lax with them, as h11 is.

h11 ends a line at a bare LF, joins folded lines, makes one of equal Content-Lengths, and reads neither the extensions
of chunks nor the ends of their lines. Here each line has to be as in RFC 9112 (sections 2.2, 5.2, 6.3 and 7.1); nothing
is changed, but for empty lines before a request, which are left out. Takes linear time, however the bytes are cut.
"""

from __future__ import annotations

import re

from pounce.errors import BadRequest
from pounce.wire.strictness import INVALID_REQUEST, framing_of

_END = b"\r\n\r\n"

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VALUE = rb'(?:%b*|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*")' % _TOKEN
#: A chunk's size, of no more bits than parsers count with, and its extensions. As llhttp, which takes an empty name or
#: value beside an equals sign: nobody reads them, and they hide no line end.
_size_line = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;(?:%b+(?:=%b)?|=%b))*\r\n" % (_TOKEN, _VALUE, _VALUE)).fullmatch


class LineGuard:
    """Follows the requests of one connection. What is behind a fault is never let through."""

    __slots__ = ("_carry", "_in_chunks", "_in_trailers", "_is_over", "_left", "_partial", "fault")

    def __init__(self) -> None:
        #: To be raised, once, when all before it has been parsed.
        self.fault: BadRequest | None = None
        self._is_over = False
        self._left = 0  # bytes of a body, or of a chunk and its line end
        self._in_chunks = False
        self._in_trailers = False
        self._partial = bytearray()  # of a head, or of a line among chunks
        self._carry = b""  # what of it may be the beginning of its end

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """What may go to the parser of these bytes, up to the end of a head or of a message; and what is behind it."""
        if self._is_over:
            return b"", b""
        if self._in_chunks:
            return self._chunks(data)
        if not self._left:
            return self._head(data)
        size = min(self._left, len(data))
        self._left -= size
        return data[:size], data[size:]

    def _head(self, data: bytes) -> tuple[bytes, bytes]:
        window = data
        if self._partial:
            if self._carry:
                window = self._carry + data
        elif data[0] in _END:  # RFC 9112 section 2.2
            window = data = data.lstrip(_END)
            if not data:
                return b"", b""
        end = window.find(_END)
        part = window if end < 0 or end + 4 == len(window) else window[: end + 4]
        if part.count(b"\n") != part.count(b"\r\n") or b"\n " in part or b"\n\t" in part:
            return self._refuse(BadRequest(INVALID_REQUEST), b"")
        if end < 0:
            self._partial += data
            self._carry = b""
            for size in (3, 2, 1):
                if window.endswith(_END[:size]):
                    self._carry = _END[:size]
                    break
            return data, b""
        size = end + 4 - (len(window) - len(data))
        if self._partial:
            part = bytes(self._partial) + data[:size]
            self._partial.clear()
            self._carry = b""
        try:
            framing = framing_of(part.lower())
        except BadRequest as exc:
            return self._refuse(exc.with_traceback(None), b"")
        self._in_chunks = framing < 0
        self._left = max(framing, 0)
        return (data, b"") if size == len(data) else (data[:size], data[size:])

    def _chunks(self, data: bytes) -> tuple[bytes, bytes]:
        at, size = 0, len(data)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1
            if not end:
                self._partial += data[at:]
                return data, b""
            line = bytes(self._partial) + data[at:end]
            self._partial.clear()
            if not self._in_trailers:
                found = _size_line(line)
                if found is None:
                    break
                length = int(found[1], 16)
                self._left = length + 2 if length else 0  # the parser looks at the two
                self._in_trailers = not length
            elif line == b"\r\n":
                self._in_chunks = self._in_trailers = False
                return data[:end], data[end:]
            elif not line.endswith(b"\r\n") or line[0] in b" \t":
                break
            at = end
        else:
            return data, b""
        return self._refuse(BadRequest(INVALID_REQUEST), data[:at])

    def _refuse(self, fault: BadRequest, good: bytes) -> tuple[bytes, bytes]:
        self.fault = fault
        self._is_over = True
        return good, b""
