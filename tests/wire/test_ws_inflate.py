"""Compressed messages (RFC 7692) through both wires: whole, in fragments, cut, in shares; limits and errors."""

from __future__ import annotations

import logging
import random
import zlib
from typing import Any

import pytest

from pounce.wire.ws_inflate import PIECE_SIZE, Inflation, Oversized
from pounce.wire.ws_websockets import WebsocketsWire
from pounce.wire.ws_wsproto import WsprotoWire
from tests.wire.test_ws_wires import RecordingSink, WireClass, opened
from tests.wire.ws_frames import BINARY, CLOSE, CONT, PING, TEXT, close, deflated, frame


@pytest.fixture(params=[WsprotoWire, WebsocketsWire])
def wire_class(request: pytest.FixtureRequest) -> WireClass:
    return request.param


def fragments(opcode: int, packed: bytes, count: int, between: bytes = b"") -> bytes:
    """A compressed message in frames, with something between them."""
    size = -(-len(packed) // count) or 1
    parts = [packed[at : at + size] for at in range(0, len(packed), size)] or [b""]
    frames = [
        frame(CONT if number else opcode, part, fin=number == len(parts) - 1, rsv=0 if number else 4)
        for number, part in enumerate(parts)
    ]
    return between.join(frames)


def conversation(dice: random.Random) -> tuple[bytes, list[tuple[str, Any]]]:
    """What a client that keeps its context sends, and what is to be told of it."""
    compressor = zlib.compressobj(wbits=-12)
    sent, told = [], []
    for _ in range(20):
        data = dice.choice([b"", b"hello", dice.randbytes(3000), b"abc" * 5000, bytes(70_000)])
        kind = dice.choice(["packed", "packed", "plain", "plain fragments"])
        is_text = dice.random() < 0.5 and data.isascii()
        opcode, call = (TEXT, ("text", data.decode())) if is_text else (BINARY, ("bytes", data))
        pings = dice.randrange(2)
        between = frame(PING, b"now") * pings
        if kind == "packed":
            packed = (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
            sent.append(fragments(opcode, packed, count := dice.choice([1, 1, 2, 7]), between))
            count = min(count, len(packed))
            size = -(-len(packed) // count)
            told += [("ping", [(0x8A, b"now")])] * (pings * (-(-len(packed) // size) - 1))
        elif kind == "plain":
            sent.append(frame(opcode, data))
        else:
            sent.append(frame(opcode, data[:10], fin=False) + between + frame(CONT, data[10:]))
            told += [("ping", [(0x8A, b"now")])] * pings
        told.append(call)
    sent.append(close(1000))
    told.append(("close", 1000, "", [(0x80 | CLOSE, b"\x03\xe8")]))
    return b"".join(sent), told


@pytest.mark.parametrize("share", [1, 7, 128, 2**40])
@pytest.mark.parametrize("seed", range(6))
def test_a_conversation(wire_class: WireClass, seed: int, share: int) -> None:
    """Compressed and other messages, in fragments or not, cut anywhere, parsed in shares: all is told, in order."""
    dice = random.Random(seed)
    stream, expected = conversation(dice)
    wire, sink = opened(wire_class, deflate=True)
    sink.left = share
    while stream:
        size = dice.choice([1, 2, 3, 5, 9, 100, 1448, 70_000])
        wire.receive_data(stream[:size])
        stream = stream[size:]
        if dice.random() < 0.5 and wire.has_more:
            wire.go_on()
    while wire.has_more:
        wire.go_on()
    assert sink.calls == expected


@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_none_of_it_is_for_the_library(wire_class: WireClass, cut: int) -> None:
    """However it is cut: the library would not know what to refer to."""
    wire, sink = opened(wire_class, deflate=True)
    wire.parse = None  # type: ignore[method-assign,assignment]  # not called, or this fails
    data = fragments(TEXT, deflated(b"x" * 1000), 3) * 2
    for at in range(0, len(data), cut):
        wire.receive_data(data[at : at + cut])
    assert sink.calls == [("text", "x" * 1000)] * 2


def test_debug_logging_shows_compressed_frames(caplog: pytest.LogCaptureFixture) -> None:
    """`websockets` sees and inflates them then."""
    caplog.set_level(logging.DEBUG, "tests.debug")
    sink = RecordingSink()
    wire = WebsocketsWire(sink, 2**20, True, logging.getLogger("tests.debug"))
    fields = [
        (b"host", b"a"), (b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="), (b"sec-websocket-extensions", b"permessage-deflate"),
    ]  # fmt: skip
    assert wire.open("GET", fields) == b""
    wire.accept(None, [])
    wire.receive_data(frame(TEXT, deflated(b"packed"), rsv=4))
    assert sink.calls == [("text", "packed")]
    assert "packed" in caplog.text


@pytest.mark.parametrize("size", [1, 100, PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 1, 5 * PIECE_SIZE, 1_000_000])
@pytest.mark.parametrize("limit", [None, 0, 1])
def test_pieces(size: int, limit: int | None) -> None:
    """A message comes in pieces of a bounded size, all of it; a byte more than may be is refused."""
    data = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    inflation = Inflation(12, False, None if limit is None else size - limit)
    packed = deflated(data)
    for payload, is_last in ((packed[:50], False), (b"", False), (packed[50:], True)):
        inflation.add(payload, is_last)
        more = True
        while more:
            try:
                piece, more = inflation.inflate()
            except Oversized:
                assert limit == 1
                return
            assert piece <= PIECE_SIZE
    assert inflation.take() == data
    assert limit != 1


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_bomb_is_inflated_in_shares(wire_class: WireClass, opcode: int) -> None:
    """No turn inflates more than its share, and the next message has to wait."""
    wire, sink = opened(wire_class, max_size=10_000_000, deflate=True)
    sink.left = 128
    assert wire.receive_data(frame(opcode, deflated(bytes(5_000_000)), rsv=4) * 2)
    turns, before = 0, 0
    while not sink.calls:
        size = len(wire.inflation.message)
        assert size - before <= 2 * PIECE_SIZE + 65536
        before = size
        assert wire.go_on()
        turns += 1
    assert turns > 30
    while wire.has_more:
        wire.go_on()
    assert [len(call[1]) for call in sink.calls] == [5_000_000] * 2


BAD = {
    "a message within one": (frame(TEXT, deflated(b"x"), fin=False, rsv=4) + frame(TEXT, b"y"), 1002),
    "a compressed one within one": (frame(TEXT, deflated(b"x"), fin=False, rsv=4) * 2, 1002),
    "a mark on a later frame": (frame(TEXT, deflated(b"x"), fin=False, rsv=4) + frame(CONT, b"", rsv=4), 1002),
    "no mask": (frame(BINARY, deflated(b"x"), rsv=4, masked=False), 1002),
    "a control frame with the mark": (frame(PING, b"x", rsv=4), 1002),
    "another mark": (frame(BINARY, b"x", rsv=2), 1002),
    "a frame over the limit": (frame(BINARY, b"x" * 2000, rsv=4), 1009),
    "a message over the limit": (frame(BINARY, deflated(bytes(1001)), rsv=4), 1009),
    "fragments over the limit": (fragments(BINARY, deflated(bytes(1001)), 5), 1009),
    "no UTF-8": (frame(TEXT, deflated(b"\xff"), rsv=4), 1007),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("cut", [1, 1000])
def test_what_is_wrong_ends_it(wire_class: WireClass, name: str, cut: int) -> None:
    """With the code that says why; nothing behind it is told, and nothing is kept."""
    data, code = BAD[name]
    wire, sink = opened(wire_class, max_size=1000, deflate=True)
    data += frame(BINARY, b"behind")
    for at in range(0, len(data), cut):
        wire.receive_data(data[at : at + cut])
    assert sink.failures() == [("failure", code)]
    assert not wire.has_more
    assert wire.inflation is None


@pytest.mark.parametrize("packed", [b"\xff" * 100, b"\x06", b"\x00\x01\x00\x00\x00"])
def test_what_cannot_be_inflated(wire_class: WireClass, packed: bytes) -> None:
    """It ends the WebSocket with the code that the library has for it."""
    wire, sink = opened(wire_class, deflate=True)
    wire.receive_data(frame(BINARY, packed, rsv=4))
    wire.receive_data(frame(BINARY, packed, rsv=4))
    assert sink.failures() == [("failure", 1007 if wire_class is WsprotoWire else 1002)]
