"""HTTP/2 frames: numbers, layouts, and the two kinds of errors. Bytes only; no state.

Implements RFC 9113 sections 4, 6 and 7, RFC 8441 section 3, RFC 9218 sections 2.1 and 7.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

#: Length (its upper 8 and lower 16 bits), type, flags, stream.
HEADER = Struct(">BHBBL")
HEADER_SIZE = 9
_SETTING = Struct(">HL")
_LONG = Struct(">L")
_TWO_LONGS = Struct(">LL")

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10

#: Those that carry a header block, whose bytes cost more than others.
OF_HEADS = frozenset((HEADERS, CONTINUATION))

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED = range(6)
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(6, 12)
INADEQUATE_SECURITY, HTTP_1_1_REQUIRED = 12, 13

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES = 8, 9

DEFAULT_WINDOW_SIZE = 65535
DEFAULT_FRAME_SIZE = 16384
LARGEST_FRAME_SIZE = 2**24 - 1
LARGEST_WINDOW = LARGEST_STREAM = 2**31 - 1

#: The fixed sizes of payloads; another one is a FRAME_SIZE_ERROR.
PAYLOAD_SIZES = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}


class Fault(Exception):
    """The peer broke the protocol."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ConnectionFault(Fault):
    """In a way that ends the connection: GOAWAY with `code` (RFC 9113 section 5.4.1)."""


class StreamFault(Fault):
    """On one stream: RST_STREAM with `code` (RFC 9113 section 5.4.2)."""


def frame_head(size: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The nine bytes before a payload of `size` bytes."""
    return HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id)


def header_frames(stream_id: int, block: bytes, flags: int, max_size: int) -> bytes:
    """A header block as HEADERS and as many CONTINUATIONs as it takes (RFC 9113 section 4.3)."""
    size = len(block)
    if size <= max_size:
        return HEADER.pack(size >> 16, size & 0xFFFF, HEADERS, flags | END_HEADERS, stream_id) + block
    parts = [frame_head(max_size, HEADERS, flags, stream_id), block[:max_size]]
    for start in range(max_size, size, max_size):
        part = block[start : start + max_size]
        last = END_HEADERS if start + max_size >= size else 0
        parts += (frame_head(len(part), CONTINUATION, last, stream_id), part)
    return b"".join(parts)


def settings_frame(settings: Mapping[int, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(_SETTING.pack(key, value) for key, value in settings.items())
    return frame_head(len(payload), SETTINGS, 0, 0) + payload


SETTINGS_ACK = frame_head(0, SETTINGS, ACK, 0)


def reset_frame(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return frame_head(4, RST_STREAM, 0, stream_id) + _LONG.pack(code)


def window_frame(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame_head(4, WINDOW_UPDATE, 0, stream_id) + _LONG.pack(increment)


def goaway_frame(last_stream_id: int, code: int, reason: str = "") -> bytes:
    """A GOAWAY frame; the reason goes along as debug data."""
    payload = _TWO_LONGS.pack(last_stream_id, code) + reason.encode("ascii", "replace")
    return frame_head(len(payload), GOAWAY, 0, 0) + payload


def unpadded(payload: bytes) -> bytes:
    """The payload of a PADDED frame without length and padding. Raises ConnectionFault (RFC 9113 section 6.1)."""
    if not payload:
        raise ConnectionFault(FRAME_SIZE_ERROR, "a padded frame without a length of its padding")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - padding]


def read_settings(payload: bytes) -> dict[int, int]:
    """The settings of a frame, of each one its last value. Raises ConnectionFault (RFC 9113 section 6.5.2)."""
    if len(payload) % 6:
        raise ConnectionFault(FRAME_SIZE_ERROR, "a SETTINGS frame with half a setting")
    settings: dict[int, int] = {}
    for key, value in _SETTING.iter_unpack(payload):
        if key == INITIAL_WINDOW_SIZE:
            if value > LARGEST_WINDOW:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE too large")
        elif key == MAX_FRAME_SIZE:
            if not DEFAULT_FRAME_SIZE <= value <= LARGEST_FRAME_SIZE:
                raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE out of range")
        elif key in (ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES) and value > 1:
            raise ConnectionFault(PROTOCOL_ERROR, "a setting that must be 0 or 1 is not")
        settings[key] = value
    return settings


def read_long(payload: bytes) -> int:
    """An unsigned 32-bit number."""
    return int.from_bytes(payload[:4], "big")
