"""The layout of WebSocket frames, as far as both wires read and write it without their library.

Implements RFC 6455 section 5.2. Knows neither handshakes nor extensions.
"""

from __future__ import annotations

from struct import pack

#: Opcodes of RFC 6455, section 5.2, as they stand in a frame's first byte.
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

#: Close codes (RFC 6455 section 7.4.1, and IANA's registry).
NO_STATUS_RECEIVED, ABNORMAL_CLOSURE = 1005, 1006
PROTOCOL_ERROR, INVALID_DATA, MESSAGE_TOO_BIG, INTERNAL_ERROR, SERVICE_RESTART = 1002, 1007, 1009, 1011, 1012

#: The first byte of a frame that stands by itself and is not compressed (FIN bit and opcode).
WHOLE_TEXT, WHOLE_BINARY, WHOLE_PING, WHOLE_PONG = 0x80 | TEXT, 0x80 | BINARY, 0x80 | PING, 0x80 | PONG

#: The same of a message's first frame that is compressed, whole or not (RFC 7692 section 6), and of its other frames.
PACKED = frozenset((0x40 | TEXT, 0x40 | BINARY, 0xC0 | TEXT, 0xC0 | BINARY))
CONTINUED = frozenset((CONTINUATION, 0x80 | CONTINUATION))

#: Frames that may be read without the library: those that stand by themselves; the same where messages may come
#: compressed, and within one that is.
SIMPLE = frozenset((WHOLE_TEXT, WHOLE_BINARY, WHOLE_PING, WHOLE_PONG))
SIMPLE_OR_PACKED = SIMPLE | PACKED
WITHIN_PACKED = CONTINUED | {WHOLE_PING, WHOLE_PONG}

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


def measure(data: bytes, at: int, kinds: frozenset[int]) -> tuple[int, int]:
    """Where the payload of the frame at `at` begins and ends, if it is masked, and its first byte one of `kinds`.

    Else (0, 0), as for a header that is cut, or whose length does not take the shortest form: the parser has its
    opinion. The mask is the four bytes before the payload.
    """
    available = len(data) - at
    if available < 6 or data[at] not in kinds:
        return 0, 0
    start, size = at + 6, data[at + 1] - 0x80
    if size > 125:
        extended, least = (2, 126) if size == 126 else (8, 65536)
        start += extended
        size = int.from_bytes(data[at + 2 : at + 2 + extended], "big")
        if size < least or available < 6 + extended or data[at] & 0x08:
            return 0, 0
    return (start, start + size) if size >= 0 else (0, 0)


def missing_of_head(data: bytes, at: int) -> int:
    """How many bytes the header of the frame at `at` lacks, mask included; 2 where its length is not known."""
    available = len(data) - at
    if available < 2:
        return 2 - available
    size = data[at + 1] & 0x7F
    return max(0, (8 if size == 126 else 14 if size == 127 else 6) - available)


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
