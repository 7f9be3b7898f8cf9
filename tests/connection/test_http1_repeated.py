"""The same request again and again on a connection: parsed twice, then known."""

from __future__ import annotations

import asyncio
import copy
import random
from typing import Any
from unittest.mock import patch

import pytest

from pounce.connection.http1_httptools import HttpToolsProtocol
from pounce.connection.state import ServerState
from pounce.middleware.proxy_headers import ProxyHeadersMiddleware
from pounce.wire.http1_httptools import HttpToolsWire
from tests.fakes import Connection, answer, chunked, get, post, settle

pytestmark = pytest.mark.anyio


class Recorder:
    """Keeps every scope as it was, then spoils it."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append({name: copy.copy(value) for name, value in scope.items()})
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        scope["headers"].append((b"x-added", b"by the app"))
        scope["asgi"]["version"] = "spoilt"
        scope["state"]["count"] = 1
        scope["path"] = "/spoilt"
        scope["router"] = object()
        await answer(send, scope["raw_path"] + body)


class Counting:
    """Counts what a wire is fed."""

    def __init__(self, connection: Connection) -> None:
        self.fed = 0
        wire = connection.protocol.wire
        wire._make_parser()
        feed = wire.feed

        def counted(data: bytes) -> None:
            self.fed += 1
            feed(data)

        wire.feed = counted  # type: ignore[method-assign]


async def test_a_repeated_request_is_parsed_twice(loop: Any) -> None:
    """Its scope is the same every time, and belongs to one request alone; the third one needs no parser."""
    app = Recorder()
    async with Connection("httptools", app, loop=loop) as connection:
        counting = Counting(connection)
        for _ in range(5):
            await connection.feed(get("/a%20b?c=d", "X-Field: e"))
        assert counting.fed == 2
        assert len(app.scopes) == 5
        assert all(scope == app.scopes[0] for scope in app.scopes)
        assert app.scopes[0]["path"] == "/a b"
        assert [response.body for response in connection.responses()] == [b"/a%20b"] * 5


async def test_other_requests_in_between_are_parsed(loop: Any) -> None:
    """Only the request right before is known."""
    app = Recorder()
    async with Connection("httptools", app, loop=loop) as connection:
        counting = Counting(connection)
        for _ in range(4):
            await connection.feed(get("/a"), get("/b"))
        assert counting.fed == 8
        assert [scope["path"] for scope in app.scopes] == ["/a", "/b"] * 4


NOT_REPEATABLE = {
    "a body": post(b"hello"),
    "chunks": chunked(b"hello"),
    "two requests": get("/a") + get("/b"),
    "a request and a half": get("/a") + b"GET /b HT",
    "Connection: close": get("/a", "Connection: close"),
    "HTTP/1.0": get("/a", version="1.0"),
    "expects": get("/a", "Expect: 100-continue"),
    "an upgrade nobody takes": get("/a", "Upgrade: h2c", "Connection: Upgrade"),
    "large": get("/a", "X-Large: " + "x" * 5000),
    "broken": b"GET / HTTP/1.1\r\nBro ken: x\r\n\r\n",
    "empty lines": b"\r\n\r\n" + get("/a"),
}


@pytest.mark.parametrize("name", NOT_REPEATABLE)
async def test_only_plain_requests_are_known(name: str) -> None:
    """Whatever has more to it than one head is parsed each time."""
    async with Connection("httptools", Recorder(), loop=asyncio.get_running_loop()) as connection:
        for _ in range(4):
            if not connection.closed:
                connection.transport.feed(NOT_REPEATABLE[name])
                await settle()
            assert connection.protocol._repeated is None


async def test_the_tail_of_a_cut_head_is_no_request() -> None:
    """A segment that looks like a request, but ended the head before it, counts as one only when it was one."""
    app = Recorder()
    request = get("/")
    async with Connection("httptools", app, loop=asyncio.get_running_loop()) as connection:
        await connection.feed(b"GET / HTTP/1.1\r\nX-Odd: ", request, request, request, request)
        names = [[name for name, _ in scope["headers"]] for scope in app.scopes]
        assert names == [[b"x-odd", b"host"], [b"host"], [b"host"], [b"host"]]


async def test_a_body_that_looks_like_a_request() -> None:
    """Bytes of a body are never taken for the request that they spell, even if the app has answered early."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(f"{scope['method']} {scope['path']}")
        await answer(send)

    request = get("/inner")
    async with Connection("httptools", app, loop=asyncio.get_running_loop()) as connection:
        await connection.feed(request, request, request)
        head = get("/outer", f"Content-Length: {3 * len(request)}", method="POST")
        await connection.feed(head, request, request, request, request)
        assert seen == ["GET /inner"] * 3 + ["POST /outer", "GET /inner"]


async def test_limits_and_retirement_hold_for_known_requests() -> None:
    """A worker that is replaced closes the connection with the next response, known or not."""
    app = Recorder()
    async with Connection("httptools", app, loop=asyncio.get_running_loop()) as connection:
        await connection.feed(*[get("/a")] * 4)
        connection.protocol.shutdown_when_idle()
        await connection.feed(get("/a"))
        assert connection.closed
        assert connection.responses()[-1].headers[b"connection"] == b"close"


async def test_a_known_request_waits_for_the_one_before(loop: Any) -> None:
    """Pipelined in segments of their own, they are answered in order, and reading pauses meanwhile."""
    gate = asyncio.Event()
    seen = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            await gate.wait()
        await answer(send, b"%d" % seen)

    async with Connection("httptools", app, loop=loop) as connection:
        await connection.feed(*[get("/a")] * 5)
        assert seen == 3
        assert not connection.transport.reading
        gate.set()
        await settle()
        assert [response.body for response in connection.responses()] == [b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("seed", range(30))
async def test_what_the_app_sees_is_what_a_parser_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments in any order, whole, cut, glued and repeated: scopes and responses are those of a parser at work."""
    dice = random.Random(seed)
    plain = [get("/a"), get("/b?c", "X: y"), get("/a", method="HEAD"), get("*", method="OPTIONS")]
    pieces = [*plain, *plain, post(b"hello"), chunked(b"x"), get("/a") + get("/b"), get("/a", "Expect: 100-continue")]
    segments: list[bytes] = []
    for _ in range(12):
        piece = dice.choice(pieces)
        for _ in range(dice.choice((1, 1, 2, 3, 5))):
            place = dice.randrange(1, len(piece))
            segments += (piece[:place], piece[place:]) if dice.random() < 0.2 else (piece,)
    outputs, fed = [], []
    for knows in (True, False):
        monkeypatch.setattr(HttpToolsProtocol, "knows_repeated_heads", knows)
        app = Recorder()
        async with Connection("httptools", app, loop=asyncio.get_running_loop()) as connection:
            counting = Counting(connection)
            await connection.feed(*segments)
            outputs.append((connection.take(), app.scopes, app.bodies))
            fed.append(counting.fed)
    assert fed[0] <= fed[1]
    assert outputs[0] == outputs[1]


def closing(path: str = "/a%20b?c=d", *fields: str, **options: Any) -> bytes:
    """The only request of its connection."""
    return get(path, *fields, "Connection: close", **options)


class Clients:
    """Connections to one worker, one after the other."""

    def __init__(self, app: Any = None) -> None:
        self.app = Recorder() if app is None else app
        self.state = ServerState()
        self.parsed: list[bool] = []
        self.written: list[bytes] = []

    async def connect(self, *segments: bytes, client: str = "127.0.0.2", **options: Any) -> None:
        """Open a connection, send, and note what came back and whether there was a parser."""
        with patch.object(HttpToolsWire, "_make_parser", autospec=True, side_effect=HttpToolsWire._make_parser) as made:
            await self._exchange(
                Connection("httptools", self.app, state=self.state, client=client, **options), segments
            )
        self.parsed.append(made.called)

    async def _exchange(self, connection: Connection, segments: tuple[bytes, ...]) -> None:
        async with connection:
            for segment in segments:
                if not connection.closed:
                    await connection.feed(segment)
            await connection.apps_done()
            assert connection.closed
            self.written.append(connection.take())


async def test_a_request_that_other_connections_brought_needs_no_parser(loop: Any) -> None:
    """The first and last request of two connections is known to those after them; their ends are their own."""
    clients = Clients()
    for host in ("127.0.0.2", "127.0.0.2", "10.0.0.1", "127.0.0.2"):
        await clients.connect(closing(), client=host, loop=loop)
    assert clients.parsed == [True, True, False, False]
    assert len(set(clients.written)) == 1
    assert b"\r\nconnection: close\r\n" in clients.written[0]
    first, second, third, fourth = clients.app.scopes
    assert first == second == fourth
    assert third == {**first, "client": ("10.0.0.1", 9000)}
    assert first["path"] == "/a b"


SEVERAL_TIMES_PARSED = {
    "others": [closing("/1"), closing("/2"), closing("/3"), closing("/4")],
    "HTTP/1.0": [get("/a", version="1.0")] * 4,
    "a body": [get("/a", "Connection: close", "Content-Length: 1", method="POST") + b"x"] * 4,
    "expects": [closing("/a", "Expect: 100-continue")] * 4,
    "large": [closing("/a", "X-Large: " + "x" * 5000)] * 4,
    "two requests": [closing("/a") + closing("/a")] * 4,
    "broken": [b"GET / HTTP/1.1\r\nConnection: close\r\nBro ken: x\r\n\r\n"] * 4,
    "a cookie": [closing("/a", "Cookie: a=b")] * 4,
    "credentials": [closing("/a", "AUTHORIZATION: Basic YTpi")] * 4,
}


@pytest.mark.parametrize("name", SEVERAL_TIMES_PARSED)
async def test_only_plain_single_requests_are_known(name: str) -> None:
    clients = Clients()
    for request in SEVERAL_TIMES_PARSED[name]:
        await clients.connect(request)
    assert clients.parsed == [True] * 4


async def test_a_request_behind_another_is_no_single_one() -> None:
    """What ends a connection that had more requests is not kept, and what is kept is not asked for behind others."""
    clients = Clients()
    await clients.connect(get("/a"), closing("/a"))
    await clients.connect(get("/a"), closing("/a"))
    assert not clients.state.single_requests
    await clients.connect(closing("/a"))
    await clients.connect(closing("/a"))
    assert clients.state.single_requests.get(closing("/a"))
    await clients.connect(get("/b"), closing("/a"))
    await clients.connect(b"GET /b HTTP/1.1\r\nX-Odd: ", closing("/a"))
    assert clients.parsed == [True] * 6
    assert [scope["path"] for scope in clients.app.scopes] == ["/a"] * 6 + ["/b", "/a", "/b"]
    assert [name for name, _ in clients.app.scopes[-1]["headers"]] == [b"x-odd", b"host", b"connection"]


async def test_a_worker_being_replaced_makes_no_single_requests() -> None:
    """That it closes the connection is its own doing: the client has not said that it would."""
    clients = Clients()
    for _ in range(2):
        async with Connection("httptools", clients.app, state=clients.state) as connection:
            connection.protocol.shutdown_when_idle()
            await connection.feed(get("/a"))
            assert connection.closed
    assert not clients.state.single_requests


@pytest.mark.parametrize("behind", [b"rubbish\r\n\r\n", get("/b"), closing(), b"x"])
async def test_what_follows_a_single_request_is_not_answered(behind: bytes) -> None:
    """Nor does it matter whether the request was parsed (RFC 9112 section 9.6)."""
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate.wait()
        await answer(send)

    clients = Clients(app)
    for _ in range(3):
        gate.clear()
        asyncio.get_running_loop().call_later(0.01, gate.set)
        await clients.connect(closing(), behind, behind)
    assert clients.parsed == [True, True, False]
    assert len(set(clients.written)) == 1
    assert clients.written[0].count(b"HTTP/1.1 ") == 1
    assert clients.written[0].startswith(b"HTTP/1.1 200 ")


async def test_forwarded_addresses_depend_on_the_peer() -> None:
    """A known request is another client's where a trusted proxy says so, and only there."""
    app = Recorder()
    proxied: Any = ProxyHeadersMiddleware(app, trusted_hosts="127.0.0.1")
    clients = Clients(proxied)
    request = closing("/", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
    for host in ("127.0.0.1", "127.0.0.1", "10.0.0.1", "127.0.0.1"):
        await clients.connect(request, client=host)
    assert clients.parsed == [True, True, False, False]
    assert [(scope["client"][0], scope["scheme"]) for scope in app.scopes] == [
        ("1.2.3.4", "https"),
        ("1.2.3.4", "https"),
        ("10.0.0.1", "http"),
        ("1.2.3.4", "https"),
    ]


async def test_single_requests_are_bounded() -> None:
    """Clients that send something else every time fill no memory."""
    clients = Clients()
    for number in range(300):
        await clients.connect(closing(f"/{number}"))
        assert len(clients.state.single_requests) <= 64
    assert clients.parsed == [True] * 300
    assert clients.state.single_requests.get(closing("/0"), "gone") == "gone"
