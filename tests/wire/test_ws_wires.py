"""Both WebSocket wires, fed the same bytes."""

from __future__ import annotations

import logging
import random
import tracemalloc
import zlib
from typing import Any

import pytest

from pounce.errors import MisusedByApp
from pounce.wire.ws import WebSocketWire
from pounce.wire.ws_frames import FrameBoundary
from pounce.wire.ws_websockets import WebsocketsWire
from pounce.wire.ws_wsproto import WsprotoWire
from tests.wire.ws_frames import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONT,
    DEFLATE,
    PING,
    PONG,
    TEXT,
    close,
    deflated,
    frame,
    handshake,
    parsed,
    server_frames,
)

WireClass = type[WsprotoWire] | type[WebsocketsWire]


class RecordingSink:
    """Notes what a wire tells."""

    def __init__(self) -> None:
        self.left = 2**40  # a share: all of it
        self.calls: list[tuple[Any, ...]] = []

    def share(self) -> int:
        return self.left

    def on_text(self, text: str) -> None:
        self.calls.append(("text", text))

    def on_bytes(self, data: bytes) -> None:
        assert type(data) is bytes
        self.calls.append(("bytes", data))

    def on_ping(self, pong: bytes) -> None:
        self.calls.append(("ping", server_frames(pong)))

    def on_pong(self, payload: bytes) -> None:
        self.calls.append(("pong", bytes(payload)))

    def on_close(self, code: int, reason: str, reply: bytes) -> None:
        self.calls.append(("close", code, reason, server_frames(reply)))

    def failures(self) -> list[tuple[Any, ...]]:
        """The calls, of the close frame only its code."""
        for call in self.calls:
            if call[0] == "close":
                [(first, payload)] = call[3]
                assert first == 0x80 | CLOSE
                assert payload[:2] == call[1].to_bytes(2, "big")
        return [("failure", call[1]) if call[0] == "close" else call for call in self.calls]


@pytest.fixture(params=[WsprotoWire, WebsocketsWire])
def wire_class(request: pytest.FixtureRequest) -> WireClass:
    return request.param


def make(
    wire_class: WireClass, *, max_size: int | None = 2**20, deflate: bool = False
) -> tuple[WebSocketWire, RecordingSink]:
    sink = RecordingSink()
    return wire_class(sink, max_size, deflate, logging.getLogger("tests.quiet")), sink


def opened(
    wire_class: WireClass, *, max_size: int | None = 2**20, deflate: bool = False
) -> tuple[WebSocketWire, RecordingSink]:
    wire, sink = make(wire_class, max_size=max_size, deflate=deflate)
    assert wire.open(*parsed(handshake(DEFLATE) if deflate else handshake())) == b""
    head = wire.accept(None, [])
    assert (b"permessage-deflate" in head) is deflate
    return wire, sink


STREAM = (
    frame(TEXT, "Grüße".encode())
    + frame(BINARY, bytes(range(256)) * 2)
    + frame(TEXT, b"zer\xc3", fin=False)
    + frame(PING, b"beat")
    + frame(CONT, b"\xbc", fin=False)
    + frame(CONT, b"ck")
    + frame(PONG, b"back")
    + frame(BINARY)
    + frame(TEXT)
    + frame(BINARY, b"x" * 70_000)
    + close(1001, b"bye")
    + b"after the end"
)
CALLS = [
    ("text", "Grüße"),
    ("bytes", bytes(range(256)) * 2),
    ("ping", [(0x80 | PONG, b"beat")]),
    ("text", "zerück"),
    ("pong", b"back"),
    ("bytes", b""),
    ("text", ""),
    ("bytes", b"x" * 70_000),
    ("close", 1001, "bye", [(0x80 | CLOSE, b"\x03\xe9bye")]),
]


def test_whole_stream_in_one_read(wire_class: WireClass) -> None:
    """Every kind of frame in one segment is told in order, and nothing after the close frame."""
    wire, sink = opened(wire_class)
    wire.receive_data(STREAM)
    assert sink.calls == CALLS


def test_stream_byte_by_byte(wire_class: WireClass) -> None:
    """Frames may be cut anywhere, headers included."""
    wire, sink = opened(wire_class)
    for i in range(len(STREAM)):
        wire.receive_data(STREAM[i : i + 1])
    assert sink.calls == CALLS


@pytest.mark.parametrize("seed", range(5))
def test_stream_at_random_cuts(wire_class: WireClass, seed: int) -> None:
    """Frames in segments of any size give the same calls."""
    random_source = random.Random(seed)
    wire, sink = opened(wire_class)
    data = STREAM
    while data:
        size = min(len(data), random_source.choice([1, 2, 3, 7, 50, 200, 30_000]))
        wire.receive_data(data[:size])
        data = data[size:]
    assert sink.calls == CALLS


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("share", [1, 2, 5, 9, 100])
@pytest.mark.parametrize("cut", [len(STREAM), 30, 400])
def test_stream_in_shares(wire_class: WireClass, share: int, deflate: bool, cut: int) -> None:
    """What is left for other turns is told in them, in order, also where more has come meanwhile."""
    wire, sink = opened(wire_class, deflate=deflate)
    sink.left = share
    rounds = 0
    for at in range(0, len(STREAM), cut):
        wire.receive_data(STREAM[at : at + cut])
    while wire.has_more:
        before = len(sink.calls)
        assert wire.go_on() is wire.has_more
        assert len(sink.calls) - before <= share
        rounds += 1
    assert sink.calls == CALLS
    assert share > 2 or rounds >= 6


def test_a_library_frame_costs_more(wire_class: WireClass) -> None:
    """A share is fewer fragments than whole messages; a KiB of a message costs like a frame, inflated or not."""
    for sent, told in (
        (frame(BINARY) * 20, 10),
        (frame(BINARY, fin=False) + frame(CONT, fin=False) * 18 + frame(CONT), 0),
        ((frame(BINARY, fin=False) + frame(CONT)) * 10, 1),
        (frame(BINARY, b"x" * 2100) * 10, 4),
        (frame(BINARY, deflated(b"x" * 2100), rsv=4) * 10, 3),
        (frame(BINARY, deflated(b"x" * 100_000), rsv=4) * 10, 0),
        (frame(PING) * 20, 10),
    ):
        wire, sink = opened(wire_class, deflate=True)
        sink.left = 10
        assert wire.receive_data(sent)
        assert len(sink.calls) == told


@pytest.mark.parametrize("cut", [1, 5, 1000])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_control_frames_between_fragments(wire_class: WireClass, opcode: int, deflate: bool, cut: int) -> None:
    """Pings are answered in the middle of a message, and so is a close frame, with its own code (Autobahn 7.1.5)."""
    wire, sink = opened(wire_class, deflate=deflate)
    payload = deflated(b"half a message") if deflate else b"half a message"
    data = (
        frame(opcode, payload[:5], fin=False, rsv=4 if deflate else 0)
        + frame(PING, b"1")
        + frame(CONT, payload[5:9], fin=False)
        + frame(PONG, b"2")
        + close(1000, b"enough")
        + frame(CONT, payload[9:])
    )
    for at in range(0, len(data), cut):
        wire.receive_data(data[at : at + cut])
    assert sink.calls == [
        ("ping", [(0x80 | PONG, b"1")]),
        ("pong", b"2"),
        ("close", 1000, "enough", [(0x80 | CLOSE, b"\x03\xe8enough")]),
    ]


def test_close_after_ours_between_fragments(wire_class: WireClass) -> None:
    """The answer to our close frame may come in the middle of a message, too."""
    wire, sink = opened(wire_class)
    wire.receive_data(frame(TEXT, b"half", fin=False))
    wire.close(3000, "")
    wire.receive_data(close(3000))
    assert [call[:3] for call in sink.calls] == [("close", 3000, "")]


SIZES = [0, 1, 125, 126, 127, 128, 300, 65535, 65536, 70_000]


def test_segments_that_are_one_frame(wire_class: WireClass) -> None:
    """A frame that fills its segment is read like any other, before and after frames that are cut."""
    wire, sink = opened(wire_class)
    expected: list[tuple[str, Any]] = []
    for size in SIZES:
        for cut in [None, 1, 2, 3, 5, 9]:
            for opcode in (TEXT, BINARY):
                data = frame(opcode, b"a" * size)
                wire.receive_data(data[:cut])
                if cut is not None:
                    wire.receive_data(data[cut:])
                expected.append(("text", "a" * size) if opcode == TEXT else ("bytes", b"a" * size))
    assert sink.calls == expected


@pytest.mark.parametrize("fin", [True, False])
def test_payload_that_looks_like_a_frame(wire_class: WireClass, fin: bool) -> None:
    """A segment in the middle of a message is part of it, though it reads like a frame by itself."""
    decoy = frame(BINARY, b"decoy")
    outer = frame(BINARY, bytes(100) + decoy + bytes(100), fin=fin)
    # The wire sees masked bytes: choose a payload that is the decoy once masked.
    at = outer.index(bytes(a ^ b for a, b in zip(decoy, b"\x01\x02\x03\x04" * 3, strict=False)))
    outer = outer[:at] + decoy + outer[at + len(decoy) :]
    wire, sink = opened(wire_class)
    for part in (outer[:at], decoy, outer[at + len(decoy) :], *([] if fin else [frame(CONT)])):
        assert sink.calls == []
        wire.receive_data(part)
    [(kind, data)] = sink.calls
    assert (kind, len(data)) == ("bytes", 200 + len(decoy))


def test_whole_message_within_a_fragmented_one(wire_class: WireClass) -> None:
    """A new message may not begin before the last fragment, not even where its frame fills its segment."""
    wire, sink = opened(wire_class)
    wire.receive_data(frame(TEXT, fin=False))
    wire.receive_data(frame(TEXT, b"x"))
    assert sink.failures() == [("failure", 1002)]


@pytest.mark.parametrize("seed", range(30))
def test_what_the_library_does_not_see_makes_no_difference(wire_class: WireClass, seed: int) -> None:
    """Whole messages are told as they are when the library alone reads them, whatever comes between and after them."""
    random_source = random.Random(seed)
    parts = []
    for _ in range(30):
        size = random_source.choice([0, 1, 125, 126, 600, 4200, 65535, 65536])
        text, payload = b"a" * size, random_source.randbytes(size)
        parts += random_source.choice(
            [
                [frame(TEXT, text)],
                [frame(BINARY, payload)],
                [frame(BINARY, payload)] * 3,
                [frame(PING, payload[:125])],
                [frame(PONG, payload[:125])],
                [frame(BINARY, payload, fin=False), frame(PING, b"between"), frame(CONT, payload)],
            ]
        )
    ends = [
        frame(TEXT, b"\xff" * 700),
        frame(BINARY, b"x" * 70_001),
        frame(TEXT, b"x", rsv=1),
        close(1000),
        frame(CONT),
    ]
    stream = b"".join([*parts, random_source.choice(ends), frame(BINARY, b"after the end")])
    wire, sink = opened(wire_class, max_size=70_000)
    reference, told = opened(wire_class, max_size=70_000)
    reference.largest = -1
    while stream:
        size = random_source.choice([1, 5, 100, 511, 512, 1448, 5000, 65550, 200_000])
        wire.receive_data(stream[:size])
        reference.receive_data(stream[:size])
        stream = stream[size:]
    assert sink.calls == told.calls
    assert sink.calls[-1][0] == "close"


@pytest.mark.parametrize(
    "data",
    [
        frame(BINARY, b"1", fin=False) + frame(CONT, b"2"),
        frame(PING, b"x"),
        frame(BINARY, b"1") + frame(PONG, b"x"),
        frame(BINARY, b"1" * 1000) + frame(PING, b"x"),
    ],
    ids=["fragments", "ping", "message and pong", "long message and ping"],
)
@pytest.mark.parametrize("cut", [3, 500])
def test_whole_messages_need_no_library(wire_class: WireClass, data: bytes, cut: int) -> None:
    """As soon as what the library has to read is over, whole messages are taken without it again."""
    wire, sink = opened(wire_class)
    wire.receive_data(data[:cut])
    wire.receive_data(data[cut:])
    sink.calls.clear()
    wire.parse = None  # type: ignore[method-assign,assignment]  # not called, or this fails
    wire.receive_data(frame(BINARY, b"y") * 3 + frame(TEXT, b"z" * 70_000)[:-1] * (wire_class is WebsocketsWire))
    assert sink.calls == [("bytes", b"y")] * 3


def test_library_logs_every_message(caplog: pytest.LogCaptureFixture) -> None:
    """With debug logging `websockets` sees all frames, in and out, and logs them."""
    caplog.set_level(logging.DEBUG, "tests.debug")
    sink = RecordingSink()
    wire = WebsocketsWire(sink, 2**20, False, logging.getLogger("tests.debug"))
    wire.open(*parsed(handshake()))
    wire.accept(None, [])
    wire.receive_data(frame(TEXT, b"from the client"))
    wire.message_frame("from the server")
    assert sink.calls == [("text", "from the client")]
    assert "< TEXT 'from the client'" in caplog.text
    assert "> TEXT 'from the server'" in caplog.text


def test_nothing_after_a_text_that_is_none(wire_class: WireClass) -> None:
    """The first of several messages in a segment that breaks the rules is the last one told."""
    wire, sink = opened(wire_class)
    wire.receive_data(frame(BINARY, b"1") + frame(TEXT, b"\xff") + frame(BINARY, b"2"))
    assert sink.failures() == [("bytes", b"1"), ("failure", 1007)]


def test_too_large_a_frame_is_refused_before_it_is_there(wire_class: WireClass) -> None:
    """A frame beyond the limit is not collected until its end."""
    wire, sink = opened(wire_class, max_size=100_000)
    data = frame(BINARY, b"x" * 1_000_000)
    for at in range(0, 150_000, 10_000):
        wire.receive_data(data[at : at + 10_000])
    assert sink.failures() == [("failure", 1009)]


def test_text_is_checked_as_it_comes() -> None:
    """wsproto refuses a text at its first wrong byte, before the frame is complete."""
    wire, sink = opened(WsprotoWire)
    wire.receive_data(frame(TEXT, b"a" * 200 + b"\xff" + b"a" * 1000)[:700])
    assert sink.failures() == [("failure", 1007)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\xfe\x00\x01maskx",
        b"\x82\xff" + (1).to_bytes(8, "big") + b"maskx",
        b"\x82\xff" + (200).to_bytes(8, "big") + b"maskx" + bytes(199),
    ],
    ids=["two bytes", "eight bytes", "eight bytes of a longer one"],
)
def test_length_in_too_many_bytes(wire_class: WireClass, data: bytes) -> None:
    """Whether a length may take a longer form than it needs is the library's to say: wsproto refuses it."""
    for segment in (data, data + frame(BINARY, b"y"), frame(BINARY, b"y") + data):
        wire, sink = opened(wire_class)
        wire.receive_data(segment)
        assert (("failure", 1002) in sink.failures()) is (wire_class is WsprotoWire)
        seen = [call[1][:1] for call in sink.calls if call[0] == "bytes"]
        assert (b"\x15" in seen) is (wire_class is WebsocketsWire)


@pytest.mark.parametrize("size", [1, 500])
def test_frame_in_tiny_pieces_is_kept_small(wire_class: WireClass, size: int) -> None:
    """A frame that is cut into small pieces costs the memory of its bytes, not an object for each piece."""
    wire, sink = opened(wire_class)
    data = frame(BINARY, b"x" * 100_000)
    wire.receive_data(data[:1000])
    tracemalloc.start()
    try:
        for at in range(1000, 100_000, size):
            wire.receive_data(data[at : at + size])
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current < 130_000
    wire.receive_data(data[100_000:])
    assert sink.calls == [("bytes", b"x" * 100_000)]


@pytest.mark.parametrize("seed", range(20))
def test_boundary_at_random_cuts(seed: int) -> None:
    """The boundary is known after each segment, wherever the cuts are."""
    random_source = random.Random(seed)
    sizes = [random_source.choice([0, 1, 5, 125, 126, 200, 65536]) for _ in range(12)]
    frames = [frame(random_source.choice([TEXT, BINARY, PING]), bytes(size)) for size in sizes]
    ends = {sum(len(data) for data in frames[: i + 1]) for i in range(len(frames))}
    stream = b"".join(frames)
    boundary = FrameBoundary()
    assert boundary.between_frames
    at = 0
    while at < len(stream):
        if random_source.random() < 0.4:
            end = min(end for end in ends if end > at)
        else:
            end = min(len(stream), at + random_source.choice([1, 2, 3, 4, 6, 10, 200]))
        part, followed = stream[at:end], 0
        while followed < len(part):
            followed = boundary.follow(part, followed)
        at = end
        assert boundary.between_frames is (at in ends)


def test_accept_computes_the_key_and_appends_headers(wire_class: WireClass) -> None:
    """The 101 carries RFC 6455's accept key, then the server's and the app's headers."""
    wire, _ = make(wire_class)
    assert wire.open(*parsed(handshake(b"Sec-WebSocket-Protocol: chat, superchat"))) == b""
    assert wire.subprotocols == ["chat", "superchat"]
    head = wire.accept("superchat", [(b"server", b"pounce"), (b"x-more", b"\xe9")])
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    lines = {name.lower(): value for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n"))}
    assert lines[b"sec-websocket-accept"] == ACCEPT
    assert lines[b"sec-websocket-protocol"] == b"superchat"
    assert lines[b"x-more"] == b"\xe9"
    assert b"date" not in lines
    assert b"\r\nserver: pounce\r\n" in head


@pytest.mark.parametrize(
    "header", [(b"x-evil", b"a\r\nset-cookie: b"), (b"x\r\ny", b"a"), (b"x-nul", b"\0")], ids=["crlf", "name", "nul"]
)
def test_headers_cannot_split_the_response(wire_class: WireClass, header: tuple[bytes, bytes]) -> None:
    """A line break in the app's headers is the app's error, and the handshake can still be answered with a 500."""
    wire, _ = make(wire_class)
    wire.open(*parsed(handshake()))
    with pytest.raises(MisusedByApp):
        wire.accept(None, [header])
    with pytest.raises(MisusedByApp):
        wire.start_response(403, [header])
    response = wire.refuse(500, "Internal Server Error")
    assert response.startswith(b"HTTP/1.1 500 ")
    assert response.endswith(b"\r\n\r\nInternal Server Error")


@pytest.mark.parametrize(
    "request_bytes",
    [
        handshake(key=b"short"),
        handshake(version=b"12"),
        handshake().replace(b"Upgrade: websocket\r\n", b""),
        handshake().replace(b"GET", b"POST"),
        handshake("Sec-WebSocket-Protocol: caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode()),
        handshake(b"Sec-WebSocket-Protocol: \xff"),
        handshake(b"Sec-WebSocket-Extensions: \xff\xfe"),
        handshake().replace(b"Connection: Upgrade", b"Connection: Upgrade, \xe9"),
    ],
    ids=["key", "version", "upgrade", "post", "utf-8", "subprotocol", "extension", "connection"],
)
def test_bad_handshakes_are_refused(
    wire_class: WireClass, request_bytes: bytes, request: pytest.FixtureRequest
) -> None:
    """A broken or non-ASCII handshake is answered with a 4xx, whichever way the library fails on it."""
    if wire_class is WsprotoWire and request.node.callspec.id.endswith("-key"):
        pytest.skip("wsproto hashes any key")
    wire, _ = make(wire_class, deflate=True)
    response = wire.open(*parsed(request_bytes))
    assert response.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
    assert response.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("offer", [b"client_max_window_bits=abc", b"server_max_window_bits=3", b'=";', b"x=\xff"[:2]])
def test_odd_deflate_offers_do_not_fail_the_handshake(wire_class: WireClass, offer: bytes) -> None:
    """An offer whose parameters make no sense is declined or refused, not an exception."""
    wire, _ = make(wire_class, deflate=True)
    refusal = wire.open(*parsed(handshake(b"Sec-WebSocket-Extensions: permessage-deflate; " + offer)))
    assert (refusal or wire.accept(None, [])).startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 400 "))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", masked=False), 1002),
        (frame(TEXT, b"x", rsv=4), 1002),
        (frame(TEXT, b"x", rsv=1), 1002),
        (frame(3, b"x"), 1002),
        (frame(11, b"x"), 1002),
        (frame(CONT, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(CLOSE, b"x"), 1002),
        (close(1005), 1002),
        (close(999), 1002),
        (close(1000, b"\xff"), 1007),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONT, b"("), 1007),
        (frame(TEXT, b"\xc3"), 1007),
        (frame(TEXT, b"\xed\xa0\x80") + frame(PING, b"later"), 1007),
        (frame(BINARY, b"x" * 201), 1009),
        (frame(TEXT, "\N{EURO SIGN}".encode() * 67), 1009),
        (frame(BINARY, b"x" * 100, fin=False) + frame(CONT, b"x" * 101), 1009),
        (b"\x82\xff\x00\x00\x00\x00\xff\xff\xff\xff" + b"mask" + b"x" * 300, 1009),
    ],
)
@pytest.mark.parametrize("more", [b"", frame(TEXT, b"ignored")], ids=["alone", "followed"])
def test_violations_close_with_their_code(wire_class: WireClass, data: bytes, code: int, more: bytes) -> None:
    """Each breach of the protocol or of the size limit gives one failure with RFC 6455's code, then silence."""
    wire, sink = opened(wire_class, max_size=200)
    wire.receive_data(data + more)
    wire.receive_data(frame(TEXT, b"ignored"))
    assert sink.failures() == [("failure", code)]


def test_message_of_exactly_the_limit(wire_class: WireClass) -> None:
    """`max_size` bytes pass, whole or in fragments; the count starts anew with each message."""
    wire, sink = opened(wire_class, max_size=100)
    wire.receive_data(frame(BINARY, b"x" * 100) * 2 + frame(TEXT, b"y" * 60, fin=False) + frame(CONT, b"y" * 40))
    assert sink.calls == [("bytes", b"x" * 100), ("bytes", b"x" * 100), ("text", "y" * 100)]


def test_no_limit(wire_class: WireClass) -> None:
    """`max_size` None means no limit, for compressed messages too."""
    wire, sink = opened(wire_class, max_size=None, deflate=True)
    wire.receive_data(frame(BINARY, deflated(bytes(3_000_000)), rsv=4))
    assert [len(data) for _, data in sink.calls] == [3_000_000]


def test_deflate_both_ways(wire_class: WireClass) -> None:
    """Compressed messages are inflated, in fragments and around pings, and our own are compressed."""
    wire, sink = opened(wire_class, deflate=True)
    packed = deflated(b"hello " * 50)
    wire.receive_data(
        frame(TEXT, packed[:5], fin=False, rsv=4)
        + frame(PING, b"in between")
        + frame(CONT, packed[5:])
        + frame(TEXT, b"not compressed")
        + frame(BINARY, deflated(b""), rsv=4)
    )
    assert [call for call in sink.calls if call[0] != "ping"] == [
        ("text", "hello " * 50),
        ("text", "not compressed"),
        ("bytes", b""),
    ]
    for output, opcode in [(wire.message_frame("again " * 50), TEXT), (wire.message_frame(b"again " * 50), BINARY)]:
        inflater = zlib.decompressobj(wbits=-15)
        [(first, payload)] = server_frames(output)
        assert first == 0xC0 | opcode
        if opcode == TEXT:
            assert inflater.decompress(payload + b"\x00\x00\xff\xff") == b"again " * 50
        assert len(payload) < 100


def test_compressed_message_shares_its_context(wire_class: WireClass) -> None:
    """A client that refers back to its last message is understood (context takeover)."""
    wire, sink = opened(wire_class, deflate=True)
    compressor = zlib.compressobj(wbits=-12)
    for _ in range(3):
        packed = (compressor.compress(b"the same text") + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        wire.receive_data(frame(TEXT, packed, rsv=4))
    assert sink.calls == [("text", "the same text")] * 3


@pytest.mark.parametrize("fragments", [1, 2, 40])
def test_deflate_bomb_stops_at_the_limit(wire_class: WireClass, fragments: int) -> None:
    """The limit counts inflated bytes, and little more than it is ever held in memory."""
    packed = deflated(bytes(50_000_000))
    size = -(-len(packed) // fragments)
    data = b""
    for i in range(fragments):
        part = packed[i * size : (i + 1) * size]
        data += frame(CONT if i else BINARY, part, fin=i == fragments - 1, rsv=0 if i else 4)
    wire, sink = opened(wire_class, max_size=100_000, deflate=True)
    tracemalloc.start()
    try:
        wire.receive_data(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.failures() == [("failure", 1009)]
    assert peak < 5_000_000


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_flood_of_tiny_fragments_is_kept_small(wire_class: WireClass, payload: bytes) -> None:
    """Any number of fragments costs the memory of their bytes, not an object each."""
    wire, sink = opened(wire_class)
    wire.receive_data(frame(BINARY, b"x", fin=False))
    flood = frame(CONT, payload, fin=False) * 1000
    tracemalloc.start()
    try:
        for _ in range(20):
            wire.receive_data(flood)
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current < 200_000
    wire.receive_data(frame(CONT, b"x"))
    assert sink.calls == [("bytes", b"x" + payload * 20_000 + b"x")]


def test_garbage_never_raises(wire_class: WireClass) -> None:
    """Random bytes end in a failure or a close, never in an exception."""
    random_source = random.Random(7)
    for _ in range(300):
        wire, sink = opened(wire_class, deflate=True, max_size=1000)
        for _ in range(20):
            if sink.calls and sink.calls[-1][0] == "close":
                break
            wire.receive_data(random_source.randbytes(random_source.randrange(1, 60)))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_out(wire_class: WireClass, size: int) -> None:
    """Our frames have the shortest header for their size."""
    wire, _ = opened(wire_class)
    text = wire.message_frame("a" * size)
    assert server_frames(text) == [(0x80 | TEXT, b"a" * size)]
    assert len(text) - size == (2 if size < 126 else 4 if size < 65536 else 10)
    assert server_frames(wire.message_frame(b"a" * size)) == [(0x80 | BINARY, b"a" * size)]
    assert server_frames(wire.message_frame(bytearray(b"a" * size))) == [(0x80 | BINARY, b"a" * size)]


@pytest.mark.parametrize("size", [0, 126, 65535, 65536])
def test_frames_out_in_pieces(wire_class: WireClass, size: int) -> None:
    """The pieces of a frame are its header and the payload itself, not a copy."""
    wire, _ = opened(wire_class)
    data = b"a" * size
    pieces = wire.pieces(data)
    assert pieces[1] is data
    assert b"".join(pieces) == wire.message_frame(data)
    assert b"".join(wire.pieces("ä" * size)) == wire.message_frame("ä" * size)


def test_pieces_are_compressed_too(wire_class: WireClass) -> None:
    """Where an extension is agreed on, the library frames the message."""
    wire, _ = opened(wire_class, deflate=True)
    for pieces in (wire.pieces(b"a" * 70_000), wire.pieces("a" * 70_000)):
        [(first, payload)] = server_frames(b"".join(pieces))
        assert first in (0xC1, 0xC2)
        assert len(payload) < 1000


def test_long_close_reason_is_cut_between_characters(wire_class: WireClass) -> None:
    """A reason beyond 123 bytes is shortened; the frame stays legal."""
    wire, _ = opened(wire_class)
    [(_, payload)] = server_frames(wire.close(4000, "\N{EURO SIGN}" * 60))
    assert payload == b"\x0f\xa0" + "\N{EURO SIGN}".encode() * 41


def test_close_without_a_code(wire_class: WireClass) -> None:
    """No code gives an empty close frame; the peer's answer is still told."""
    wire, sink = opened(wire_class)
    assert server_frames(wire.close(None, "")) == [(0x80 | CLOSE, b"")]
    wire.receive_data(frame(CLOSE))
    assert [call[:3] for call in sink.calls] == [("close", 1005, "")]


def test_impossible_close_code(wire_class: WireClass) -> None:
    """A code that does not fit a close frame is the app's error."""
    wire, _ = opened(wire_class)
    with pytest.raises(MisusedByApp):
        wire.close(70_000, "")


def test_refusals(wire_class: WireClass) -> None:
    """403 and the app's own response are complete HTTP."""
    wire, _ = make(wire_class)
    wire.open(*parsed(handshake()))
    response = wire.refuse(403, "")
    assert response.startswith(b"HTTP/1.1 403 ")
    assert b"content-length: 0\r\n" in response.lower()

    wire, _ = make(wire_class)
    wire.open(*parsed(handshake()))
    response = wire.start_response(418, [(b"content-length", b"4"), (b"x-why", b"tea")])
    response += wire.response_body(b"te", True) + wire.response_body(b"a!", False)
    assert response.startswith(b"HTTP/1.1 418 ")
    assert b"x-why: tea\r\n" in response
    assert response.endswith(b"\r\n\r\ntea!")
