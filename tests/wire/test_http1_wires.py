"""Each HTTP/1.1 wire alone: requests however they are cut, responses, framing, what is kept between messages."""

from __future__ import annotations

from typing import Any

import pytest

from pounce.errors import BadRequest, MisusedByApp
from pounce.wire.header_cache import HeaderCache
from tests.fakes import (
    DEFAULT_HEADERS,
    WIRES,
    RecordingSink,
    chunked,
    cuts,
    feed_wire,
    get,
    post,
    responses,
)

LENGTH_2 = [(b"content-length", b"2")]


@pytest.fixture(params=sorted(WIRES))
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(parser: str, **kwargs: Any) -> tuple[Any, RecordingSink]:
    sink = RecordingSink(**kwargs)
    return WIRES[parser](sink, HeaderCache()), sink


def respond(wire: Any, status: int = 200, headers: Any = LENGTH_2, body: bytes = b"ok", **kwargs: Any) -> bytes:
    options = {"is_head": False, "keep_alive": True, **kwargs}
    head: bytes = wire.encoder.head(status, headers, DEFAULT_HEADERS, options["is_head"], options["keep_alive"])
    tail: bytes = wire.encoder.body(body, False)
    return head + tail


REQUESTS = [
    (get("/a?b=c"), ["GET", b"/a?b=c", b""]),
    (post(b"hello world", "/p"), ["POST", b"/p", b"hello world"]),
    (chunked(b"hello", b" ", b"world", path="/c"), ["POST", b"/c", b"hello world"]),
    (chunked(path="/e"), ["POST", b"/e", b""]),
    (post(b"", "/z"), ["POST", b"/z", b""]),
    (get("/h", method="HEAD"), ["HEAD", b"/h", b""]),
]


def test_requests_are_the_same_however_they_are_cut(parser: str) -> None:
    """Requests, each answered before the next is parsed, come out the same for whole, single and random cuts."""
    for parts in cuts(b"".join(raw for raw, _ in REQUESTS), 7):
        wire, sink = make(parser)
        answered = 0
        for part in parts:
            feed_wire(wire, part)
            while answered < len(sink.requests) and sink.requests[answered][5]:
                respond(wire, is_head=sink.requests[answered][0] == "HEAD")
                answered += 1
                wire.start_next()
        assert [[method, target, body] for method, target, _, _, body, _ in sink.requests] == [
            expected for _, expected in REQUESTS
        ]
        assert all(ended for *_, ended in sink.requests)
        assert answered == len(REQUESTS)


def test_names_are_lowered_and_values_stripped(parser: str) -> None:
    """Field names come in lower case, values without the white space before them and else as they were sent."""
    for parts in cuts(get("/", "X-One: \t a b", "COOKIE: caf\xe9", "X-Empty:")):
        wire, sink = make(parser)
        for part in parts:
            feed_wire(wire, part)
        headers = sink.requests[0][3]
        assert headers == [(b"host", b"example.org"), (b"x-one", b"a b"), (b"cookie", b"caf\xe9"), (b"x-empty", b"")]


def test_trailers_are_dropped(parser: str) -> None:
    """Trailer fields are part neither of their own request's fields nor of the next request's."""
    trailers = b"X-Forwarded-For: 1.2.3.4\r\nExpect: 100-continue\r\nCookie: a=b\r\n"
    for parts in cuts(chunked(b"abc", trailers=trailers) + get("/next"), 3):
        wire, sink = make(parser)
        for part in parts:
            feed_wire(wire, part)
        respond(wire)
        wire.start_next()
        first, second = sink.requests
        assert (b"x-forwarded-for", b"1.2.3.4") not in first[3] + second[3]
        assert second[3] == [(b"host", b"example.org")]
        assert sink.details[1][1:] == (False, None)


@pytest.mark.parametrize("name", [b"Host", b"Upgrade", b"Transfer-Encoding", b"Expect"])
def test_a_noted_field_in_one_request_says_nothing_about_the_next(parser: str, name: bytes) -> None:
    """What the wire notes of one request's fields is forgotten with it."""
    value = {b"Host": "h", b"Upgrade": "x", b"Transfer-Encoding": "chunked", b"Expect": "100-continue"}[name]
    if name == b"Host":
        first = get("/")
    elif name == b"Transfer-Encoding":
        first = chunked(b"a")
    else:
        first = get("/", f"{name.decode()}: {value}")
    wire, sink = make(parser)
    for _ in range(3):
        feed_wire(wire, first)
        respond(wire)
        wire.start_next()
        feed_wire(wire, get("/plain"))
        respond(wire)
        wire.start_next()
    assert [request[1] for request in sink.requests] == [b"/", b"/plain"] * 3
    assert all(details[1:] == (False, None) for details in sink.details[1::2])


def test_expect_is_told(parser: str) -> None:
    """`Expect: 100-continue` is told with the head, in any case of its letters."""
    wire, sink = make(parser)
    feed_wire(wire, get("/", "Content-Length: 3", "Expect: 100-Continue", method="POST"))
    assert sink.details[0][1] is True
    assert (
        wire.encoder.continue_100() == b"HTTP/1.1 100 Continue\r\n\r\n"
        or wire.encoder.continue_100() == b"HTTP/1.1 100 \r\n\r\n"
    )


@pytest.mark.parametrize("body", ["length", "chunked", "none"])
def test_an_upgrade_that_is_not_taken_keeps_its_body(parser: str, body: str) -> None:
    """`Upgrade: h2c` is ignored: the body arrives, and so does the request behind it (RFC 9110 section 7.8)."""
    fields = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    raw = {
        "length": post(b"hello", "/", *fields),
        "chunked": chunked(b"hel", b"lo", fields=fields),
        "none": get("/", *fields),
    }[body]
    for parts in cuts(raw + get("/next"), 5):
        wire, sink = make(parser)
        for part in parts:
            feed_wire(wire, part)
        respond(wire)
        wire.start_next()
        assert [request[4] for request in sink.requests] == [b"" if body == "none" else b"hello", b""]
        assert [request[1] for request in sink.requests] == [b"/", b"/next"]
        assert sink.details[0][2] == b"h2c"
        assert all(request[5] for request in sink.requests)


def test_many_upgrades_that_are_not_taken_do_not_pile_up() -> None:
    """Thousands of pipelined upgrade requests are parsed one after the other, not one inside the other."""
    wire, sink = make("httptools")
    feed_wire(wire, get("/", "Connection: upgrade", "Upgrade: x") * 3000)
    assert len(sink.requests) == 3000


UPGRADE = get("/ws", "Connection: Upgrade", "Upgrade: WebSocket")


def test_bytes_behind_a_taken_upgrade_are_kept(parser: str) -> None:
    """What follows the head of an upgrade that is taken, in the same segment, is in `trailing_data`."""
    for split in range(len(UPGRADE)):
        wire, sink = make(parser, takes_upgrade=True)
        for part in (UPGRADE[:split], UPGRADE[split:] + b"\x81\x01a\r\n\r\nb"):
            if part:
                feed_wire(wire, part)
        assert sink.details[0][2] == b"websocket"
        assert wire.trailing_data == b"\x81\x01a\r\n\r\nb", split


def test_bytes_behind_a_pipelined_upgrade_are_kept(parser: str) -> None:
    """The same where the upgrade follows another request, however the two are cut."""
    first = post(b"x\r\n\r\ny", "/first")
    for split in range(1, len(first + UPGRADE)):
        wire, sink = make(parser, takes_upgrade=True)
        feed_wire(wire, (first + UPGRADE)[:split])
        feed_wire(wire, (first + UPGRADE)[split:] + b"\x81\x01a\r\n\r\nb")
        respond(wire)
        wire.start_next()
        assert [request[1] for request in sink.requests] == [b"/first", b"/ws"]
        assert wire.trailing_data == b"\x81\x01a\r\n\r\nb", split


def test_a_wire_that_holds_back_says_so() -> None:
    """h11 and zttp ask for a pause where bytes come ahead of their turn, so that they cannot pile up."""
    for parser in ("h11", "zttp"):
        wire, sink = make(parser)
        feed_wire(wire, get("/1"))
        assert sink.pauses == 0
        feed_wire(wire, get("/2"))
        assert sink.pauses == 1
        assert len(sink.requests) == 1
        respond(wire)
        wire.start_next()
        assert len(sink.requests) == 2


def test_early_response_then_the_rest_of_the_body(parser: str) -> None:
    """The rest of a body that was answered early is read over; the next request is found behind it."""
    for raw in (post(b"a" * 100), chunked(b"a" * 50, b"b" * 50)):
        for split in range(raw.index(b"\r\n\r\n") + 4, len(raw)):
            wire, sink = make(parser)
            feed_wire(wire, raw[:split])
            respond(wire)
            wire.start_next()
            feed_wire(wire, raw[split:] + get("/next"))
            assert sink.requests[-1][1] == b"/next", split
            assert len(sink.requests) == 2


# Responses


def test_response_with_a_length(parser: str) -> None:
    """A response that declares its length goes out with that length and the default fields."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    (response,) = responses(respond(wire, headers=[(b"X-A", b"1"), *LENGTH_2]))
    assert response.status == 200
    assert response.body == b"ok"
    assert {name.lower() for name in response.headers} == {b"server", b"x-a", b"content-length"}


def test_response_in_chunks(parser: str) -> None:
    """Without a length the body is chunked; empty parts are not the end."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    data = wire.encoder.head(200, [], DEFAULT_HEADERS, False, True)
    for part, more in ((b"a", True), (b"", True), (b"bc" * 20, True), (b"", False)):
        data += wire.encoder.body(part, more)
    (response,) = responses(data)
    assert response.body == b"a" + b"bc" * 20
    assert response.complete


@pytest.mark.parametrize("fields", [[], LENGTH_2, [(b"transfer-encoding", b"chunked")]])
def test_the_answer_to_head_has_no_body(parser: str, fields: Any) -> None:
    """Whatever a response to HEAD declares, no byte of body is sent, and the next response is in its place."""
    wire, _ = make(parser)
    feed_wire(wire, get(method="HEAD"))
    data = respond(wire, headers=fields, is_head=True)
    wire.start_next()
    feed_wire(wire, get())
    data += respond(wire)
    first, second = responses(data, heads=(0,))
    assert first.headers.get(b"content-length") == (b"2" if fields == LENGTH_2 else None)
    assert second.body == b"ok"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("fields", [[], [(b"transfer-encoding", b"chunked")]])
def test_status_without_a_body(parser: str, status: int, fields: Any) -> None:
    """204 and 304 carry no body and no chunk, also where the app says that they are chunked."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    data = respond(wire, status, fields, b"")
    wire.start_next()
    feed_wire(wire, get())
    data += respond(wire)
    first, second = responses(data)
    assert (first.status, second.body) == (status, b"ok")


def test_304_with_the_length_of_what_it_stands_for() -> None:
    """A 304 may tell the length of the body that it does not have (RFC 9110 section 15.4.5)."""
    for parser in ("httptools", "zttp"):
        wire, _ = make(parser)
        feed_wire(wire, get())
        (response,) = responses(respond(wire, 304, [(b"content-length", b"500")], b""))
        assert response.headers[b"content-length"] == b"500"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("fields", [[], [(b"transfer-encoding", b"chunked")], [(b"content-length", b"4")]])
@pytest.mark.parametrize("large", [False, True])
def test_a_body_with_204_or_304_is_left_out(parser: str, status: int, fields: Any, large: bool) -> None:
    """A body where none can be is not sent, the wire says so, and the next response is in its place."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    data = wire.encoder.head(status, fields, DEFAULT_HEADERS, False, True)
    assert not wire.encoder.dropped_body
    data += b"".join(wire.encoder.large_body(b"gone", True)) if large else wire.encoder.body(b"gone", True)
    data += wire.encoder.body(b"", False)
    assert wire.encoder.dropped_body
    assert not wire.encoder.is_short
    assert not wire.encoder.close_after_response
    wire.encoder.dropped_body = False
    wire.start_next()
    feed_wire(wire, get())
    data += respond(wire)
    first, second = responses(data)
    assert (first.status, first.body, second.status, second.body) == (status, b"", 200, b"ok")
    assert not wire.encoder.dropped_body


def test_a_204_declares_no_body(parser: str) -> None:
    """A 204 has neither Content-Length nor Transfer-Encoding, whatever the app says (RFC 9110 section 8.6)."""
    for fields in ([(b"content-length", b"0")], [(b"content-length", b"4"), (b"transfer-encoding", b"chunked")]):
        wire, _ = make(parser)
        feed_wire(wire, get())
        (response,) = responses(respond(wire, 204, [*fields, (b"x", b"1")], b""))
        assert set(response.headers) == {b"server", b"x"}


@pytest.mark.parametrize("fields", [[], LENGTH_2, [(b"content-length", b"9")]])
def test_what_is_sent_for_head_is_left_out_without_a_word(parser: str, fields: Any) -> None:
    """A body for HEAD is no mistake, however long it is."""
    wire, _ = make(parser)
    feed_wire(wire, get(method="HEAD"))
    data = wire.encoder.head(200, fields, DEFAULT_HEADERS, True, True)
    for part, more in ((b"abc", True), (b"", False)):
        data += wire.encoder.body(part, more)
    assert data.endswith(b"\r\n\r\n")
    assert not wire.encoder.dropped_body
    assert not wire.encoder.is_short
    assert not wire.encoder.close_after_response


@pytest.mark.parametrize("parts", [[b"oops"], [b"o", b"ops"], [b"ok", b"!"]])
def test_a_body_that_is_too_long_is_refused(parser: str, parts: list[bytes]) -> None:
    """What is more than the head declares is the app's mistake, and no byte of that part is sent."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    wire.encoder.head(200, LENGTH_2, DEFAULT_HEADERS, False, True)
    for part in parts[:-1]:
        assert wire.encoder.body(part, True) == part
    with pytest.raises(MisusedByApp, match="longer than Content-Length"):
        wire.encoder.body(parts[-1], False)


@pytest.mark.parametrize("parts", [[b""], [b"abc"], [b"a", b"b", b"c"], [b"abc", b""]])
@pytest.mark.parametrize("large", [False, True])
def test_a_body_that_is_too_short_is_sent_whole(parser: str, parts: list[bytes], large: bool) -> None:
    """All that the app sent leaves, and the connection ends behind it: so the client learns that there was more."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    data = wire.encoder.head(200, [(b"content-length", b"5")], DEFAULT_HEADERS, False, True)
    assert not wire.encoder.close_after_response
    for index, part in enumerate(parts):
        more = index + 1 < len(parts)
        data += b"".join(wire.encoder.large_body(part, more)) if large else wire.encoder.body(part, more)
        assert (wire.encoder.is_short, wire.encoder.close_after_response) == (not more, not more)
    (response,) = responses(data)
    assert response.body == b"".join(parts)
    assert not response.complete
    wire.closed()


def test_a_body_as_long_as_declared_is_neither(parser: str) -> None:
    """The usual response leaves no mark on its wire."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    respond(wire)
    assert (wire.encoder.is_short, wire.encoder.dropped_body, wire.encoder.close_after_response) == (
        False,
        False,
        False,
    )


@pytest.mark.parametrize("status", [0, 99, 100, 101, 103, 199, 600, 999, -200, "200", None])
def test_a_status_that_is_none_is_refused(parser: str, status: Any) -> None:
    """After 1xx a client waits for another response and would take the body for it; others do not exist."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    with pytest.raises(MisusedByApp, match="Invalid HTTP status code"):
        respond(wire, status, [], b"HTTP/1.1 200 OK\r\n\r\n")
    (response,) = responses(respond(wire, 500))
    assert response.status == 500


@pytest.mark.parametrize("status", [200, 299, 599])
def test_the_status_line_has_its_three_parts(parser: str, status: int) -> None:
    """Also where a code has no phrase, its space is there (RFC 9112 section 4)."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    line = respond(wire, status).partition(b"\r\n")[0]
    assert line.startswith(b"HTTP/1.1 %d " % status)
    assert status != 200 or line.endswith(b" OK")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\x00b"),
        (b"x\r\ny", b"a"),
        (b"x y", b"a"),
        (b"x:", b"a"),
        (b"x\x00", b"a"),
    ],
)
def test_response_splitting_is_refused(parser: str, name: bytes, value: bytes) -> None:
    """A line end or NUL in a response's name or value leaves no byte on the wire, also the second time."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    for _ in range(2):
        with pytest.raises(MisusedByApp):
            wire.encoder.head(200, [(name, value)], DEFAULT_HEADERS, False, True)


def test_a_text_header_is_refused_and_not_kept(parser: str) -> None:
    """A name or value that is a str is refused, whatever was encoded before; h11 takes ASCII, as with uvicorn."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    assert respond(wire, headers=[(b"x", b"1"), *LENGTH_2])
    for fields in ([("x", "1")], [(b"x", "1")], [("x", b"1")], [(b"x", "\xe9")], [("\xe9", b"1")]):
        wire.start_next()
        feed_wire(wire, get())
        name, value = fields[0]
        if parser == "h11" and "\xe9" not in (name, value):
            (response,) = responses(respond(wire, headers=[*fields, *LENGTH_2]))
            assert response.headers[b"x"] == b"1"
            continue
        with pytest.raises(MisusedByApp, match="must be bytes, not str"):
            wire.encoder.head(200, fields, DEFAULT_HEADERS, False, True)
        respond(wire)


def test_close_is_said(parser: str) -> None:
    """A connection that is to end says so, once, and so does a response to a request that says it."""
    wire, _ = make(parser)
    feed_wire(wire, get())
    (response,) = responses(respond(wire, keep_alive=False))
    assert response.headers[b"connection"] == b"close"
    wire, sink = make(parser)
    feed_wire(wire, get("/", "Connection: close"))
    (response,) = responses(respond(wire, keep_alive=sink.details[0][0]))
    assert response.headers[b"connection"] == b"close"
    assert wire.encoder.close_after_response
    wire, _ = make(parser)
    feed_wire(wire, get())
    (response,) = responses(respond(wire, headers=[(b"connection", b"close"), *LENGTH_2], keep_alive=False))
    assert wire.encoder.close_after_response


def test_http_1_0_gets_no_chunks(parser: str) -> None:
    """An HTTP/1.0 client knows no chunks: without a length, the end of the connection is the end of the body."""
    wire, sink = make(parser)
    feed_wire(wire, get(version="1.0"))
    data = respond(wire, headers=[], keep_alive=sink.details[0][0])
    (response,) = responses(data, closed=True)
    assert b"transfer-encoding" not in response.headers
    assert response.body == b"ok"
    assert wire.encoder.close_after_response


def test_http_1_0_is_not_told_of_chunks(parser: str) -> None:
    """Where an app says that a body is chunked, the answer to HTTP/1.0 neither is nor says so."""
    wire, sink = make(parser)
    feed_wire(wire, get(version="1.0"))
    fields = [(b"transfer-encoding", b"chunked"), (b"content-length", b"9")]
    (response,) = responses(
        respond(wire, headers=fields, keep_alive=sink.details[0][0] and parser != "httptools"), closed=True
    )
    assert response.body == b"ok"
    assert not {b"transfer-encoding", b"content-length"} & set(response.headers)
    assert wire.encoder.close_after_response
    assert not wire.encoder.is_short


def test_kept_heads_are_bounded() -> None:
    """An app that invents fields for each response does not fill the memory."""
    cache = HeaderCache()
    for number in range(3000):
        wire = WIRES["httptools"](RecordingSink(), cache)
        wire.feed(get())
        wire.encoder.head(200, [(b"x-%d" % number, b"%d" % number), *LENGTH_2], DEFAULT_HEADERS, False, True)
        wire.encoder.head(200, [(b"set-cookie", b"id=%d" % number), *LENGTH_2], DEFAULT_HEADERS, False, True)
    assert len(cache.heads) <= 512
    assert len(cache.starts) <= 1024
    assert not any(b"set-cookie" in head[0] for head in cache.heads.values())


# What is not parsed


def test_after_closed_nothing_is_told(parser: str) -> None:
    """A closed wire has let go of its sink."""
    import gc
    import weakref

    class Sink(RecordingSink):
        pass

    gc.disable()
    try:
        sink = Sink()
        wire = WIRES[parser](sink, HeaderCache())
        feed_wire(wire, get())
        respond(wire)
        alive = weakref.ref(sink)
        wire.closed()
        wire.closed()
        del sink
        assert alive() is None
    finally:
        gc.enable()


def test_a_broken_request_is_a_bad_request(parser: str) -> None:
    """Whatever a parser raises for broken bytes leaves the wire as BadRequest, with a 400 to send."""
    for raw in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"):
        for parts in cuts(raw):
            wire, sink = make(parser)
            with pytest.raises(BadRequest) as caught:
                for part in parts:
                    feed_wire(wire, part)
            assert caught.value.status == 400
            assert sink.requests == []
            (response,) = responses(wire.error_response(400, caught.value.reason, DEFAULT_HEADERS), closed=True)
            assert response.headers[b"connection"] == b"close"
            assert response.body == b"Invalid HTTP request received."
