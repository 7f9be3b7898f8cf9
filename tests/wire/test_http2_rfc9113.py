"""RFC 9113 section by section: frames in, frames out. Each case whole, byte by byte and cut at random places."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.wire.http2_differences import RFC_9113
from tests.wire.http2_peer import (
    ACK,
    END,
    ENDH,
    GET,
    PADDED,
    PREFACE,
    PRIO,
    Peer,
    block,
    continuation,
    data,
    frame,
    goaway,
    headers,
    joined,
    ping,
    post,
    priority,
    priority_update,
    rst,
    settings,
    window,
)

Step = bytes | Callable[[Peer], Any]


@dataclass(frozen=True)
class Case:
    """`steps` are bytes from the client and things that the server does; `output` and `events` are what comes of it."""

    section: str
    says: str
    steps: tuple[Step, ...]
    output: tuple[str, ...] = ()
    events: tuple[str, ...] | None = None
    opened: bool = True
    limits: dict[str, int] = field(default_factory=dict)


CASES: list[Case] = []


def case(
    section: str, says: str, *steps: Step, out: Any = (), events: Any = None, opened: bool = True, **limits: int
) -> None:
    """One row of the table."""
    words = (out,) if isinstance(out, str) else tuple(out)
    told = None if events is None else (events,) if isinstance(events, str) else tuple(events)
    CASES.append(Case(section, says, steps, words, told, opened, limits))


def answer(stream_id: int, *args: Any, **settings: Any) -> Callable[[Peer], None]:
    """The app answers."""
    return lambda peer: peer.answer(stream_id, *args, **settings)


def get(*fields: tuple[Any, Any], without: str = "") -> bytes:
    """HEADERS of a GET on stream 1 with these fields added, and a pseudo-header field left out."""
    return headers(1, [*(one for one in GET if one[0] != without), *fields])


BAD_STREAM = "RST_STREAM 1 PROTOCOL_ERROR"
FULL_STREAM = "RST_STREAM 1 FLOW_CONTROL_ERROR"
SERVER_PREFACE = ("SETTINGS", "WINDOW_UPDATE 0 983041")


def goes(code: str, last: int = 0) -> str:
    """The connection ends."""
    return f"GOAWAY {last} {code}"


# fmt: off

# 3.4 Connection preface
case("3.4", "the server begins with SETTINGS", lambda peer: peer.wire.start(), out=SERVER_PREFACE, opened=False)
case("3.4", "a request without the preface", headers(1), out=goes("PROTOCOL_ERROR"), opened=False)
case("3.4", "an HTTP/1.1 request", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", out=goes("PROTOCOL_ERROR"), opened=False)
case("3.4", "a preface with a wrong byte", PREFACE[:-1] + b"x", out=goes("PROTOCOL_ERROR"), opened=False)
case("3.4", "SETTINGS must follow, not PING", PREFACE, ping(), out=goes("PROTOCOL_ERROR"), opened=False)
case("3.4", "SETTINGS must follow, not HEADERS", PREFACE, headers(1), out=goes("PROTOCOL_ERROR"), opened=False)
case("3.4", "an acknowledgement is no preface", PREFACE, settings(flags=ACK), out=goes("PROTOCOL_ERROR"), opened=False)
case("3.4", "empty SETTINGS will do", PREFACE, settings(), out="SETTINGS ACK", opened=False)

# 4.1, 4.2 Frame format and size
case("4.1", "a type that is not known is ignored", frame(0xBB, 0, 0, b"x" * 9), ping(), out="PING ACK 12345678")
case("4.1", "the same on a stream", frame(0xBB, 0xFF, 77, b""), ping(), out="PING ACK 12345678")
case("4.1", "flags that mean nothing are ignored", ping(flags=0xFE), out="PING ACK 12345678")
case("4.1", "the reserved bit is ignored", frame(6, 0, 0x80000000, b"12345678"), out="PING ACK 12345678")
case("4.1", "the reserved bit of a request's stream", frame(1, END | ENDH, 0x80000001, block(GET)), events="request 1")
case("4.2", "16,384 bytes are allowed", post(1), data(1, b"x" * 16384), events="request 1")
case("4.2", "DATA of 16,385 bytes", post(1), data(1, b"x" * 16385), out=goes("FRAME_SIZE_ERROR", 1))
case("4.2", "HEADERS of 16,385 bytes", headers(1, b"\x82" * 16385), out=goes("FRAME_SIZE_ERROR"))
case("4.2", "an unknown frame of 16,385 bytes", frame(0xBB, 0, 0, b"x" * 16385), out=goes("FRAME_SIZE_ERROR"))
case("4.2", "SETTINGS of 2^24-1 bytes are refused at their head",
    b"\xff\xff\xff\x04\x00\x00\x00\x00\x00", out=goes("FRAME_SIZE_ERROR"),
)

# 4.3 Header compression
case("4.3", "a block that is no HPACK", headers(1, b"\xff\xff\xff\xff\xff\xff"), out=goes("COMPRESSION_ERROR"))
case("4.3", "an index that does not exist", headers(1, b"\xfe"), out=goes("COMPRESSION_ERROR"))
case("4.3", "index 0", headers(1, b"\x80"), out=goes("COMPRESSION_ERROR"))
case("4.3", "a string longer than its block", headers(1, b"\x00\x05ab"), out=goes("COMPRESSION_ERROR"))
case("4.3", "Huffman code that ends in the middle",
    headers(1, b"\x82\x86\x84\x41\x81\x00"), out=goes("COMPRESSION_ERROR"),
)
case("4.3", "a table size above the one announced",
    headers(1, b"\x3f\xe2\x1f" + block(GET)), out=goes("COMPRESSION_ERROR"),
)
case("4.3", "a change of table size behind a field",
    headers(1, b"\x82\x20" + block(GET)), out=goes("COMPRESSION_ERROR"),
)
case("4.3", "the block of a stream that is refused counts",
    headers(1, [*GET, ("Bad", "x")], END | ENDH), headers(3), out=BAD_STREAM, events="request 3",
)
case("4.3", "HEADERS on another stream in a block", headers(1, GET, END), headers(3), out=goes("PROTOCOL_ERROR"))
case("4.3", "DATA in a block", headers(1, GET, 0), data(1), out=goes("PROTOCOL_ERROR"))
case("4.3", "PING in a block", headers(1, GET, END), ping(), out=goes("PROTOCOL_ERROR"))
case("4.3", "an unknown frame in a block", headers(1, GET, END), frame(0xBB, 0, 0), out=goes("PROTOCOL_ERROR"))
case("4.3", "a second HEADERS in a block", headers(1, GET, END), headers(1), out=goes("PROTOCOL_ERROR"))

# 5.1 Stream states
case("5.1", "idle: DATA", data(1), out=goes("PROTOCOL_ERROR"))
case("5.1", "idle: RST_STREAM", rst(1), out=goes("PROTOCOL_ERROR"))
case("5.1", "idle: WINDOW_UPDATE", window(1, 1), out=goes("PROTOCOL_ERROR"))
case("5.1", "idle: CONTINUATION", continuation(1, block(GET)), out=goes("PROTOCOL_ERROR"))
case("5.1", "idle: PRIORITY is allowed", priority(1), headers(3), events="request 3")
case("5.1", "half-closed (remote): DATA",
    headers(1), data(1, b"x"), out="RST_STREAM 1 STREAM_CLOSED", events=("request 1", "reset 1"),
)
case("5.1", "half-closed (remote): HEADERS", headers(1), headers(1), out="RST_STREAM 1 STREAM_CLOSED")
case("5.1", "half-closed (remote): WINDOW_UPDATE", headers(1), window(1, 1), answer(1), out="HEADERS 1 END")
case("5.1", "half-closed (remote): RST_STREAM", headers(1), rst(1), events=("request 1", "reset 1"))
case("5.1", "half-closed (remote): PRIORITY", headers(1), priority(1), answer(1), out="HEADERS 1 END")
case("5.1", "closed: DATA", headers(1), answer(1), data(1), out=("HEADERS 1 END", goes("STREAM_CLOSED", 1)))
case("5.1", "closed: HEADERS", headers(1), answer(1), headers(1), out=("HEADERS 1 END", goes("STREAM_CLOSED", 1)))
case("5.1", "closed: CONTINUATION",
    headers(1), answer(1), continuation(1, b""), out=("HEADERS 1 END", goes("PROTOCOL_ERROR", 1)),
)
case("5.1", "closed: WINDOW_UPDATE, RST_STREAM and PRIORITY may come late",
    headers(1), answer(1), window(1, 9), rst(1), priority(1), out="HEADERS 1 END",
)
case("5.1", "reset by the client: DATA", post(1), rst(1), data(1, b"x"), out="RST_STREAM 1 STREAM_CLOSED")
case("5.1", "reset by the client: HEADERS", post(1), rst(1), headers(1), out="RST_STREAM 1 STREAM_CLOSED")
case("5.1", "reset by us: DATA on its way is dropped",
    post(1), window(1, 2**31 - 1), data(1, b"x"), ping(), out=(FULL_STREAM, "PING ACK 12345678"),
)
case("5.1", "reset by us: HEADERS on its way is dropped", post(1), window(1, 2**31 - 1), headers(1), out=FULL_STREAM)
case("5.1", "reset by us: a window for it is dropped", post(1), window(1, 2**31 - 1), window(1, 7), out=FULL_STREAM)
case("5.1", "lower streams that were skipped are closed", headers(5), headers(3), out=goes("STREAM_CLOSED", 5))
case("5.1", "both sides end: no frame more", headers(1), answer(1, b"hi"), out=("HEADERS 1", "DATA 1 2 END"))

# 5.1.1, 5.1.2 Identifiers and concurrency
case("5.1.1", "HEADERS on an even stream", headers(2), out=goes("PROTOCOL_ERROR"))
case("5.1.1", "HEADERS on stream 0", headers(0), out=goes("PROTOCOL_ERROR"))
case("5.1.1", "DATA on an even stream", data(2), out=goes("PROTOCOL_ERROR"))
case("5.1.1", "numbers may be left out", headers(1), headers(101), events=("request 1", "request 101"))
case("5.1.1", "the largest number", headers(2**31 - 1), events=f"request {2**31 - 1}")
case("5.1.2", "one stream more than announced",
    headers(1), headers(3), headers(5), out="RST_STREAM 5 REFUSED_STREAM", events=("request 1", "request 3"),
    concurrent_streams=2,
)
case("5.1.2", "a stream that has ended makes room",
    headers(1), answer(1), headers(3), out="HEADERS 1 END", events=("request 1", "request 3"), concurrent_streams=1,
)
case("5.1.2", "a refused stream's table entries count",
    headers(1), headers(3, block(GET) + b"\x40\x01a\x01b"), answer(1), headers(5, block(GET) + b"\xbe"),
    out=("RST_STREAM 3 REFUSED_STREAM", "HEADERS 1 END"), events=("request 1", "request 5"), concurrent_streams=1,
)

# 5.2, 6.9 Flow control
case("5.2", "DATA of more than a stream's window",
    post(1), *[data(1, b"x" * 16384)] * 3, data(1, b"x" * 16384), data(1, b"x"), out="RST_STREAM 1 FLOW_CONTROL_ERROR",
    events=("request 1", "reset 1"), stream_window=65536,
)
case("5.2", "DATA of more than the connection's window",
    post(1), *[data(1, b"x" * 16384)] * 3, data(1, b"x" * 16384), out=goes("FLOW_CONTROL_ERROR", 1),
    stream_window=2**31 - 1, connection_window=65535,
)
case("5.2", "what the app has not read is not given back", post(1), *[data(1, b"x" * 16384)] * 4, events="request 1")
case("5.2", "what it has read is",
    post(1), *[data(1, b"x" * 16384)] * 4, lambda peer: peer.wire.consumed(peer.streams[1], 65536),
    out="WINDOW_UPDATE 1 65536",
)
case("5.2", "padding is given back at once",
    post(1), *[data(1, b"\xff" + b"\0" * 255, PADDED)] * 256, out="WINDOW_UPDATE 1 65536",
)
case("5.2", "the connection's window outlives a stream",
    post(1), *[data(1, b"x" * 16384)] * 2, rst(1), out="WINDOW_UPDATE 0 32768", connection_window=65536,
)
case("5.2", "DATA for a stream that is closed counts for the connection",
    post(1), rst(1), *[data(1, b"x" * 16384)] * 2, out=("RST_STREAM 1 STREAM_CLOSED", "WINDOW_UPDATE 0 32768"),
    connection_window=65536,
)
case("5.2.1", "no more DATA than the stream's window",
    settings((4, 10)), headers(1), answer(1, b"x" * 25), out=("SETTINGS ACK", "HEADERS 1", "DATA 1 10"),
)
case("5.2.1", "and no more than the connection's",
    headers(1), answer(1, b"x" * 70000), out=("HEADERS 1", *["DATA 1 16384"] * 3, "DATA 1 16383"),
)
case("5.2.1", "the rest when the window opens",
    settings((4, 10)), headers(1), answer(1, b"x" * 25), lambda peer: peer.wire.pump(99), window(1, 100),
    out=("SETTINGS ACK", "HEADERS 1", "DATA 1 10", "DATA 1 15 END"),
)
case("5.2.1", "an empty DATA needs no window",
    settings((4, 0)), post(1), answer(1, end=False, body=b""),
    lambda peer: peer.wire.send_data(peer.streams[1], b"", True),
    out=("SETTINGS ACK", "HEADERS 1 END", "RST_STREAM 1 NO_ERROR"),
)

# 5.4 Errors
case("5.4.1", "GOAWAY names the last stream that was taken",
    headers(1), headers(7), ping(stream_id=1), out=goes("PROTOCOL_ERROR", 7),
)
case("5.4.1", "nothing is taken after it",
    ping(stream_id=1) + headers(1), ping(), out=goes("PROTOCOL_ERROR"), events=(),
)
case("5.4.2", "other streams go on",
    post(1), headers(3), window(1, 2**31 - 1), answer(3), out=(FULL_STREAM, "HEADERS 3 END"),
)

# 6.1 DATA
case("6.1", "DATA on stream 0", data(0, b"x"), out=goes("PROTOCOL_ERROR"))
case("6.1", "padding is taken off", post(1), data(1, b"\x03abc\0\0\0", PADDED | END), events=("request 1", "end 1 3"))
case("6.1", "padding alone", post(1), data(1, b"\x02\0\0", PADDED | END), events=("request 1", "end 1 0"))
case("6.1", "padding as long as the frame", post(1), data(1, b"\x03\0\0", PADDED), out=goes("PROTOCOL_ERROR", 1))
case("6.1", "the same on a stream that is closed",
    post(1), rst(1), data(1, b"\x03\0\0", PADDED), out=goes("PROTOCOL_ERROR", 1),
)
case("6.1", "PADDED without a length", post(1), data(1, b"", PADDED), out=goes("FRAME_SIZE_ERROR", 1))
case("6.1", "END_STREAM ends the request", post(1), data(1, b"abc", END), events=("request 1", "end 1 3"))

# 6.2 HEADERS
case("6.2", "padding is taken off",
    frame(1, END | ENDH | PADDED, 1, b"\x02" + block(GET) + b"\0\0"), events="request 1",
)
case("6.2", "padding longer than the frame",
    frame(1, END | ENDH | PADDED, 1, b"\xff" + block(GET)), out=goes("PROTOCOL_ERROR"),
)
case("6.2", "priority fields are skipped",
    frame(1, END | ENDH | PRIO, 1, b"\x80\0\0\3\x10" + block(GET)), events="request 1",
)
case("6.2", "padding and priority",
    frame(1, END | ENDH | PRIO | PADDED, 1, b"\x01\0\0\0\3\x10" + block(GET) + b"\0"), events="request 1",
)
case("6.2", "too short for its priority", frame(1, END | ENDH | PRIO, 1, b"\0\0"), out=goes("FRAME_SIZE_ERROR"))
case("6.2", "an empty block", headers(1, b""), out=BAD_STREAM, events=())

# 6.3 PRIORITY
case("6.3", "PRIORITY on stream 0", priority(0), out=goes("PROTOCOL_ERROR"))
case("6.3", "PRIORITY of four bytes, on a stream", post(1), priority(1, b"\0" * 4), out="RST_STREAM 1 FRAME_SIZE_ERROR")
case("6.3", "PRIORITY of six bytes, on none", priority(1, b"\0" * 6), out=goes("FRAME_SIZE_ERROR"))
case("6.3", "it opens no stream", priority(5), headers(3), events="request 3")

# 6.4 RST_STREAM
case("6.4", "RST_STREAM on stream 0", rst(0), out=goes("PROTOCOL_ERROR"))
case("6.4", "RST_STREAM of three bytes", headers(1), frame(3, 0, 1, b"\0" * 3), out=goes("FRAME_SIZE_ERROR", 1))
case("6.4", "RST_STREAM of five bytes", headers(1), frame(3, 0, 1, b"\0" * 5), out=goes("FRAME_SIZE_ERROR", 1))
case("6.4", "it is not answered", post(1), rst(1), events=("request 1", "reset 1"))
case("6.4", "nothing is sent on the stream after it",
    settings((4, 0)), headers(1), answer(1, b"xyz"), rst(1), window(0, 99), out=("SETTINGS ACK", "HEADERS 1"),
)
case("6.4", "a code that is not known", post(1), rst(1, 0xDEAD), events=("request 1", "reset 1"))

# 6.5 SETTINGS
case("6.5", "SETTINGS on a stream", settings(stream_id=1), out=goes("PROTOCOL_ERROR"))
case("6.5", "half a setting", frame(4, 0, 0, b"\0" * 7), out=goes("FRAME_SIZE_ERROR"))
case("6.5", "an acknowledgement that sets something", settings((4, 1), flags=ACK), out=goes("FRAME_SIZE_ERROR"))
case("6.5", "an acknowledgement is not answered", settings(flags=ACK), ping(), out="PING ACK 12345678")
case("6.5.2", "ENABLE_PUSH of 2", settings((2, 2)), out=goes("PROTOCOL_ERROR"))
case("6.5.2", "ENABLE_PUSH of 0 and 1", settings((2, 0), (2, 1)), out="SETTINGS ACK")
case("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", settings((4, 2**31)), out=goes("FLOW_CONTROL_ERROR"))
case("6.5.2", "INITIAL_WINDOW_SIZE of 2^31-1", settings((4, 2**31 - 1)), out="SETTINGS ACK")
case("6.5.2", "MAX_FRAME_SIZE below 16,384", settings((5, 16383)), out=goes("PROTOCOL_ERROR"))
case("6.5.2", "MAX_FRAME_SIZE of 2^24", settings((5, 2**24)), out=goes("PROTOCOL_ERROR"))
case("6.5.2", "MAX_FRAME_SIZE of 2^24-1", settings((5, 2**24 - 1)), out="SETTINGS ACK")
case("6.5.2", "a setting that is not known is ignored", settings((0xF00D, 7)), out="SETTINGS ACK")
case("6.5.2", "HEADER_TABLE_SIZE of 0 is obeyed",
    settings((1, 0)), headers(1), answer(1, fields=[(b"a", b"b")]), out=("SETTINGS ACK", "HEADERS 1 END"),
)
case("6.5.3", "each one is acknowledged, in order",
    settings((1, 0)), ping(), settings((1, 9)), out=("SETTINGS ACK", "PING ACK 12345678", "SETTINGS ACK"),
)
case("6.5.3", "of a value given twice the last one counts",
    settings((4, 1), (4, 3)), headers(1), answer(1, b"abcde"), out=("SETTINGS ACK", "HEADERS 1", "DATA 1 3"),
)

# 6.6 PUSH_PROMISE
case("6.6", "PUSH_PROMISE from a client", frame(5, ENDH, 1, b"\0\0\0\2" + block(GET)), out=goes("PROTOCOL_ERROR"))
case("6.6", "the same on an open stream",
    headers(1), frame(5, ENDH, 1, b"\0\0\0\2" + block(GET)), out=goes("PROTOCOL_ERROR", 1),
)

# 6.7 PING
case("6.7", "it is answered with its payload", ping(b"pounce!!"), out="PING ACK pounce!!")
case("6.7", "an answer is not answered", ping(flags=ACK))
case("6.7", "PING on a stream", ping(stream_id=1), out=goes("PROTOCOL_ERROR"))
case("6.7", "PING of seven bytes", ping(b"1234567"), out=goes("FRAME_SIZE_ERROR"))
case("6.7", "PING of nine bytes", ping(b"123456789"), out=goes("FRAME_SIZE_ERROR"))

# 6.8 GOAWAY
case("6.8", "GOAWAY on a stream", goaway(stream_id=1), out=goes("PROTOCOL_ERROR"))
case("6.8", "GOAWAY of seven bytes", frame(7, 0, 0, b"\0" * 7), out=goes("FRAME_SIZE_ERROR"))
case("6.8", "streams that are open go on",
    headers(1), goaway(), answer(1), out="HEADERS 1 END", events=("request 1", "goaway"),
)
case("6.8", "ours: a first one lets streams come",
    lambda peer: peer.wire.announce_end(), headers(1), out=f"GOAWAY {2**31 - 1} NO_ERROR", events="request 1",
)
case("6.8", "ours: the last one names the last stream",
    headers(3), lambda peer: peer.wire.end(), out="GOAWAY 3 NO_ERROR",
)
case("6.8", "ours: later streams are ignored, their blocks not",
    headers(1), lambda peer: peer.wire.end(), headers(3, b"\x40\x01a\x01b" + block(GET)), data(3, b"x"),
    headers(1, [("x", "y")]), out=("GOAWAY 1 NO_ERROR", "RST_STREAM 1 STREAM_CLOSED"), events=("request 1", "reset 1"),
)
case("6.8", "ours: it is not said twice",
    lambda peer: peer.wire.end(), lambda peer: peer.wire.end(), out="GOAWAY 0 NO_ERROR",
)

# 6.9 WINDOW_UPDATE
case("6.9", "an increment of 0 on the connection", window(0, 0), out=goes("PROTOCOL_ERROR"))
case("6.9", "an increment of 0 on a stream", post(1), window(1, 0), out=BAD_STREAM, events=("request 1", "reset 1"))
case("6.9", "WINDOW_UPDATE of three bytes", frame(8, 0, 0, b"\0" * 3), out=goes("FRAME_SIZE_ERROR"))
case("6.9", "WINDOW_UPDATE of five bytes, on a stream",
    post(1), frame(8, 0, 1, b"\0" * 5), out=goes("FRAME_SIZE_ERROR", 1),
)
case("6.9", "the reserved bit is ignored", frame(8, 0, 0, b"\x80\0\0\1"), ping(), out="PING ACK 12345678")
case("6.9.1", "a stream's window above 2^31-1", headers(1), window(1, 2**31 - 1), out="RST_STREAM 1 FLOW_CONTROL_ERROR")
case("6.9.1", "the connection's window above 2^31-1", window(0, 2**31 - 1), out=goes("FLOW_CONTROL_ERROR"))
case("6.9.2", "a new initial size changes open streams",
    settings((4, 0)), headers(1), answer(1, b"abc"), settings((4, 2)),
    out=("SETTINGS ACK", "HEADERS 1", "SETTINGS ACK", "DATA 1 2"),
)
case("6.9.2", "a window may become negative",
    settings((4, 5)), headers(1), answer(1, b"abcdefgh"), lambda peer: peer.wire.pump(9), settings((4, 2)),
    window(1, 3), window(1, 1), out=("SETTINGS ACK", "HEADERS 1", "DATA 1 5", "SETTINGS ACK", "DATA 1 1"),
)
case("6.9.2", "it may do so while the response waits for the connection's window",
    settings((4, 65540)), headers(1), answer(1, b"x" * 65545), lambda peer: peer.wire.pump(1 << 20), settings((4, 9)),
    window(0, 100), lambda peer: peer.wire.pump(1 << 20), window(1, 65527), lambda peer: peer.wire.pump(1 << 20),
    window(1, 100), out=(
        "SETTINGS ACK", "HEADERS 1", *["DATA 1 16384"] * 3, "DATA 1 16383", "SETTINGS ACK", "DATA 1 1", "DATA 1 9 END",
    ),
)
case("6.9.2", "a new initial size that overflows a stream",
    headers(1), window(1, 2**31 - 65536), settings((4, 65537)), out=goes("FLOW_CONTROL_ERROR", 1),
)
case("6.9.2", "the connection's window does not change with it",
    settings((4, 0)), window(0, 1), settings((4, 100)), headers(1), answer(1, b"x"),
    out=("SETTINGS ACK", "SETTINGS ACK", "HEADERS 1", "DATA 1 1 END"),
)

# 6.10 CONTINUATION
case("6.10", "a block in three frames",
    headers(1, block(GET)[:5], END), continuation(1, block(GET)[5:9], 0), continuation(1, block(GET)[9:]),
    events="request 1",
)
case("6.10", "CONTINUATION after END_HEADERS", headers(1), continuation(1, b""), out=goes("PROTOCOL_ERROR", 1))
case("6.10", "CONTINUATION on another stream", headers(1, GET, END), continuation(3, b""), out=goes("PROTOCOL_ERROR"))
case("6.10", "CONTINUATION on stream 0", continuation(0, b""), out=goes("PROTOCOL_ERROR"))
case("6.10", "a response's block that is too long for a frame",
    headers(1), answer(1, fields=[(b"x", bytes(range(33, 127)) * 200)]), out=("HEADERS 1 END ...", "CONTINUATION 1"),
)

# 8.1 Messages
case("8.1", "trailers end the request",
    post(1), data(1, b"ab"), headers(1, [("x", "y")]), events=("request 1", "end 1 2"),
)
case("8.1", "trailers without END_STREAM", post(1), headers(1, [("x", "y")], ENDH), out=BAD_STREAM)
case("8.1", "trailers with a pseudo-header field", post(1), headers(1, [(":path", "/")]), out=BAD_STREAM)
case("8.1", "trailers in upper case", post(1), headers(1, [("X", "y")]), out=BAD_STREAM)
case("8.1", "trailers of the connection", post(1), headers(1, [("transfer-encoding", "chunked")]), out=BAD_STREAM)
case("8.1", "a response before the request has ended",
    post(1), answer(1), out=("HEADERS 1 END", "RST_STREAM 1 NO_ERROR"),
)
case("8.1", "the rest of that request is dropped",
    post(1), answer(1), data(1, b"x", END), ping(),
    out=("HEADERS 1 END", "RST_STREAM 1 NO_ERROR", "PING ACK 12345678"),
)
case("8.1.1", "content longer than Content-Length", post(1, ("content-length", "1")), data(1, b"ab"), out=BAD_STREAM)
case("8.1.1", "content shorter than Content-Length",
    post(1, ("content-length", "3")), data(1, b"ab", END), out=BAD_STREAM, events=("request 1", "reset 1"),
)
case("8.1.1", "a Content-Length and no content", get(("content-length", "1")), out=BAD_STREAM, events=())
case("8.1.1", "trailers that end it too early",
    post(1, ("content-length", "3")), data(1, b"ab"), headers(1, [("x", "y")]), out=BAD_STREAM,
)
case("8.1.1", "content as long as it says",
    post(1, ("content-length", "3")), data(1, b"ab"), data(1, b"c", END), events=("request 1", "end 1 3"),
)
case("8.1.1", "Content-Length of 0", get(("content-length", "0")), events="request 1")
for value in ("+1", "-1", "0x1", "1,1", "", "1 ", "\u0661", "9" * 19):
    case("8.1.1", f"a Content-Length of {value!r}", post(1, ("content-length", value)), out=BAD_STREAM, events=())
case("8.1.1", "two Content-Lengths, even equal ones",
    post(1, ("content-length", "1"), ("content-length", "1")), out=BAD_STREAM,
)

# 8.2 Fields
for name in ("Upper", "sp ace", "nul\0", "a\r\nb", "colon:", "", "caf\u00e9", "tab\t", "a@b", "(x)"):
    case("8.2.1", f"a name like {name!r}", get((name, "x")), out=BAD_STREAM, events=())
for value in ("a\0", "a\nb", "a\rb", "a\r\nx: y", " a", "a ", "\ta", "a\t", "\x1b[31m", "\x7f"):
    case("8.2.1", f"a value like {value!r}", get(("x", value)), out=BAD_STREAM, events=())
for value in ("", "a b", "a\tb", b"caf\xe9", '"quoted"'):
    case("8.2.1", f"a value like {value!r} is fine", get(("x", value)), events="request 1")
for name in ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"):
    case("8.2.2", f"{name} has no place in HTTP/2", get((name, "x")), out=BAD_STREAM, events=())
case("8.2.2", "te: trailers", get(("te", "trailers")), events="request 1")
case("8.2.2", "te: gzip", get(("te", "gzip")), out=BAD_STREAM)
case("8.2.2", "te: trailers, gzip", get(("te", "trailers, gzip")), out=BAD_STREAM)

# 8.3 Pseudo-header fields
for name in (":method", ":scheme", ":path"):
    case("8.3.1", f"a request without {name}", get(without=name), out=BAD_STREAM, events=())
for name in (":method", ":scheme", ":path", ":authority"):
    case("8.3.1", f"{name} twice", headers(1, [dict(GET).get(name) and (name, dict(GET)[name]), *GET]), out=BAD_STREAM)
case("8.3", "a pseudo-header field that is not known", headers(1, [(":foo", "x"), *GET]), out=BAD_STREAM)
case("8.3", "a response's pseudo-header field", headers(1, [*GET, (":status", "200")]), out=BAD_STREAM)
case("8.3", "a pseudo-header field behind a field", headers(1, [GET[0], ("x", "y"), *GET[1:]]), out=BAD_STREAM)
case("8.3", "a pseudo-header field behind a cookie", headers(1, [GET[0], ("cookie", "y"), *GET[1:]]), out=BAD_STREAM)
for path in ("", "x", "http://a/", "/a b", "/a\0", "/#f", "/caf\u00e9", "//\r\n", "*"):
    case("8.3.1", f"a :path like {path!r}", get((":path", path), without=":path"), out=BAD_STREAM, events=())
for path in ("/%00", "//x", "/?q=/?", "/a;b=c", "/?"):
    case("8.3.1", f"a :path like {path!r} is fine", headers(1, [*GET[:3], (":path", path)]), events="request 1")
case("8.3.1", "* is a path of OPTIONS",
    headers(1, [(":method", "OPTIONS"), *GET[1:3], (":path", "*")]), events="request 1",
)
for method in ("", "GE T", "G\0", "G\u00cbT", "GET\r\n"):
    case("8.3.1", f"a :method like {method!r}", headers(1, [(":method", method), *GET[1:]]), out=BAD_STREAM, events=())
for scheme in ("", "1a", "ht tp", "http\0"):
    case("8.3.1", f"a :scheme like {scheme!r}", headers(1, [GET[0], (":scheme", scheme), *GET[2:]]), out=BAD_STREAM)
for authority in ("user@a", "a/b", "a b", "a?b", "a#b", "a\\b", "caf\u00e9"):
    case("8.3.1", f"an :authority like {authority!r}",
        headers(1, [*GET[:2], (":authority", authority), GET[3]]), out=BAD_STREAM,
    )
    case("8.3.1", f"a Host like {authority!r}", headers(1, [*GET[:2], GET[3], ("host", authority)]), out=BAD_STREAM)
for authority in ("a:80", "[::1]:8000", "127.0.0.1", "a_b"):
    case("8.3.1", f"an :authority like {authority!r} is fine",
        headers(1, [*GET[:2], (":authority", authority), GET[3]]), events="request 1",
    )
case("8.3.1", "Host and :authority that differ", get(("host", "b.example")), out=BAD_STREAM)
case("8.3.1", "Host and :authority that agree", get(("host", "A.example")), events="request 1")
case("8.3.1", "two Host fields", get(("host", "a.example"), ("host", "a.example")), out=BAD_STREAM)
case("8.3.1", "Host alone", get(("host", "a.example"), without=":authority"), events="request 1")

# 8.5 CONNECT, RFC 8441
case("8.5", "CONNECT is refused: there is no tunnel to be had",
    headers(1, [(":method", "CONNECT"), (":authority", "a:1")]), events="request 1 400",
)
case("8.5", "CONNECT with a path", headers(1, [(":method", "CONNECT"), *GET[1:]]), out=BAD_STREAM)
case("8.5", "CONNECT without an authority", headers(1, [(":method", "CONNECT")]), out=BAD_STREAM)
WEBSOCKET = [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]]
case("8441-4", "an extended CONNECT", headers(1, WEBSOCKET, ENDH), events="request 1")
case("8441-4", "without a path", headers(1, WEBSOCKET[:-1], ENDH), out=BAD_STREAM)
case("8441-4", "without a scheme", headers(1, [one for one in WEBSOCKET if one[0] != ":scheme"], ENDH), out=BAD_STREAM)
case("8441-4", "without an authority",
    headers(1, [one for one in WEBSOCKET if one[0] != ":authority"], ENDH), out=BAD_STREAM,
)
case("8441-4", ":protocol with another method", headers(1, [(":protocol", "websocket"), *GET]), out=BAD_STREAM)

# RFC 9218
case("9218-7.1", "PRIORITY_UPDATE on a stream",
    headers(1), priority_update(1, b"u=1", stream_id=1), out=goes("PROTOCOL_ERROR", 1),
)
case("9218-7.1", "PRIORITY_UPDATE of stream 0", priority_update(0, b"u=1"), out=goes("PROTOCOL_ERROR"))
case("9218-7.1", "PRIORITY_UPDATE of a pushed stream", priority_update(2, b"u=1"), out=goes("PROTOCOL_ERROR"))
case("9218-7.1", "PRIORITY_UPDATE of three bytes", frame(16, 0, 0, b"\0\0\1"), out=goes("FRAME_SIZE_ERROR"))
case("9218-7.1", "of a stream that is closed", headers(1), answer(1), priority_update(1, b"u=1"), out="HEADERS 1 END")
case("9218-7.1", "with a value that is no priority", priority_update(1, b"\xff\0u=="), headers(1), events="request 1")

# 10.5 Denial of service
case("10.5.1", "more fields than the limit", get(*[("x", "y")] * 9), events="request 1 431", header_count=8)
case("10.5.1", "longer fields than the limit", get(("x", "y" * 200)), events="request 1 431", header_list_size=300)
case("10.5.1", "much longer fields than the limit",
    get(("x", "y" * 900)), out=goes("ENHANCE_YOUR_CALM"), header_list_size=300,
)

# fmt: on


def cuts(steps: tuple[Step, ...], mode: str) -> list[Step]:
    """The same steps in other pieces."""
    pieces: list[Step] = []
    rng = random.Random(repr(steps[0])[:40])
    for step in steps:
        if not isinstance(step, bytes) or mode == "whole":
            pieces.append(step)
            continue
        at = 0
        while at < len(step):
            size = 1 if mode == "bytes" else rng.choice((1, 2, 8, 9, 10, 100, 20000))
            pieces.append(step[at : at + size])
            at += size
    return pieces


@pytest.mark.parametrize("mode", ["whole", "bytes", "random"])
@pytest.mark.parametrize("one", CASES, ids=lambda one: f"{one.section} {one.says}"[:70])
def test_rfc_9113(one: Case, mode: str, http2_wire: str) -> None:
    """What the section asks for is what the server does, however the bytes arrive; or what is listed for h2's wire."""
    peer = Peer(**one.limits)
    if one.opened:
        peer.open()
    for step in cuts(one.steps, mode):
        if isinstance(step, bytes):
            peer.feed(step)
        else:
            step(peer)
    output = joined(peer.take())
    if http2_wire == "h2" and (one.section, one.says) in RFC_9113:
        listed, _reason = RFC_9113[one.section, one.says]
        assert output == list(listed) != joined(one.output)
        return
    assert output == joined(one.output)
    if one.events is not None:
        assert tuple(peer.events) == one.events


def test_the_table_is_as_long_as_promised() -> None:
    """At least 120 cases, each of its own."""
    assert len({(one.section, one.says) for one in CASES}) == len(CASES) >= 120


def test_what_is_listed_is_in_the_table() -> None:
    """No difference of the wires is listed for a case that does not exist."""
    assert RFC_9113.keys() <= {(one.section, one.says) for one in CASES}


def test_a_case_sees_what_a_wrong_server_does() -> None:
    """The table can fail: another output than the expected one is not equal to it."""
    peer = Peer().open(ping(b"pounce!!"))
    assert peer.take() != ["PING ACK 12345678"]
