"""Limits of requests: what is at one is served, what is above it refused, whatever the parser, version and cuts are.

Behind each request comes a second one, which is answered only where the first one is. FIELD names in the table are
those of `settings.Limits`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h2.settings
import pytest

from pounce.settings import Settings
from tests.connection import http2_client
from tests.fakes import Connection, answer, chunked, cuts, echo, get, post, read_body, settle

pytestmark = pytest.mark.anyio

SMALL = {
    "request_line": 60,
    "field_size": 50,
    "fields": 5,
    "head_size": 200,
    "body": 20,
    "chunk_extensions": 16,
}
SECOND = get("/second")


def limits(**given: Any) -> Settings:
    return Settings.of({"limits": given})


def line(size: int) -> bytes:
    return get("/" + "a" * (size - len("GET / HTTP/1.1")))


def fields(number: int) -> bytes:
    return get("/", *[f"X-{i}: a" for i in range(number - 1)])


def field(size: int, name: str = "X: ") -> bytes:
    return get("/", name + "a" * (size - len(name)))


def head(size: int) -> bytes:
    most = [name + ": " + "a" * 36 for name in "ABC"]
    return get("/", *most, "D: " + "d" * (size - len(get("/", *most, "D: "))))


def extensions(size: int) -> bytes:
    data = b"1;" + b"x" * (size - 3) + b"\r\na\r\n2;y=1\r\nbc\r\n0\r\n\r\n"
    return get("/", "Transfer-Encoding: chunked", method="POST") + data


def trailers(number: int) -> bytes:
    return chunked(b"abc", trailers=b"T: a\r\n" * number)


def trailer(size: int) -> bytes:
    return chunked(b"abc", trailers=b"T: " + b"a" * (size - 3) + b"\r\n")


def all_trailers(size: int) -> bytes:
    whole = b"T: " + b"a" * 45 + b"\r\n"
    return chunked(b"abc", trailers=whole * 3 + b"T: " + b"a" * (size - 3 * len(whole) - len(b"T: \r\n\r\n")) + b"\r\n")


#: Makes a request of a size, that size at its limit, and the status above it.
TABLE: dict[str, tuple[Any, int, int]] = {
    "request line": (line, 60, 414),
    "field": (field, 50, 431),
    "field of one name": (lambda size: field(size, "X" * (size - 3) + ": "), 50, 431),
    "field in white space": (lambda size: field(size, "X:" + " " * (size - 3)), 50, 431),
    "fields": (fields, 5, 431),
    "head": (head, 200, 431),
    "length": (lambda size: post(b"b" * size), 20, 413),
    "length with zeros": (lambda size: get("/", f"Content-Length: {size:09}", method="POST") + b"b" * size, 20, 413),
    "chunks": (lambda size: chunked(b"c" * 15, b"d" * (size - 15)), 20, 413),
    "small chunks": (lambda size: chunked(*[b"c"] * size), 20, 413),
    "chunk extensions": (extensions, 16, 413),
    "trailers": (trailers, 5, 431),
    "trailer": (trailer, 50, 431),
    "all trailers": (all_trailers, 200, 431),
}


async def served(parser: str, parts: list[bytes], **settings: Any) -> tuple[list[int], list[str], bool]:
    """The statuses that a client gets, the paths that apps have answered, and whether the connection was closed."""
    paths = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            body = await read_body(receive)
        except ConnectionResetError:
            return
        paths.append(scope["path"])
        await answer(send, body)

    async with Connection(parser, app, **settings) as connection:
        for part in parts:
            connection.transport.feed(part)
            await settle(2)
        await connection.settle()
        return [response.status for response in connection.responses()], paths, connection.closed


@pytest.mark.parametrize("name", TABLE)
async def test_a_limit_of_http1(parser: str, name: str) -> None:
    """At the limit a request is served, and the next one; above it neither, and the connection ends."""
    make, size, status = TABLE[name]
    for parts in cuts(make(size) + SECOND):
        statuses, paths, closed = await served(parser, parts, settings=limits(**SMALL))
        assert (statuses, len(paths), closed) == ([200, 200], 2, False), parts
    for parts in cuts(make(size + 1) + SECOND):
        assert await served(parser, parts, settings=limits(**SMALL)) == ([status], [], True), parts


@pytest.mark.parametrize("name", TABLE)
async def test_a_limit_of_a_pipelined_request(parser: str, name: str) -> None:
    """The same behind another request, which is answered."""
    make, size, status = TABLE[name]
    for parts in cuts(SECOND + make(size) + SECOND):
        statuses, paths, closed = await served(parser, parts, settings=limits(**SMALL))
        assert (statuses, len(paths), closed) == ([200] * 3, 3, False), parts
    for parts in cuts(SECOND + make(size + 1) + SECOND):
        statuses, paths, closed = await served(parser, parts, settings=limits(**SMALL))
        assert (statuses, paths, closed) == ([200, status], ["/second"], True), parts


ENDLESS: dict[str, tuple[bytes, bytes, int]] = {
    "request line": (b"GET /", b"a", 414),
    "field name": (get()[:-2], b"a", 431),
    "field value": (get("/", "X: ")[:-4], b"a", 431),
    "white space": (get("/", "X:")[:-4], b" ", 431),
    "fields": (get()[:-2], b"X-A: b\r\n", 431),
    "short fields": (get()[:-2], b"X:\r\n", 431),
    "chunks": (get("/", "Transfer-Encoding: chunked", method="POST"), b"1\r\na\r\n", 413),
    "chunk extension": (get("/", "Transfer-Encoding: chunked", method="POST") + b"1;", b"a", 413),
    "trailers": (chunked(b"abc")[:-2], b"T: a\r\n", 431),
    "trailer": (chunked(b"abc")[:-2] + b"T: ", b"a", 431),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_what_does_not_end(parser: str, name: str) -> None:
    """With the default limits: what does not end is refused soon, and nothing behind it is read."""
    start, part, status = ENDLESS[name]
    for size in (500, 70_000):
        flood = [part * (size // len(part))] * (140_000 // size)
        settings = limits(body=10_000)
        assert await served(parser, [start, *flood], settings=settings) == ([status], [], True), size
        assert await served(parser, [start + flood[0], *flood], settings=settings) == ([status], [], True), size


@pytest.mark.parametrize(
    ("make", "size", "status"),
    [(line, 16383, 414), (field, 16383, 431), (fields, 100, 431)],
    ids=["request line", "field", "fields"],
)
async def test_the_defaults(parser: str, make: Any, size: int, status: int) -> None:
    """Without settings there are limits of a head, the same for every parser."""
    for step in (1000, 4000, 100_000):
        for more, expected in ((0, [200, 200]), (1, [status])):
            raw = make(size + more) + SECOND
            parts = [raw[at : at + step] for at in range(0, len(raw), step)]
            assert (await served(parser, parts))[0] == expected


async def test_the_default_of_a_head(parser: str) -> None:
    """64 KiB, and one more."""
    few = [f"X-{i}: " + "x" * 13_000 for i in range(4)]
    rest = 65_536 - len(get("/", *few, "Y: "))
    for step in (1000, 4000, 100_000):
        for more, expected in ((0, [200, 200]), (1, [431])):
            raw = get("/", *few, "Y: " + "y" * (rest + more)) + SECOND
            parts = [raw[at : at + step] for at in range(0, len(raw), step)]
            assert (await served(parser, parts))[0] == expected


class Watched:
    """A wire, and the sizes of what it was fed."""

    def __init__(self, wire: Any, seen: list[int]) -> None:
        self._wire = wire
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def feed(self, data: bytes) -> None:
        self._seen.append(len(data))
        self._wire.feed(data)


async def test_of_a_large_head_little_is_parsed(parser: str, caplog: pytest.LogCaptureFixture) -> None:
    """Ten megabytes in one segment: the parser sees of them what the limit allows, and no more."""
    async with Connection(parser, echo) as connection:
        seen: list[int] = []
        connection.protocol.wire = Watched(connection.protocol.wire, seen)  # type: ignore[assignment]
        await connection.feed(b"GET / HTTP/1.1\r\nX: " + b"x" * 10_000_000)
        assert [response.status for response in connection.responses()] == [431]
        assert connection.closed
        assert 16_000 < sum(seen) < 20_000
    assert "Request header fields too large." in caplog.text


@pytest.mark.parametrize("cut", [False, True])
async def test_100_continue_does_not_come_before_413(parser: str, cut: bool) -> None:
    """A client that asks is told at once that its body is too large."""
    raw = get("/", "Content-Length: 21", "Expect: 100-continue", method="POST")
    async with Connection(parser, echo, settings=limits(body=20)) as connection:
        await connection.feed(*([raw[i : i + 1] for i in range(len(raw))] if cut else [raw]))
        assert [response.status for response in connection.responses()] == [413]
        assert connection.closed


@pytest.mark.parametrize("value", ["200-ok", "100-continue-ish", "a=b;c", "\xff"])
async def test_an_unknown_expectation_is_ignored(parser: str, value: str) -> None:
    """RFC 9110 section 10.1.1 allows 417 and asks for nothing; uvicorn serves the request."""
    async with Connection(parser, echo) as connection:
        await connection.feed(get("/", "Content-Length: 2", f"Expect: {value}", method="POST"), b"ab")
        assert [(response.status, response.body) for response in connection.responses()] == [(200, b"/ ab")]


@pytest.mark.parametrize("digits", [19, 5000])
async def test_a_length_of_many_digits(parser: str, digits: int, caplog: pytest.LogCaptureFixture) -> None:
    """It is too large, or no length: refused with no sum done."""
    caplog.set_level(logging.CRITICAL)
    raw = get("/", "Content-Length: " + "9" * digits, method="POST") + b"abc"
    for parts in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        statuses, paths, closed = await served(parser, parts, settings=limits(body=20))
        assert (statuses in ([413], [400]), paths, closed) == (True, [], True)


async def test_a_body_above_its_limit_behind_the_response(parser: str) -> None:
    """Where the app has begun to answer, all that is left is to end, as if the client had gone: the app is told."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        while (message := await receive())["type"] == "http.request":
            seen.append(len(message["body"]))
        seen.append(message["type"])

    async with Connection(parser, app, settings=limits(body=20)) as connection:
        raw = get("/", "Transfer-Encoding: chunked", method="POST")
        await connection.feed(raw + b"a\r\n" + b"x" * 10 + b"\r\n", b"b\r\n" + b"x" * 11 + b"\r\n", SECOND)
        assert connection.closed
        [response] = connection.responses()
        assert (response.status, response.body, response.complete) == (200, b"part", False)
    assert seen == [10, "http.disconnect"]


@pytest.mark.parametrize("name", ["line", "field", "fields", "chunks"])
async def test_an_upgrade_has_the_same_limits(parser: str, name: str) -> None:
    """A handshake that is too large is none."""
    asks = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: a")
    raw = {
        "line": get("/" + "a" * 50, *asks),
        "field": get("/", *asks, "X: " + "a" * 50),
        "fields": get("/", *asks, "X: a", "Y: a"),
        "chunks": get("/", *asks[:2], "Transfer-Encoding: chunked", method="POST") + b"1;" + b"x" * 100,
    }[name]
    for parts in cuts(raw):
        statuses, paths, closed = await served(parser, parts, settings=limits(**SMALL))
        assert (statuses, paths, closed) == ([414 if name == "line" else 413 if name == "chunks" else 431], [], True)


# Over HTTP/2


def over_http2(size: int, kind: str) -> tuple[Any, bytes | None, Any]:
    """Fields, body and trailers of the same requests."""
    path, fields, body, trailers = "/", [], None, None
    match kind:
        case "request line":
            path = "/" + "a" * (size - len("GET / HTTP/1.1"))
        case "field":
            fields = [("x", "a" * (size - 3))]
        case "field of one name":
            fields = [("x" * (size - 3), "a")]
        case "fields":
            fields = [(f"x-{number}", "a") for number in range(size - 1)]
        case "cookies":  # which are one field for the app
            fields = [("cookie", f"a={number}") for number in range(8)] + [("x", "a")] * (size - 2)
        case "head":
            fields = [(name, "a" * 36) for name in "abc"]
            fields.append(("d", "d" * (size - len(get("/", *[": ".join(field) for field in fields], "d: ")))))
        case "length":
            fields, body = [("content-length", str(size))], b"b" * size
        case "data":
            body = b"b" * size
        case "trailers":
            body, trailers = b"abc", [("t", "a")] * size
        case "trailer":
            body, trailers = b"abc", [("t", "a" * (size - 3))]
    method = "GET" if body is None else "POST"
    head = [(":method", method), (":scheme", "http"), (":authority", "example.org"), (":path", path), *fields]
    return head, body, trailers


HTTP2: dict[str, tuple[int, str]] = {
    "request line": (60, "414"),
    "field": (50, "431"),
    "field of one name": (50, "431"),
    "fields": (5, "431"),
    "cookies": (5, "431"),
    "head": (200, "431"),
    "length": (20, "413"),
    "data": (20, "413"),
    "trailers": (5, ""),
    "trailer": (50, ""),
}


@pytest.mark.parametrize("step", [1, 5, 100_000])
@pytest.mark.parametrize("kind", HTTP2)
async def test_a_limit_of_http2(http2_wire: str, kind: str, step: int) -> None:
    """The same limits, by the same measure; a request above them ends its stream, and the next one is served."""
    paths = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = await read_body(receive)
        paths.append(scope["path"])
        await answer(send, body)

    size, status = HTTP2[kind]
    settings = Settings.of({"http2": {"wire": http2_wire}, "limits": SMALL})
    async with http2_client.Connection(app, settings=settings) as connection:
        for more, expected in ((0, "200"), (1, status)):
            head, body, trailers = over_http2(size + more, kind)
            paths.clear()
            stream_id = connection.request(head, end=body is None)
            if body is not None:
                for at in range(0, len(body), 7):
                    connection.client.send_data(stream_id, body[at : at + 7])
                connection.client.send_headers(stream_id, trailers or [("t", "a")], end_stream=True)
            data = connection.client.data_to_send()
            for at in range(0, len(data), step):
                connection.protocol.data_received(data[at : at + step])
                await settle(1)
            await connection.exchange()
            found = connection.answers[stream_id]
            assert (found.status, found.reset) == (expected, None if expected == "200" else found.reset)
            assert len(paths) == (expected == "200")
            assert found.ended or found.reset is not None
        assert (await connection.get("/next")).status == "200"


async def test_100_continue_does_not_come_before_413_over_http2(http2_wire: str) -> None:
    """Nor the body of a client that waits for it."""
    settings = Settings.of({"http2": {"wire": http2_wire}, "limits": {"body": 20}})
    async with http2_client.Connection(echo, settings=settings) as connection:
        fields = [*http2_client.POST, ("content-length", "21"), ("expect", "100-continue")]
        stream_id = connection.request(fields, end=False)
        await connection.exchange()
        found = connection.answers[stream_id]
        assert (found.status, found.informational, found.body) == ("413", [], b"Request body too large.")


async def test_a_body_above_its_limit_behind_the_response_over_http2(http2_wire: str) -> None:
    """The stream is reset, and the app told; with windows that are closed, a 413 does not wait."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/begun":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
        while (await receive())["type"] == "http.request":
            pass
        seen.append(scope["path"])

    settings = Settings.of({"http2": {"wire": http2_wire}, "limits": {"body": 20}})
    for path, status, window in (("/begun", "200", 65535), ("/", "413", 65535), ("/", "413", 0)):
        client_settings = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        async with http2_client.Connection(app, settings=settings, client_settings=client_settings) as connection:
            seen.clear()
            stream_id = connection.request([*http2_client.POST[:3], (":path", path)], b"x" * 15, end=False)
            await connection.exchange()
            connection.client.send_data(stream_id, b"x" * 6)
            await connection.exchange()
            found = connection.answers[stream_id]
            assert (found.status, seen, stream_id in connection.protocol.wire.streams) == (status, [path], False)
            assert found.reset is not None
            assert connection.protocol.wire.lingering == 0


# Pipelines


async def test_a_pipeline_is_bounded(parser: str) -> None:
    """However many requests come ahead, few of them are parsed and little is read, also by an app that asks for more;
    all are answered, in their order.
    """
    go = asyncio.Event()
    most = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal most
        await receive()
        asking = asyncio.ensure_future(receive())  # is the client still there?
        most = max(most, len(connection.protocol.pipeline))
        await go.wait()
        asking.cancel()
        await answer(send, scope["path"].encode())

    segment = b"".join(get(f"/{number}") for number in range(200))
    async with Connection(parser, app, settings=limits(pipeline=20)) as connection:
        for _ in range(5):
            connection.transport.feed(segment)
            await settle(2)
        assert len(connection.transport.undelivered) >= 3
        go.set()
        async with asyncio.timeout(20):
            while connection.state.total_requests < 1000:
                await asyncio.sleep(0)
        bodies = [response.body for response in connection.responses()]
        assert bodies == [b"/%d" % number for number in range(200)] * 5
        assert connection.transport.reading
    assert most <= 21


async def test_small_pipelines_are_bounded_as_well(parser: str) -> None:
    """The same where each segment is a small one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] == "http.request":
            pass

    async with Connection(parser, app, settings=limits(pipeline=20)) as connection:
        for _ in range(1000):
            connection.transport.feed(get("/"))
            await settle(1)
        assert len(connection.protocol.pipeline) <= 20
        assert not connection.transport.reading
        assert len(connection.transport.undelivered) > 950
