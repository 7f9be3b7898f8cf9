"""Chunks of a few bytes each, of which a client may send any number: joined to one before a parser sees them.

A parser tells each by itself, with a look at both of its lines before that: ten times what it costs here. To an app it
is the same: where chunks end says nothing (RFC 9112 section 7.1). Knows no parser.
"""

from __future__ import annotations

from typing import NamedTuple

#: What is in front of a chunk that is joined: its size, without extensions or further zeros.
_SIZES = {line % size: size for size in range(1, 16) for line in (b"%x\r\n", b"%X\r\n")}
_LINE_SIZE = 3


class Run(NamedTuple):
    """Small chunks in a row."""

    content: bytes
    chunks: int
    #: Where what is behind them begins.
    end: int

    def as_chunk(self) -> bytes:
        """One chunk with their content."""
        return b"%x\r\n%b\r\n" % (len(self.content), self.content)


def run_of(data: bytes, at: int, most: int) -> Run:
    """Those that begin at `at`, `most` of them. One that is cut, or is not well-formed, is no part of it."""
    parts: list[bytes] = []
    while len(parts) < most:
        start = at + _LINE_SIZE
        size = _SIZES.get(data[at:start])
        if size is None:
            break
        stop = start + size
        if data[stop : stop + 2] != b"\r\n":
            break
        parts.append(data[start:stop])
        at = stop + 2
    return Run(b"".join(parts), len(parts), at)
