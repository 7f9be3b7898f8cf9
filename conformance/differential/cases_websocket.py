"""WebSocket: handshakes, frames, ends."""

from __future__ import annotations

import struct
import zlib

from conformance.differential.case import CLOSE, HALF_CLOSE, RESET, SETTLE, Case, Reached, websocket_case as case
from conformance.differential.cases_http import GET, request

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = "Sec-WebSocket-Version: 13"
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


def handshake(
    *fields: str, line: str = "GET /chat?a=b HTTP/1.1", basis: tuple[str, ...] = (*UPGRADE, KEY, VERSION)
) -> bytes:
    """The request that opens a WebSocket."""
    return request(line, *basis, *fields)


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """One frame of a client."""
    first, mark = (0x80 if fin else 0) | rsv << 4 | opcode, 0x80 if masked else 0
    if len(data) < 126:
        head = bytes([first, mark | len(data)])
    elif len(data) < 65536:
        head = struct.pack("!BBH", first, mark | 126, len(data))
    else:
        head = struct.pack("!BBQ", first, mark | 127, len(data))
    if not masked:
        return head + data
    mask = b"mask"
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def text(data: str, *, fin: bool = True) -> bytes:
    return frame(1, data.encode(), fin=fin)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(8, b"" if code is None else struct.pack("!H", code) + reason)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


HELLO = handshake()
OPEN = (HELLO, SETTLE)

HANDSHAKES: list[Case] = [
    case("ws-handshake", HELLO),
    case("ws-handshake-in-parts", HELLO[:50], SETTLE, HELLO[50:]),
    case("ws-handshake-then-frame-at-once", HELLO + text("early")),
    case("ws-after-a-request", GET, SETTLE, HELLO, SETTLE, text("a"), app="either"),
    case("ws-root-path", HELLO, root_path="/root"),
    case("ws-forwarded", handshake("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https")),
    case("ws-no-key", request("GET / HTTP/1.1", *UPGRADE, VERSION)),
    case("ws-bad-key", request("GET / HTTP/1.1", *UPGRADE, VERSION, "Sec-WebSocket-Key: short")),
    case("ws-no-version", request("GET / HTTP/1.1", *UPGRADE, KEY)),
    case("ws-version-8", request("GET / HTTP/1.1", *UPGRADE, KEY, "Sec-WebSocket-Version: 8")),
    case("ws-post", handshake(line="POST / HTTP/1.1")),
    case("ws-version-1.0", handshake(line="GET / HTTP/1.0")),
    case(
        "ws-upgrade-among-tokens",
        handshake(basis=("Connection: keep-alive, Upgrade", "Upgrade: WebSocket", KEY, VERSION)),
    ),
    case("ws-subprotocol", handshake("Sec-WebSocket-Protocol: a, b"), app="subprotocol"),
    case(
        "ws-subprotocol-two-fields",
        handshake("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"),
        app="subprotocol",
    ),
    case("ws-subprotocol-unasked", HELLO, app="subprotocol_unasked"),
    case("ws-app-header-splits", HELLO, app="ws_bad_header"),
    case("ws-refused", HELLO, app="ws_refuses"),
    case("ws-refused-at-once", HELLO, app="ws_refuses_at_once"),
    case("ws-denied", HELLO, app="ws_denies"),
    case("ws-denied-unfinished", HELLO, app="ws_denies_unfinished"),
    case("ws-raises-before", HELLO, app="ws_raises_before"),
    case("ws-returns-before", HELLO, app="ws_returns_before"),
    case("ws-sends-first", HELLO, app="ws_sends_first"),
    case("ws-client-leaves-in-the-handshake", HELLO, Reached("called"), CLOSE, app="waits_for_ws_disconnect"),
    case("ws-default-headers", HELLO, headers=[("X-Default", "a")]),
]

MESSAGES: list[Case] = [
    case("ws-text", *OPEN, text("hello"), SETTLE, text("w\xf6rld")),
    case("ws-binary", *OPEN, frame(2, b"\x00\xff")),
    case("ws-empty", *OPEN, text(""), SETTLE, frame(2)),
    case("ws-large", *OPEN, frame(2, b"x" * 70_000)),
    case("ws-many-at-once", *OPEN, b"".join(text(str(n)) for n in range(20))),
    case("ws-byte-by-byte", *OPEN, *(text("hello")[i : i + 1] for i in range(11))),
    case("ws-fragments", *OPEN, text("hel", fin=False), SETTLE, frame(0, b"lo", fin=False), SETTLE, frame(0, b"!")),
    case("ws-ping", *OPEN, frame(9, b"payload"), SETTLE, text("a")),
    case("ws-ping-in-fragments", *OPEN, text("a", fin=False), SETTLE, frame(9, b"p"), SETTLE, frame(0, b"b")),
    case("ws-pong-unasked", *OPEN, frame(10, b"p"), SETTLE, text("a")),
    case("ws-sends-kinds", *OPEN, app="ws_sends_kinds"),
    case("ws-sends-nothing", *OPEN, app="ws_sends_nothing"),
    case("ws-deflate", handshake(DEFLATE), SETTLE, frame(1, deflated(b"hello" * 20), rsv=4)),
    case("ws-deflate-plain-frame", handshake(DEFLATE), SETTLE, text("hello")),
    case("ws-deflate-off", handshake(DEFLATE), SETTLE, text("hello"), ws_per_message_deflate=False),
    case("ws-deflate-bad-offer", handshake("Sec-WebSocket-Extensions: permessage-deflate; x=1"), SETTLE, text("hello")),
    case("ws-too-large", *OPEN, frame(2, b"x" * 2000), ws_max_size=1000),
    case(
        "ws-too-large-in-fragments", *OPEN, *[frame(2, b"x" * 600, fin=False), frame(0, b"x" * 600)], ws_max_size=1000
    ),
    case("ws-bad-utf8", *OPEN, frame(1, b"\xff\xfe")),
    case("ws-unmasked", *OPEN, frame(1, b"hello", masked=False)),
    case("ws-reserved-opcode", *OPEN, frame(3, b"hello")),
    case("ws-reserved-bit", *OPEN, frame(1, b"hello", rsv=2)),
    case("ws-continuation-of-nothing", *OPEN, frame(0, b"hello")),
    case("ws-long-ping", *OPEN, frame(9, b"x" * 200)),
]

ENDS: list[Case] = [
    case("ws-close", *OPEN, close()),
    case("ws-close-reason", *OPEN, close(4123, b"reason")),
    case("ws-close-no-code", *OPEN, close(None)),
    case("ws-close-bad-code", *OPEN, close(1005)),
    case("ws-close-one-byte", *OPEN, frame(8, b"\x03")),
    case("ws-close-behind-messages", *OPEN, text("a") + text("b") + close()),
    case("ws-message-behind-close", *OPEN, close() + text("a")),
    case("ws-app-closes", *OPEN, close(), app="ws_closes"),
    case("ws-app-closes-unanswered", *OPEN, SETTLE, text("a"), app="ws_closes"),
    case("ws-app-closes-with-code", *OPEN, close(4001), app="ws_closes_with_code"),
    case("ws-app-sends-after-close", *OPEN, app="ws_sends_after_close"),
    case("ws-app-accepts-twice", *OPEN, app="ws_accepts_twice"),
    case("ws-raises-after", *OPEN, close(1011), app="ws_raises_after"),
    case("ws-returns-after", *OPEN, close(), app="ws_returns_after"),
    case("ws-client-leaves", *OPEN, CLOSE),
    case("ws-client-resets", *OPEN, RESET),
    case("ws-client-half-closes", *OPEN, HALF_CLOSE),
    case("ws-client-leaves-in-a-frame", *OPEN, text("hello")[:4], SETTLE, CLOSE),
    case("ws-app-sends-to-the-gone", *OPEN, CLOSE, app="ws_sends_to_the_gone"),
    case("ws-app-sends-after-close-frame", *OPEN, close(), app="ws_sends_to_the_gone"),
]

CASES = [*HANDSHAKES, *MESSAGES, *ENDS]
