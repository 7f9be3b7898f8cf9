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

#: A whole head: lines that begin with no white space, and have no control characters.
_whole_head = re.compile(rb"(?:[!-~\x80-\xff][\t -~\x80-\xff]*+\r\n)++\r\n").match

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VALUE = rb'(?:%b*|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*")' % _TOKEN
#: A chunk's size, of no more bits than parsers count with, and its extensions. As llhttp, which takes an empty name or
#: value beside an equals sign: nobody reads them, and they hide no line end.
_size_line = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;(?:%b+(?:=%b)?|=%b))*\r\n" % (_TOKEN, _VALUE, _VALUE)).fullmatch


class LineGuard:
    """Follows the requests of one connection: a head goes to the parser when it is whole. What is behind a fault never
    does.
    """

    __slots__ = ("_head", "_in_chunks", "_in_trailers", "_is_over", "_left", "_limit", "_partial", "_plain", "fault")

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of a head that has come in part, or of a line among chunks."""
        #: To be raised, once, when all before it has been parsed.
        self.fault: BadRequest | None = None
        self._limit = limit
        self._plain = True  # a head is next, and nothing of it has come
        self._is_over = False
        self._head = b""  # the latest one
        self._left = 0  # bytes of a body, or of a chunk and its line end
        self._in_chunks = False
        self._in_trailers = False
        self._partial = bytearray()  # of a head, or of a line among chunks

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """What may go to the parser of these bytes, up to the end of a head or of a message; and what is behind it."""
        if self._plain:
            found = _whole_head(data)
            if found is not None:
                end = found.end()
                if end == len(data):
                    self._head = data
                    return data, b""
                self._head = head = data[:end]
                return head, data[end:]
            return self._take_part(data.lstrip(_END))  # RFC 9112 section 2.2
        if self._is_over:
            return b"", b""
        if self._in_chunks:
            return self._take_chunks(data)
        if not self._left:
            return self._take_part(data)
        size = min(self._left, len(data))
        self._left -= size
        self._plain = not self._left
        return data[:size], data[size:]

    def _take_part(self, data: bytes) -> tuple[bytes, bytes]:
        """Of a head that comes in pieces, or is not as it should be."""
        partial = self._partial
        seen = max(len(partial) - 3, 0)
        partial += data
        end = partial.find(_END, seen) + 4
        if end < 4:
            # What can't be any more is refused at once: a bare LF, and what begins as no head does.
            new = partial[seen:]
            has_bare_lf = new.count(b"\n") - new.startswith(b"\n") > new.count(b"\r\n")
            if has_bare_lf or b"" < partial[:1] < b"!" or len(partial) > self._limit:
                return self._refuse(BadRequest(INVALID_REQUEST), b"")
            self._plain = not partial
            return b"", b""
        head = bytes(partial[:end])
        rest = bytes(partial[end:])
        partial.clear()
        if _whole_head(head) is None:
            return self._refuse(BadRequest(INVALID_REQUEST), b"")
        self._head = head
        self._plain = True
        return head, rest

    def end(self) -> None:
        """Nothing more is let through."""
        self._is_over = True
        self._plain = False

    def begin_body(self) -> None:
        """The latest head speaks of a body. Raises BadRequest."""
        framing = framing_of(self._head.lower())
        self._in_chunks = framing < 0
        self._left = max(framing, 0)
        self._plain = not framing

    def refusal(self) -> BadRequest:
        """What to raise for the latest head, where the parser refuses it."""
        try:
            framing_of(self._head.lower())
        except BadRequest as exc:
            return exc.with_traceback(None)
        return BadRequest(INVALID_REQUEST)

    def _take_chunks(self, data: bytes) -> tuple[bytes, bytes]:
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
                if len(self._partial) > self._limit:
                    break
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
                self._plain = True
                return data[:end], data[end:]
            elif not line.endswith(b"\r\n") or line[0] in b" \t":
                break
            at = end
        else:
            return data, b""
        return self._refuse(BadRequest(INVALID_REQUEST), data[:at])

    def _refuse(self, fault: BadRequest, good: bytes) -> tuple[bytes, bytes]:
        self.fault = fault
        self.end()
        return good, b""
