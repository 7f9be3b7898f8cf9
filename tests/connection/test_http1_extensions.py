"""Early hints and trailers over HTTP/1.1 (`exchange/extensions`): the very bytes, with every parser."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import Any

import h11
import pytest

from tests.connection.extensions_page import names_of_the_page
from tests.fakes import Connection, answer, get, post, read_body

pytestmark = pytest.mark.anyio

EARLY_HINT, TRAILERS = "http.response.early_hint", "http.response.trailers"
TE = "TE: trailers"


def start(*fields: tuple[bytes, bytes], status: int = 200, trailers: bool = True) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(fields), "trailers": trailers}


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def trailers(*fields: tuple[bytes, bytes], more: bool = False) -> dict[str, Any]:
    return {"type": TRAILERS, "headers": list(fields), "more_trailers": more}


def sends(*messages: dict[str, Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


SUM = sends(start((b"trailer", b"x-sum")), body(b"hello"), trailers((b"X-Sum", b"1")))


class Answered:
    """What an independent client (h11) reads: the interim responses, the response, its trailers."""

    def __init__(self) -> None:
        self.hints: list[list[tuple[bytes, bytes]]] = []
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        self.body = b""
        self.trailers: list[tuple[bytes, bytes]] = []


def read(data: bytes, *methods: str, closed: bool = False) -> list[Answered]:
    """The answers to these requests; nothing may be left over."""
    client = h11.Connection(h11.CLIENT)
    client.receive_data(data)
    if closed:
        client.receive_data(b"")
    answers = []
    for method in methods:
        if answers:
            client.start_next_cycle()
        client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        found = Answered()
        answers.append(found)
        while True:
            event = client.next_event()
            if isinstance(event, h11.InformationalResponse):
                assert event.status_code == 103
                found.hints.append(list(event.headers))
            elif isinstance(event, h11.Response):
                found.status, found.fields = event.status_code, dict(event.headers)
            elif isinstance(event, h11.Data):
                found.body += bytes(event.data)
            else:
                assert isinstance(event, h11.EndOfMessage), event
                found.trailers = list(event.headers)
                break
    assert client.trailing_data[0] == b""
    return answers


# What is advertised


async def test_they_are_advertised_to_http_1_1_alone(parser: str) -> None:
    """HTTP/1.0 knows neither interim responses nor chunks. What an app does to its scope, the next does not see."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["http_version"], {name: dict(content) for name, content in scope["extensions"].items()}))
        scope["extensions"][TRAILERS] = {"mine": 1}
        scope["extensions"].pop(EARLY_HINT, None)
        await answer(send)

    async with Connection(parser, app) as connection:
        await connection.feed(get(), get(), get("/", version="1.0"))
    both: dict[str, Any] = {EARLY_HINT: {}, TRAILERS: {}}
    assert seen == [("1.1", both), ("1.1", both), ("1.0", {})]


@pytest.mark.parametrize("message", [{"type": EARLY_HINT, "links": [b"</a>"]}, trailers()], ids=["hint", "trailers"])
async def test_http_1_0_knows_neither(parser: str, message: Any) -> None:
    """The app gets the error as of old; trailers that it promises there are no promise."""
    errors = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if message["type"] == TRAILERS:
            await send(start())
        try:
            await send(message)
        except RuntimeError as exc:
            errors.append(str(exc))
        if message["type"] != TRAILERS:
            await send(start())
        await send(body(b"hello"))

    async with Connection(parser, app) as connection:
        await connection.feed(get("/", TE, version="1.0"))
        data = connection.take()
        assert connection.closed
    assert data.startswith(b"HTTP/1.1 200 ")
    assert b"hello" in data
    assert b" 103 " not in data
    expected = "http.response.body" if message["type"] == TRAILERS else "http.response.start"
    assert errors == [f"Expected ASGI message '{expected}', but got '{message['type']}'."]


# Trailers


async def test_trailers_end_a_chunked_response(parser: str) -> None:
    """The last chunk, the fields of all messages, an empty line."""
    app = sends(
        start((b"trailer", b"x-sum")),
        body(b"hel", more=True),
        body(b"lo"),
        trailers((b"X-Sum", b"1"), (b"connection", b"close"), more=True),
        trailers((b"x-more", b"\xe4 2")),
    )
    async with Connection(parser, app) as connection:
        await connection.feed(get("/", TE))
        data = connection.take()
        assert not connection.closed
    assert data.endswith(b"\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nx-sum: 1\r\nx-more: \xe4 2\r\n\r\n")
    [found] = read(data, "GET")
    assert (found.status, found.body) == (200, b"hello")
    assert found.fields[b"trailer"] == b"x-sum"
    assert found.fields[b"transfer-encoding"] == b"chunked"
    assert found.trailers == [(b"x-sum", b"1"), (b"x-more", b"\xe4 2")]


@pytest.mark.parametrize("size", [0, 1, 20_000])
async def test_the_connection_goes_on_behind_trailers(parser: str, size: int) -> None:
    """Requests one after the other, and pipelined; with bodies that are written in one piece, and in several."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/plain":
            await answer(send, b"plain")
        else:
            data = await read_body(receive)
            await sends(start(), body(b"x" * size + data), trailers((b"x-sum", b"1")))(scope, receive, send)

    async with Connection(parser, app) as connection:
        await connection.feed(post(b"1", "/", TE), get("/plain"))
        await connection.feed(post(b"2", "/", TE) + get("/plain") + post(b"3", "/", TE) + get("/", TE))
        data = connection.take()
        assert connection.state.total_requests == 6
    answers = read(data, *["GET"] * 6)
    assert [found.body.strip(b"x") for found in answers] == [b"1", b"plain", b"2", b"plain", b"3", b""]
    assert [len(found.trailers) for found in answers] == [1, 0, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ((), False),
        (("TE: deflate",), False),
        (("TE: trailers-not",), False),
        (("X-TE: trailers",), False),
        (("te: Trailers", "Connection: TE"), True),
        (("TE: deflate;q=0.5 , trailers",), True),
        (("TE: deflate", "TE: trailers"), True),
    ],
    ids=str,
)
async def test_only_who_asks_gets_them(parser: str, fields: tuple[str, ...], sent: bool) -> None:
    """RFC 9110 section 6.5.1. To others the response ends as any other, and no trailer takes long."""
    async with Connection(parser, SUM) as connection:
        await connection.feed(get("/", *fields), get("/", *fields))
        data = connection.take()
    for found in read(data, "GET", "GET"):
        assert (found.body, found.trailers) == (b"hello", [(b"x-sum", b"1")] if sent else [])
    if not sent:
        assert data.endswith(b"\r\n0\r\n\r\n")


async def test_a_length_stays(parser: str) -> None:
    """Trailers are dropped, and the framing is the app's."""
    app = sends(start((b"content-length", b"5")), body(b"hello"), trailers((b"x-sum", b"1")))
    async with Connection(parser, app) as connection:
        await connection.feed(get("/", TE) + get("/", TE))
        data = connection.take()
        assert connection.state.total_requests == 2
    assert data.endswith(b"\r\n\r\nhello")
    assert b"chunked" not in data
    assert [found.body for found in read(data, "GET", "GET")] == [b"hello"] * 2


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 304)], ids=lambda value: str(value)
)
async def test_no_body_has_no_trailers(parser: str, method: str, status: int) -> None:
    """The connection goes on all the same."""
    app = sends(start(status=status), body(b""), trailers((b"x-sum", b"1")))
    async with Connection(parser, app) as connection:
        await connection.feed(get("/", TE, method=method), get("/", TE, method=method))
        data = connection.take()
        assert not connection.closed
    assert b"x-sum" not in data
    assert b"\r\n0\r\n" not in data
    assert [found.status for found in read(data, method, method)] == [status] * 2


async def test_a_close_comes_behind_trailers(parser: str) -> None:
    """Of the client's or of the app's."""
    app = sends(start((b"connection", b"close")), body(b"hello"), trailers((b"x-sum", b"1")))
    for request, answers in ((get("/", TE, "Connection: close"), SUM), (get("/", TE), app)):
        async with Connection(parser, answers) as connection:
            await connection.feed(request)
            data = connection.take()
            assert connection.closed
        [found] = read(data, "GET")
        assert (found.body, found.trailers) == (b"hello", [(b"x-sum", b"1")])


async def test_a_short_body_is_the_apps_error(parser: str, caplog: Any) -> None:
    """As without trailers: what there is is sent, and the connection ends."""
    app = sends(start((b"content-length", b"9")), body(b"hello"), trailers((b"x-sum", b"1")))
    async with Connection(parser, app) as connection:
        await connection.feed(get("/", TE))
        data = connection.take()
        assert connection.closed
    assert data.endswith(b"\r\n\r\nhello")
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "Response content shorter than Content-Length" in str(record.exc_info[1])


@pytest.mark.parametrize(
    "field",
    [
        (b"Content-Length", b"0"),
        (b"transfer-encoding", b"chunked"),
        (b"Trailer", b"x"),
        (b"set-cookie", b"a=b"),
        (b"content-type", b"a/b"),
        (b":status", b"200"),
        (b"x y", b"1"),
        (b"x", b"1\r\ny: 2"),
    ],
    ids=str,
)
async def test_what_no_trailer_may_be_is_refused(parser: str, field: tuple[bytes, bytes]) -> None:
    """The app is told; the response can still end."""
    errors = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"hello"))
        try:
            await send(trailers((b"x-not", b"1"), field))
        except RuntimeError as exc:
            errors.append(exc)
        await send(trailers((b"x-sum", b"1")))

    async with Connection(parser, app) as connection:
        await connection.feed(get("/", TE))
        [found] = read(connection.take(), "GET")
    assert len(errors) == 1
    assert (found.body, found.trailers) == (b"hello", [(b"x-sum", b"1")])


async def test_trailers_are_promised_first_and_then_due(parser: str, caplog: Any) -> None:
    """Without a promise the body's end is the end; with one, the app's return breaks the response off."""
    errors = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(trailers=scope["path"] == "/promised"))
        await send(body(b"hello"))
        try:
            await send(body(b"more") if scope["path"] == "/promised" else trailers())
        except RuntimeError as exc:
            errors.append(str(exc))

    async with Connection(parser, app) as connection:
        await connection.feed(get("/", TE))
        [found] = read(connection.take(), "GET")
        assert found.body == b"hello"
        assert not connection.closed
        await connection.feed(get("/promised", TE))
        assert connection.take().endswith(b"5\r\nhello\r\n")
        assert connection.closed
    assert errors == [
        f"Unexpected ASGI message '{TRAILERS}' sent, after response already completed.",
        f"Expected ASGI message '{TRAILERS}', but got 'http.response.body'.",
    ]
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
        "ASGI callable returned without completing response."
    ]


async def test_trailers_to_a_client_that_has_left_go_nowhere(parser: str) -> None:
    """And are no error."""
    left = asyncio.Event()
    done = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"hello"))
        await left.wait()
        await send(trailers((b"x-sum", b"1")))
        done.append(True)

    async with Connection(parser, app) as connection:
        await connection.feed(get("/", TE))
        connection.take()
        connection.transport.lose()
        left.set()
        await connection.apps_done()
        assert connection.take() == b""
        assert done == [True]


# Early hints


async def test_early_hints_come_before_the_response(parser: str) -> None:
    """At once, each in a 103 of its own, on every request of a connection; none behind the head."""
    goes_on = asyncio.Event()
    errors = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": EARLY_HINT, "links": [b"</a.css>; rel=preload", b"</b.js>"]})
        await send({"type": EARLY_HINT, "links": [b"</c.js>"]})
        await goes_on.wait()
        await send(start(trailers=False))
        try:
            await send({"type": EARLY_HINT, "links": [b"</late.js>"]})
        except RuntimeError as exc:
            errors.append(str(exc))
        await send(body(b"hello"))

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        hints = connection.take()
        assert hints == (
            b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n"
            b"HTTP/1.1 103 Early Hints\r\nlink: </c.js>\r\n\r\n"
        )
        goes_on.set()
        await connection.feed(get() + get())
        answers = read(hints + connection.take(), *["GET"] * 3)
    links = [[(b"link", b"</a.css>; rel=preload"), (b"link", b"</b.js>")], [(b"link", b"</c.js>")]]
    assert [found.hints for found in answers] == [links] * 3
    assert [found.body for found in answers] == [b"hello"] * 3
    assert errors == [f"Expected ASGI message 'http.response.body', but got '{EARLY_HINT}'."] * 3


@pytest.mark.parametrize("link", [b"</a>\r\nx: y", "</a>", None], ids=repr)
async def test_a_link_that_is_none_is_refused(parser: str, link: Any) -> None:
    """Nothing of the hint is sent, and the response is none the worse."""
    errors = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": EARLY_HINT, "links": [b"</fine>", link]})
        except RuntimeError as exc:
            errors.append(exc)
        await answer(send, b"hello")

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        [found] = read(connection.take(), "GET")
    assert len(errors) == 1
    assert (found.hints, found.body) == ([], b"hello")


async def test_hints_and_the_error_of_an_app(parser: str, caplog: Any) -> None:
    """An app that fails behind a hint is answered with a 500."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": EARLY_HINT, "links": [b"</a>"]})
        raise ValueError("the app's")

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        [found] = read(connection.take(), "GET")
    assert (found.hints, found.status) == ([[(b"link", b"</a>")]], 500)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["the app's"]


# The page


async def test_the_hints_of_the_page(parser: str) -> None:
    """docs/extensions.md: to HTTP/1.1, and not to HTTP/1.0."""
    async with Connection(parser, names_of_the_page()["hints"]) as connection:
        await connection.feed(get(), get("/", "Connection: close"))
        answers = read(connection.take(), "GET", "GET")
    assert [found.hints for found in answers] == [[[(b"link", b"</style.css>; rel=preload; as=style")]]] * 2
    assert [found.body for found in answers] == [b"the page"] * 2
    async with Connection(parser, names_of_the_page()["hints"]) as connection:
        await connection.feed(get(version="1.0"))
        assert connection.take().startswith(b"HTTP/1.1 200 ")


async def test_the_trailers_of_the_page(parser: str) -> None:
    """docs/extensions.md: the digest is that of the body."""
    async with Connection(parser, names_of_the_page()["trailers"]) as connection:
        await connection.feed(get("/", TE))
        [found] = read(connection.take(), "GET")
    assert found.body == b"line 0\nline 1\nline 2\n"
    assert found.trailers == [(b"x-sha256", hashlib.sha256(found.body).hexdigest().encode())]
    async with Connection(parser, names_of_the_page()["trailers"]) as connection:
        await connection.feed(get("/", TE, version="1.0"))
        assert b"line 2\n" in connection.take()
