"""Messages that come compressed (RFC 7692), inflated piece by piece: 15 KB may be 15 MB, which takes a while.

So no frame of theirs is for a library, which would inflate all of it at once. Knows nothing of frames' headers, turns
and sinks.
"""

from __future__ import annotations

import zlib
from typing import Any

#: Bytes that are inflated at once, at most, and that are given to zlib: it copies what it has not come to.
PIECE_SIZE = 65536
_INPUT_SIZE = 16384

#: What the compressor leaves out at the end of a message (RFC 7692 section 7.2.2).
_TAIL = b"\x00\x00\xff\xff"


class Oversized(Exception):
    """A message is larger than it may be."""


class Inflation:
    """The receiving side of permessage-deflate of one WebSocket: a message at a time, of one frame or more."""

    __slots__ = ("_at", "_input", "_keeps_context", "_left", "_max_size", "_window_bits", "_zlib", "is_last", "message")

    def __init__(self, window_bits: int, keeps_context: bool, max_size: int | None) -> None:
        """`keeps_context`: messages refer to earlier ones. `max_size`: bytes of one; None: no limit."""
        self._window_bits = window_bits
        self._keeps_context = keeps_context
        self._max_size = max_size
        self._zlib: Any = None
        self._input = b""
        self._at = 0  # of it, what zlib has been given
        self._left = b""  # of that, what it has not come to
        #: The frame in hand is the message's last one.
        self.is_last = False
        #: What is inflated so far.
        self.message = bytearray()

    def add(self, payload: bytes, is_last: bool) -> None:
        """A frame's payload, the one before being inflated."""
        if self._zlib is None:
            self._zlib = zlib.decompressobj(-self._window_bits)
        self._input, self._at, self.is_last = payload + _TAIL if is_last else payload, 0, is_last

    def inflate(self) -> tuple[int, bool]:
        """A piece. Its size, and whether the frame has more. Raises Oversized and zlib.error."""
        room = PIECE_SIZE
        if self._max_size is not None:
            room = min(room, self._max_size - len(self.message) + 1)  # one byte more is enough to tell
        given = self._left
        if not given:
            given = self._input[self._at : self._at + _INPUT_SIZE]
            self._at += len(given)
        part = self._zlib.decompress(given, room)
        self._left = self._zlib.unconsumed_tail
        self.message += part
        if self._max_size is not None and len(self.message) > self._max_size:
            raise Oversized
        return len(part), len(part) == room or bool(self._left) or self._at < len(self._input)

    def take(self) -> bytes:
        """The message, whose last frame is inflated."""
        message = bytes(self.message)
        self.message.clear()
        self._input = b""
        if not self._keeps_context:
            self._zlib = None
        return message
