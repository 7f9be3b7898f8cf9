"""What a response's head may carry is the same for every parser, over HTTP/2, and for both WebSocket libraries."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
from hpack import Decoder

from pounce.errors import MisusedByApp
from pounce.wire.header_cache import HeaderCache
from pounce.wire.http2_headers import HeaderWriter, informational_fields
from pounce.wire.response_fields import body_bytes, checked_trailers
from pounce.wire.ws import WebSocketWire
from pounce.wire.ws_websockets import WebsocketsWire
from pounce.wire.ws_wsproto import WsprotoWire
from tests.fakes import DEFAULT_HEADERS, WIRES, RecordingSink, feed_wire, get, responses
from tests.wire import test_ws_wires
from tests.wire.ws_frames import handshake, parsed

Fields = list[Any]
WEBSOCKET_WIRES: dict[str, Any] = {"websockets": WebsocketsWire, "wsproto": WsprotoWire}


class Http1Head:
    """A head by one of the parsers' wires."""

    def __init__(self, parser: str, method: str = "GET") -> None:
        self.is_head = method == "HEAD"
        self.wire = WIRES[parser](RecordingSink(), HeaderCache())
        feed_wire(self.wire, get(method=method))

    def send(self, fields: Fields, status: int = 200) -> list[tuple[bytes, bytes]]:
        head: bytes = self.wire.encoder.head(status, fields, DEFAULT_HEADERS, self.is_head, True)
        return fields_of(head)

    def send_500(self) -> bytes:
        return self.wire.encoder.head(500, [], DEFAULT_HEADERS, False, False) + self.wire.encoder.body(b"", False)  # type: ignore[no-any-return]


class Http2Head:
    """A head over HTTP/2, read by the library that a client may use."""

    def __init__(self) -> None:
        self.writer = HeaderWriter()
        self.decoder = Decoder()

    def send(self, fields: Fields, status: int = 200) -> list[tuple[bytes, bytes]]:
        block, _ = self.writer.response(status, fields, DEFAULT_HEADERS)
        return [(bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)][1:]

    def send_500(self) -> bytes:
        self.send([], 500)
        return b"HTTP/1.1 500 \r\ncontent-length: 0\r\n\r\n"


class Refusal:
    """The head of an app's own answer to a WebSocket handshake."""

    def __init__(self, library: str) -> None:
        self.wire: WebSocketWire = WEBSOCKET_WIRES[library](
            test_ws_wires.RecordingSink(), None, False, logging.getLogger("tests.quiet")
        )
        self.wire.open(*parsed(handshake()))

    def send(self, fields: Fields, status: int = 400) -> list[tuple[bytes, bytes]]:
        head = self.wire.start_response(status, fields)
        return fields_of(head + self.wire.response_body(b"", False))

    def send_500(self) -> bytes:
        return self.wire.refuse(500, "Internal Server Error")


def fields_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """Name in lower case and value of each line of a head."""
    head, separator, _ = data.partition(b"\r\n\r\n")
    assert separator
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    return [(name.lower(), value.strip(b" \t")) for name, _, value in lines]


HEADS: dict[str, Callable[[], Any]] = {
    "h11": lambda: Http1Head("h11"),
    "httptools": lambda: Http1Head("httptools"),
    "zttp": lambda: Http1Head("zttp"),
    "http2": Http2Head,
    "websockets refusal": lambda: Refusal("websockets"),
    "wsproto refusal": lambda: Refusal("wsproto"),
}


@pytest.fixture(params=sorted(HEADS))
def head(request: pytest.FixtureRequest) -> Any:
    return HEADS[request.param]()


BAD_NAMES = [
    b"",
    b" ",
    b"x y",
    b"x ",
    b" x",
    b"a/b",
    b"a?",
    b"a\xff",
    b"a:b",
    b":status",
    b"a\0",
    b"a\r\nb",
    b'"a"',
    b"(a)",
]
BAD_VALUES = [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b", b"\x01", b"a\x7f", b"a\x0b", b"\x1b[31m", b"a\n", b"\r\n"]
BAD_LENGTHS = [b"", b"+2", b"-2", b"2_0", b"2 0", b"2, 2", b"0x2", b"2.0", b"two", "٢".encode(), b"9" * 19, b"9" * 5000]
BAD_CODINGS = [b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity", b"", b"xchunked"]

BAD_FIELDS: Fields = [
    *[[(name, b"v")] for name in BAD_NAMES],
    *[[(b"x", value)] for value in BAD_VALUES],
    *[[(b"content-length", value)] for value in BAD_LENGTHS],
    *[[(b"Content-Length", b"1"), (b"content-length", value)] for value in (b"2", b"x")],
    *[[(b"transfer-encoding", value)] for value in BAD_CODINGS],
    [(b"transfer-encoding", b"chunked"), (b"Transfer-Encoding", b"gzip")],
    [(b"transfer-encoding", b"chunked"), (b"content-length", b"x")],
    [(b"x", 1)],
    [(1, b"x")],
    [(b"x", None)],
]


@pytest.mark.parametrize("fields", BAD_FIELDS, ids=lambda fields: repr(fields)[:60])
def test_what_no_head_may_carry_is_refused(head: Any, fields: Fields) -> None:
    """It is the app's mistake, also the second time and behind a good field, and a 500 can be sent in its place."""
    for _ in range(2):
        with pytest.raises(MisusedByApp):
            head.send([(b"x-good", b"1"), *fields])
    (response,) = responses(head.send_500(), closed=True)
    assert response.status == 500
    assert b"x-good" not in response.headers


@pytest.mark.parametrize("status", [100, 101, 199, 600])
def test_no_interim_status_is_a_response(head: Any, status: int) -> None:
    """1xx is no answer that a client could stop at, and there is nothing above 599; a 500 can be sent instead."""
    with pytest.raises(MisusedByApp, match="Invalid HTTP status code"):
        head.send([], status)
    (response,) = responses(head.send_500(), closed=True)
    assert response.status == 500


@pytest.mark.parametrize("seed", range(10))
def test_every_head_is_judged_alike(seed: int) -> None:
    """Whatever fields come together: sent by all, or refused by all, and never another exception."""
    dice = random.Random(seed)
    names = [b"content-length", b"Content-Length", b"transfer-encoding", b"connection", b"date", b"Date", b"upgrade"]
    names += [b"x", b"te", b"host", b"keep-alive", b"content-type", b"x-\xe9"]
    values = [b"0", b" 0", b"chunked", b"close", b"keep-alive", b"h2c", b"", b"a b", b"\xff", b'"', b"gzip"]

    def some(known: list[bytes]) -> bytes:
        return dice.choice(known) if dice.random() < 0.9 else dice.randbytes(dice.randrange(4))

    for _ in range(60):
        fields = [(some(names), some(values)) for _ in range(dice.randrange(1, 4))]
        status = dice.choice([200, 204, 304, 404, 500])
        verdicts = {}
        for name, make in HEADS.items():
            try:
                make().send(fields, status)
                verdicts[name] = "sent"
            except MisusedByApp:
                verdicts[name] = "refused"
        assert len(set(verdicts.values())) == 1, (fields, status, verdicts)


def kinds_of(name: bytes, value: bytes) -> Fields:
    """The same field in every type that an app may give it in."""
    pairs = [
        (name, value),
        (bytearray(name), value),
        (name, bytearray(value)),
        (memoryview(name), memoryview(value)),
        (memoryview(bytearray(name)), memoryview(bytearray(value))),
    ]
    return [*pairs, *map(list, pairs)]


@pytest.mark.parametrize("index", range(10))
def test_any_kind_of_buffer_is_a_name_or_value(index: int) -> None:
    """bytearrays, memoryviews, and lists of two are as good as bytes in a tuple, again and again."""
    for make in HEADS.values():
        for _ in range(2):
            head = make()
            given = [kinds_of(b"X-Some", b"Thing")[index], kinds_of(b"Content-Length", b"0")[index]]
            sent = head.send(given)
            assert sent.count((b"x-some", b"Thing")) == 1
            assert sent.count((b"content-length", b"0")) == 1


def test_heads_given_in_other_types_are_known_again() -> None:
    """What an app gives as lists and bytearrays is encoded once, too."""
    cache = HeaderCache()
    wire = WIRES["httptools"](RecordingSink(), cache)
    wire.feed(get())
    for index in range(10):
        wire.encoder.head(200, [kinds_of(b"x", b"1")[index]], DEFAULT_HEADERS, False, True)
    assert len(cache.heads) == 1


@pytest.mark.parametrize("value", [b"", b"a b", b"a\tb", b"\xe9", "é".encode(), b'a: b; c="d"', b"x" * 5000])
def test_values_pass_as_they_are(head: Any, value: bytes) -> None:
    """A value without control characters is nobody's business."""
    assert (b"x", value) in head.send([(b"X", value)])


@pytest.mark.parametrize("value", [b" a", b"a ", b"\ta \t"])
def test_white_space_around_a_value_does_not_count(head: Any, value: bytes) -> None:
    """It is no part of the value (RFC 9110 section 5.5)."""
    assert (b"x", b"a") in head.send([(b"x", value)])


@pytest.mark.parametrize(
    "fields", [[(b"content-length", b" 0")], [(b"content-length", b"0"), (b"Content-Length", b"0\t")]]
)
def test_a_length_is_said_once(head: Any, fields: Fields) -> None:
    """White space around it does not count, and one that says the same is left out."""
    assert [field for field in head.send(fields) if field[0] == b"content-length"] == [(b"content-length", b"0")]


@pytest.mark.parametrize(
    "fields",
    [
        [(b"transfer-encoding", b"chunked")],
        [(b"Transfer-Encoding", b" Chunked "), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"7"), (b"x", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"chunked"), (b"content-length", b"7")],
    ],
)
@pytest.mark.parametrize("parser", sorted(WIRES))
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_chunked_is_said_once_and_without_a_length(parser: str, method: str, fields: Fields) -> None:
    """Never are there both (RFC 9112 section 6.2): the body is chunked, which is what it is with uvicorn."""
    head = Http1Head(parser, method)
    sent = head.send(fields)
    assert [value.lower() for name, value in sent if name == b"transfer-encoding"] == [b"chunked"]
    assert b"content-length" not in dict(sent)
    if method == "GET":
        assert head.wire.encoder.body(b"ok", False) == b"2\r\nok\r\n0\r\n\r\n"
        assert not head.wire.encoder.is_short


def test_http2_says_nothing_of_chunks() -> None:
    """The field has no place there, and the length beside it does not count there either."""
    writer = HeaderWriter()
    block, length = writer.response(200, [(b"transfer-encoding", b"chunked"), (b"content-length", b"7")], [])
    assert length is None
    assert [bytes(name) for name, _ in Decoder().decode(block, raw=True)] == [b":status"]


def test_http2_204_declares_no_body() -> None:
    """Clients refuse a 204 with a length over HTTP/2."""
    block, length = HeaderWriter().response(204, [(b"content-length", b"4")], [])
    assert length is None
    assert [bytes(name) for name, _ in Decoder().decode(block, raw=True)] == [b":status"]


@pytest.mark.parametrize("fields", BAD_FIELDS[: len(BAD_NAMES) + len(BAD_VALUES)], ids=lambda fields: repr(fields)[:60])
def test_trailers_and_early_hints_are_checked_likewise(fields: Fields) -> None:
    """Whatever part of an answer a field is in."""
    with pytest.raises(MisusedByApp):
        checked_trailers(fields)
    with pytest.raises(MisusedByApp):
        informational_fields(103, fields)


def test_trailers_may_be_of_any_kind_of_buffer() -> None:
    """As in a head."""
    for pair in kinds_of(b"X-Sum", b"1"):
        assert checked_trailers([pair]) == [(b"x-sum", b"1")]


@pytest.mark.parametrize(
    ("body", "sent"), [(None, b""), (b"a", b"a"), (bytearray(b"a"), b"a"), (memoryview(b"abcd")[::2], b"ac")]
)
def test_bodies_of_every_kind(body: Any, sent: bytes) -> None:
    """None is an empty body, and a buffer is copied."""
    assert body_bytes(body) == sent
    assert type(body_bytes(body)) is bytes


@pytest.mark.parametrize("body", ["text", 5, ["a"]])
def test_what_is_no_body_is_refused(body: Any) -> None:
    """With the type it has."""
    with pytest.raises(MisusedByApp, match=f"must be bytes, not {type(body).__name__}"):
        body_bytes(body)
