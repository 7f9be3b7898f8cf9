"""The client's end of an HTTP/2 connection in tests: frames by hand, and the server's frames in words.

Packs and reads frames by itself, so that a mistake in `pounce.wire.http2_frames` shows; headers go through `hpack`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import hpack

from pounce.settings import Http2
from pounce.wire.http2 import Http2Wire
from pounce.wire.http2_frames import ConnectionFault
from pounce.wire.http2_h2 import H2Wire
from pounce.wire.http2_native import NativeWire
from pounce.wire.http2_scheduler import Http2Stream

WIRES: dict[str, type[Http2Wire]] = {"native": NativeWire, "h2": H2Wire}

#: The wire of a `Peer`: the fixture `http2_wire` runs a test with each.
WIRE = "native"

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

TYPES = [
    "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
    "CONTINUATION",
]  # fmt: skip
CODES = [
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
]  # fmt: skip

#: Flags.
END, ENDH, PADDED, PRIO, ACK = 0x1, 0x4, 0x8, 0x20, 0x1

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")]
POST = [(":method", "POST"), *GET[1:]]


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">L", len(payload))[1:] + struct.pack(">BBL", kind, flags, stream_id) + payload


def block(fields: Iterable[tuple[Any, ...]]) -> bytes:
    """A header block that uses no dynamic table, so that it means the same anywhere."""
    return b"".join(
        b"\x00" + _string(name if isinstance(name, bytes) else name.encode())
        + _string(value if isinstance(value, bytes) else value.encode())
        for name, value in fields
    )  # fmt: skip


def _string(text: bytes) -> bytes:
    size, head = len(text), b""
    if size < 127:
        return bytes((size,)) + text
    size -= 127
    head = b"\x7f"
    while size > 127:
        head += bytes((size & 127 | 128,))
        size >>= 7
    return head + bytes((size,)) + text


def headers(stream_id: int, fields: Any = GET, flags: int = END | ENDH) -> bytes:
    """HEADERS; `fields` may also be a block."""
    return frame(1, flags, stream_id, fields if isinstance(fields, bytes) else block(fields))


def post(stream_id: int, *more: tuple[str, str]) -> bytes:
    """The head of a request whose body follows."""
    return headers(stream_id, [*POST, *more], ENDH)


def data(stream_id: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """DATA."""
    return frame(0, flags, stream_id, payload)


def priority(stream_id: int, payload: bytes = b"\x00\x00\x00\x00\x10") -> bytes:
    """PRIORITY."""
    return frame(2, 0, stream_id, payload)


def rst(stream_id: int, code: int = 8) -> bytes:
    """RST_STREAM."""
    return frame(3, 0, stream_id, struct.pack(">L", code))


def settings(*pairs: tuple[int, int], flags: int = 0, stream_id: int = 0) -> bytes:
    """SETTINGS."""
    return frame(4, flags, stream_id, b"".join(struct.pack(">HL", *pair) for pair in pairs))


def ping(payload: bytes = b"12345678", flags: int = 0, stream_id: int = 0) -> bytes:
    """PING."""
    return frame(6, flags, stream_id, payload)


def goaway(last: int = 0, code: int = 0, stream_id: int = 0) -> bytes:
    """GOAWAY."""
    return frame(7, 0, stream_id, struct.pack(">LL", last, code))


def window(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(8, 0, stream_id, struct.pack(">L", increment))


def continuation(stream_id: int, payload: bytes, flags: int = ENDH) -> bytes:
    """CONTINUATION."""
    return frame(9, flags, stream_id, payload)


def priority_update(about: int, value: bytes, stream_id: int = 0) -> bytes:
    """PRIORITY_UPDATE."""
    return frame(16, 0, stream_id, struct.pack(">L", about) + value)


def split(output: bytes) -> list[tuple[int, int, int, bytes]]:
    """The frames in a server's output: type, flags, stream, payload."""
    found, at = [], 0
    while at < len(output):
        size = int.from_bytes(output[at : at + 3], "big")
        kind, flags, stream_id = struct.unpack(">BBL", output[at + 3 : at + 9])
        end = at + 9 + size
        assert len(output) >= end, "half a frame"
        found.append((kind, flags, stream_id, output[at + 9 : end]))
        at = end
    return found


def describe(kind: int, flags: int, stream_id: int, payload: bytes) -> str:
    """A frame in words, as the tables of tests have it."""
    name = TYPES[kind]
    long = int.from_bytes(payload[:4], "big")
    if name == "DATA":
        return f"DATA {stream_id} {len(payload)}" + " END" * (flags & END)
    if name in ("HEADERS", "CONTINUATION"):
        return f"{name} {stream_id}" + " END" * (flags & END and kind == 1) + ("" if flags & ENDH else " ...")
    if name == "RST_STREAM":
        return f"RST_STREAM {stream_id} {CODES[long]}"
    if name == "GOAWAY":
        return f"GOAWAY {long} {CODES[int.from_bytes(payload[4:8], 'big')]}"
    if name == "WINDOW_UPDATE":
        return f"WINDOW_UPDATE {stream_id} {long}"
    if name == "PING":
        return f"PING{' ACK' * (flags & ACK)} {payload.decode(errors='backslashreplace')}"
    return name + " ACK" * (flags & ACK)


def joined(words: Iterable[str]) -> list[str]:
    """The same frames, an END of its own being one of the frame before it: to the client that is the same."""
    found: list[str] = []
    for word in words:
        name, _, rest = word.partition(" ")
        if name == "DATA" and rest.endswith(" 0 END") and found:
            kind, stream_id, *more = found[-1].split(" ")
            if kind in ("DATA", "HEADERS") and [stream_id, "0", "END"] == rest.split(" ") and "..." not in more:
                found[-1] += " END"
                continue
        found.append(word)
    return found


class PeerStream(Http2Stream):
    """A stream that tells its peer what it hears."""

    def __init__(self, peer: Peer, stream_id: int, send_window: int, receive_window: int) -> None:
        super().__init__(stream_id, send_window, receive_window)
        self.peer = peer
        peer.streams[stream_id] = self

    def on_body(self, data: bytes) -> None:
        self.peer.bodies[self.id] += data

    def on_end(self) -> None:
        self.peer.events.append(f"end {self.id} {len(self.peer.bodies[self.id])}")


class Peer:
    """A wire, the frames it was fed, and what it said: `output` in words, `events` as its sink heard them."""

    def __init__(self, connect_protocol: bool = True, wire: str | None = None, **limits: int) -> None:
        self.wire: Http2Wire = WIRES[wire or WIRE](self, Http2(**limits), connect_protocol)
        self.streams: dict[int, Http2Stream] = {}
        self.events: list[str] = []
        self.heads: dict[int, Any] = {}
        self.bodies: dict[int, bytes] = {}
        self.payloads: list[tuple[int, int, int, bytes]] = []
        self.over = False
        self.left = 2**40  # a share: all of it
        self.decoder = hpack.Decoder()

    # The sink

    stream_class = PeerStream

    def share(self) -> int:
        return self.left

    def on_request(self, stream: Any, head: Any) -> None:
        self.heads[stream.id] = head
        self.bodies[stream.id] = b""
        self.events.append(f"request {stream.id}" + (f" {head.refusal}" if head.refusal else ""))

    def on_reset(self, stream: Any) -> None:
        self.events.append(f"reset {stream.id}")

    def on_goaway(self) -> None:
        self.events.append("goaway")

    # The client

    def open(self, *more: bytes) -> Peer:
        """Exchange prefaces; what the server says to that is not kept."""
        self.wire.start()
        self.feed(PREFACE + settings())
        self.take()
        for piece in more:
            self.feed(piece)
        return self

    def feed(self, piece: bytes) -> None:
        """Bytes from the client. A fault ends the connection as `HTTP2Protocol` ends it."""
        if self.over:
            return
        try:
            self.wire.feed(piece)
        except ConnectionFault as fault:
            self.over = True
            self.wire.end(fault.code, fault.reason)

    def take_out(self) -> list[Any]:
        """What is to be written, as the connection takes it."""
        wire = self.wire
        out, wire.out, wire.out_size, wire.has_large = wire.out, [], 0, False
        return out

    def take(self) -> list[str]:
        """What the server has said since the last call, in words."""
        self.wire.pump(2**31)
        self.payloads = split(b"".join(self.take_out()))
        return [describe(*one) for one in self.payloads]

    def answer(self, stream_id: int, body: bytes = b"", status: int = 200, fields: Any = (), end: bool = True) -> None:
        """The app's response on a stream."""
        stream = self.streams[stream_id]
        self.wire.send_head(stream, status, fields, [])
        if body or end:
            self.wire.send_data(stream, body, end)
