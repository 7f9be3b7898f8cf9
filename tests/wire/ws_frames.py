"""What the WebSocket tests send as a client: handshake requests and masked frames, as RFC 6455 has them."""

from __future__ import annotations

import struct
import zlib

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
MASK = b"\x01\x02\x03\x04"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def handshake(*extra: bytes, target: bytes = b"/", key: bytes = KEY, version: bytes = b"13") -> bytes:
    """A handshake request, with more header lines."""
    lines = [
        b"GET " + target + b" HTTP/1.1",
        b"Host: example.org",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: " + key,
        b"Sec-WebSocket-Version: " + version,
        *extra,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def parsed(request: bytes) -> tuple[str, list[tuple[bytes, bytes]]]:
    """Method and fields of a request, as HTTP/1.1's wire has them."""
    line, *lines = request.removesuffix(b"\r\n\r\n").split(b"\r\n")
    fields = [field.partition(b":") for field in lines]
    return line.split(b" ")[0].decode("ascii"), [(name.lower(), value.strip()) for name, _, value in fields]


DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """A client's frame."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    mask = (MASK * (size // 4 + 1))[:size]
    masked_payload = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + MASK + masked_payload.to_bytes(size, "big")


def close(code: int, reason: bytes = b"", *, masked: bool = True) -> bytes:
    """A close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason, masked=masked)


def deflated(data: bytes, window_bits: int = 12) -> bytes:
    """The payload of a compressed message (RFC 7692, section 7.2.1), by a client that keeps no context."""
    compressor = zlib.compressobj(wbits=-window_bits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def server_frames(data: bytes) -> list[tuple[int, bytes]]:
    """The (first byte, payload) pairs of the server's unmasked frames."""
    frames = []
    while data:
        assert len(data) > 1, "a frame was cut short"
        first, size = data[0], data[1]
        assert size < 128, "a server does not mask"
        start = 2
        if size > 125:
            length = {126: 2, 127: 8}[size]
            start += length
            assert len(data) >= start, "a frame was cut short"
            size = int.from_bytes(data[2:start], "big")
        frames.append((first, data[start : start + size]))
        assert len(data) >= start + size, "a frame was cut short"
        data = data[start + size :]
    return frames
