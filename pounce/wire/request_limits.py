"""How large a request may be: its head, line by line, what surrounds its chunks, and its trailers (not its body).

Over HTTP/1.1 a `Meter` reads along in front of the parser, whichever that is, and knows of a connection where its
requests begin and end. It counts bytes as they come, so that the verdict on a request does not depend on how it was
cut, nor on the parser, and so that nothing of what is too much is kept. What is no request at all it leaves to the
parser. Knows no transport and no parser. Implements RFC 9110 sections 15.5.14 and 15.5.15, RFC 6585 section 5, RFC 9112
sections 2.2, 6 and 7.1.
"""

from __future__ import annotations

import sys

from pounce.errors import BadRequest
from pounce.settings import Limits
from pounce.wire.response_fields import Headers

#: Bytes of a chunk's size that are not counted as its extensions: more than anybody sends.
_SIZE_DIGITS = 64

_BLANK = (b"\r\n", b"\n")
_CR, _LF = b"\r\n"

#: Of field names that the meter looks at, the first bytes.
_INITIALS = b"CcTtUu"

# Where the next byte belongs: to a request line (or in front of it), a field, a body of known length, the size of a
# chunk, what follows its data, a trailer.
_LINE, _FIELD, _BODY, _SIZE, _CHUNK, _TRAILER = range(6)


def line_too_long() -> BadRequest:
    """RFC 9110 section 15.5.15."""
    return BadRequest("Request line too long.", 414)


def fields_too_large() -> BadRequest:
    """RFC 6585 section 5; of trailers, too."""
    return BadRequest("Request header fields too large.", 431)


def content_too_large() -> BadRequest:
    """RFC 9110 section 15.5.14."""
    return BadRequest("Request body too large.", 413)


class Meter:
    """Counts the bytes of one connection, from the beginning of a request on."""

    __slots__ = (
        "_asks_upgrade",
        "_extensions",
        "_fields",
        "_left",
        "_length",
        "_limits",
        "_line",
        "_size",
        "_where",
        "lines",
        "upgrades",
        "verdict",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        #: What is above a limit; nothing may be parsed behind the bytes that `take` let pass.
        self.verdict: BadRequest | None = None
        #: The head that has just ended asks for an upgrade: whether HTTP goes on is for others to know.
        self.upgrades = False
        #: How many lines `take` still lets pass: each has its price, however short it is.
        self.lines = sys.maxsize
        self._where = _LINE
        self._line = bytearray()  # of a line that is not complete
        self._left = 0  # bytes of a body or chunk
        self._size = self._fields = self._extensions = 0  # so far: of the head, or of the trailers, or of the chunks
        self._length = 0  # of the body that will follow; below 0: it comes in chunks
        self._asks_upgrade = False

    @property
    def is_between(self) -> bool:
        """Whether the next byte begins a request."""
        return self._where == _LINE and not self._line

    @property
    def is_at_chunk(self) -> bool:
        """Whether the next byte begins a chunk."""
        return self._where == _SIZE and not self._line

    def expect(self, length: int) -> None:
        """Behind a head that others have read: so many bytes of its body are still to come."""
        self._where = _BODY
        self._left = length

    def take(self, data: bytes, at: int = 0, requests: int = sys.maxsize) -> int:
        """Count what comes from `at` on. Returns up to where it may be parsed: to its end; or to that of so many
        `requests`, or of `lines`, or of a head that `upgrades`; or to what is above a limit (`verdict`).
        """
        end = len(data)
        line = self._line
        self.upgrades = False
        while at < end:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                if self._left or self._where != _BODY:
                    continue
                self._where = _LINE
            else:
                room = max(self._room(), 0) - len(line)
                newline = data.find(b"\n", at, at + room + 1)
                if newline < 0 and at + room < end:  # its end must begin here
                    newline = self._end_at(data, at + room, at)
                    if self.verdict is not None:
                        return newline
                if newline < 0:
                    line += data[at:]
                    return end
                whole = data[at : newline + 1]
                if line:
                    whole = bytes(line) + whole
                    line.clear()
                at = newline + 1
                self.lines -= 1
                if not self._ends_request(whole):
                    if self.verdict or self.upgrades or self.lines <= 0:
                        return at
                    continue
            requests -= 1
            if not requests or self.upgrades or self.lines <= 0:
                return at
        return end

    def _room(self) -> int:
        """Bytes that the line in hand may have, its end apart."""
        limits = self._limits
        if self._where == _LINE:
            return min(limits.request_line, limits.head_size - 4)
        if self._where in (_FIELD, _TRAILER):
            # Behind it there is its end, and that of the section.
            return 0 if self._fields == limits.fields else min(limits.field_size, limits.head_size - self._size - 4)
        return _SIZE_DIGITS + limits.chunk_extensions - self._extensions

    def _end_at(self, data: bytes, place: int, at: int) -> int:
        """Where the line end is that must begin at `place`; -1 where it has not come yet; or where it is too much.

        Below `at`, the first half of it has come before.
        """
        if place < at or data[place] == _CR:
            place += 1
            if place == len(data):
                return -1
            if data[place] == _LF:
                return place
        self.verdict = self._above()
        return place

    def _above(self) -> BadRequest:
        if self._where == _LINE:
            return line_too_long()
        return fields_too_large() if self._where in (_FIELD, _TRAILER) else content_too_large()

    def _ends_request(self, line: bytes) -> bool:
        """Take a whole line. Whether a request is complete with it."""
        where = self._where
        if where in (_FIELD, _TRAILER):
            self._size += len(line)
            if line not in _BLANK:
                self._on_field(line)
                return False
            if where == _FIELD:
                return self._on_head_end()
            self._where = _LINE
            return True
        if where == _LINE:
            if line not in _BLANK:
                self._where = _FIELD
                self._size = len(line)
                self._fields = self._length = self._extensions = 0
                self._asks_upgrade = False
        elif where == _CHUNK:
            self._where = _SIZE
        else:
            self._on_chunk(line)
        return False

    def _on_field(self, line: bytes) -> None:
        self._fields += 1
        if line[0] in _INITIALS and self._where == _FIELD:
            name, _, value = line.partition(b":")
            name, value = name.lower(), value.strip()
            if name == b"content-length":
                # What is no length the parser refuses.
                self._length = int(value) if value.isdigit() and len(value) < 19 else 0
            elif name == b"transfer-encoding":
                self._length = -1
            elif name == b"upgrade":
                self._asks_upgrade = True

    def _on_head_end(self) -> bool:
        self.upgrades = self._asks_upgrade
        if self._length < 0:
            self._where = _SIZE
        elif self._length:
            self.expect(self._length)
        else:
            self._where = _LINE
            return True
        return False

    def _on_chunk(self, line: bytes) -> None:
        """The line in front of a chunk (RFC 9112 section 7.1)."""
        size, _, extensions = line.partition(b";")
        self._extensions += len(extensions.rstrip())
        if self._extensions > self._limits.chunk_extensions:
            self.verdict = content_too_large()
            return
        try:
            left = int(size, 16)
        except ValueError:
            left = sys.maxsize  # the parser refuses it
        if left > 0:
            self._where, self._left = _CHUNK, left
        else:
            self._where = _TRAILER
            self._size = self._fields = 0


def plain_size(limits: Limits) -> int:
    """Fields of a request of HTTP/2 that are no larger than this, as HTTP/2 counts it, need not be measured."""
    return min(limits.request_line, limits.field_size, limits.head_size)


def refusal_of(
    method: bytes, target: bytes, fields: Headers, size: int, content_length: int | None, limits: Limits
) -> int:
    """The status that a request of HTTP/2 is refused with, measured as HTTP/1.1 would have it; 0: it is not.

    `size`: of the fields, as HTTP/2 counts it.
    """
    if size > plain_size(limits):
        line = len(method) + len(target) + len("  HTTP/1.1")
        if line > limits.request_line:
            return 414
        line += 4  # its end, and that of the head
        for name, value in fields:
            length = len(name) + len(value) + 2
            if length > limits.field_size:
                return 431
            line += length + 2
        if line > limits.head_size:
            return 431
    if len(fields) > limits.fields:
        return 431
    return 413 if content_length and 0 < limits.body < content_length else 0
