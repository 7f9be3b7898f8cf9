"""The layout of WebSocket frames, as far as both wires read and write it without their library.

Implements RFC 6455 section 5.2. Knows neither handshakes nor extensions.
"""

from __future__ import annotations

from struct import pack

#: Opcodes of RFC 6455, section 5.2, as they stand in a frame's first byte.
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

#: The first byte of a frame that stands by itself and is not compressed (FIN bit and opcode).
WHOLE_TEXT, WHOLE_BINARY, WHOLE_PING, WHOLE_PONG = 0x80 | TEXT, 0x80 | BINARY, 0x80 | PING, 0x80 | PONG

#: The first byte of a frame that may be read without the library.
_SIMPLE = frozenset((WHOLE_TEXT, WHOLE_BINARY, WHOLE_PING, WHOLE_PONG))

#: A control frame carries 125 bytes at most, two of which are a close frame's code.
_MAX_REASON_SIZE = 123


class FrameBoundary:
    """Whether the bytes that a parser was fed end between two frames, known by adding up their lengths."""

    between_frames = True
    _head = b""  # a frame header that is cut
    _missing = 0  # bytes that the last frame still lacks

    def follow(self, data: bytes, at: int) -> int:
        """Count the bytes of one frame that the parser is fed: those from `at` on. Returns where it ends in `data`.

        What is no frame does not matter: the parser ends at it.
        """
        end = len(data)
        if not self._missing:
            known = self._head
            header = known + data[at : at + 10 - len(known)]
            size = header[1] & 0x7F if len(header) > 1 else 0
            extended = 2 if size == 126 else 8 if size == 127 else 0
            if len(header) < 2 + extended:
                self._head = header
                self.between_frames = False
                return end
            if extended:
                size = int.from_bytes(header[2 : 2 + extended], "big")
            self._head = b""
            self._missing = 2 + extended + 4 + size - len(known)
        stop = at + self._missing
        self._missing = max(stop - end, 0)
        self.between_frames = stop <= end
        return min(stop, end)


def measure(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` begins and ends, if it is masked and a whole message without extensions, a
    ping or a pong.

    Else (0, 0), as for a header that is cut, or whose length does not take the shortest form: the parser has its
    opinion. The mask is the four bytes before the payload.
    """
    available = len(data) - at
    if available < 6 or data[at] not in _SIMPLE:
        return 0, 0
    start, size = at + 6, data[at + 1] - 0x80
    if size > 125:
        extended, least = (2, 126) if size == 126 else (8, 65536)
        start += extended
        size = int.from_bytes(data[at + 2 : at + 2 + extended], "big")
        if size < least or available < 6 + extended or data[at] > WHOLE_BINARY:
            return 0, 0
    return (start, start + size) if size >= 0 else (0, 0)


def frame_head(first_byte: int, size: int) -> bytes:
    """The header of an unmasked frame with a payload of that size."""
    if size < 126:
        return pack("!BB", first_byte, size)
    if size < 65536:
        return pack("!BBH", first_byte, 126, size)
    return pack("!BBQ", first_byte, 127, size)


def whole_frame(first_byte: int, payload: bytes) -> bytes:
    """An unmasked frame that is a message by itself, without extensions."""
    return frame_head(first_byte, len(payload)) + payload


def close_frame(code: int | None, reason: str = "") -> bytes:
    """A close frame, its reason cut to what there is room for; None: an empty one."""
    if code is None:
        return whole_frame(0x80 | CLOSE, b"")
    encoded = reason.encode()
    if len(encoded) > _MAX_REASON_SIZE:
        encoded = encoded[:_MAX_REASON_SIZE].decode(errors="ignore").encode()
    return whole_frame(0x80 | CLOSE, pack("!H", code) + encoded)
