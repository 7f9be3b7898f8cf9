"""pounce/middleware/wsgi.py: the in-tree WSGI class (the fallback where a2wsgi is not installed)."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import wsgiref.validate
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from pounce.errors import MisusedByApp
from pounce.middleware import wsgi

pytestmark = pytest.mark.anyio

HEADERS = [("Content-Type", "text/plain")]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def scope_of(**changes: Any) -> Any:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("10.1.2.3", 5),
        "server": ("127.0.0.1", 8000),
        **changes,
    }


def wrapped(app: Any, workers: int = 2) -> wsgi._WSGIMiddleware:
    with pytest.warns(DeprecationWarning, match="native WSGI implementation is deprecated"):
        return wsgi._WSGIMiddleware(app, workers=workers)


class Exchange:
    """One request and what came of it: `body_parts` are handed out by `receive()`, `sent` is what the app said."""

    def __init__(self, *body_parts: bytes) -> None:
        self.messages: list[Any] = [
            {"type": "http.request", "body": part, "more_body": index < len(body_parts) - 1}
            for index, part in enumerate(body_parts or (b"",))
        ]
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return self.messages.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def run(self, app: Any, **scope: Any) -> None:
        middleware = wrapped(app)
        try:
            await middleware(scope_of(**scope), self.receive, self.send)
        finally:
            middleware.executor.shutdown(wait=False)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def test_a_validated_app_is_answered() -> None:
    """An app under the standard library's WSGI validator serves a request with no complaint."""

    @wsgiref.validate.validator
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        size = int(environ["CONTENT_LENGTH"])
        start_response("201 Created", HEADERS)
        return [environ["wsgi.input"].read(size)]

    exchange = Exchange(b"hello ", b"world")
    await exchange.run(app, method="POST", headers=[(b"content-length", b"11")])
    assert exchange.sent == [
        {"type": "http.response.start", "status": 201, "headers": [(b"Content-Type", b"text/plain")]},
        {"type": "http.response.body", "body": b"hello world", "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": False},
    ]


async def test_the_response_is_streamed() -> None:
    """A chunk is sent before the app is asked for the next one."""
    exchange = Exchange()
    order: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", HEADERS)
        for index in range(3):
            order.append(f"yield {index}, {len(exchange.sent)} sent")
            yield b"x"

    await exchange.run(app)
    assert order == ["yield 0, 0 sent", "yield 1, 2 sent", "yield 2, 3 sent"]


async def test_a_slow_client_holds_the_app_back() -> None:
    """The app's thread waits while `send()` does."""
    exchange = Exchange()
    produced: list[int] = []
    may_send = asyncio.Event()
    asked = asyncio.Event()

    async def send(message: Any) -> None:
        asked.set()
        await may_send.wait()
        exchange.sent.append(message)

    exchange.send = send

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", HEADERS)
        for index in range(100):
            produced.append(index)
            yield b"x"

    request = asyncio.ensure_future(exchange.run(app))
    await asked.wait()
    assert produced == [0]
    may_send.set()
    await request
    assert len(produced) == 100


async def test_the_head_waits_for_the_first_byte() -> None:
    """An app may replace its head through exc_info as long as no byte of the body is out."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", HEADERS)
        yield b""
        try:
            raise ValueError("half-way")
        except ValueError:
            start_response("500 Internal Server Error", [], sys.exc_info())
        yield b"sorry"

    exchange = Exchange()
    with pytest.raises(ValueError, match="half-way"):
        await exchange.run(app)
    assert exchange.sent[0] == {"type": "http.response.start", "status": 500, "headers": []}
    assert exchange.body == b"sorry"
    assert exchange.sent[-1]["more_body"] is False


async def test_exc_info_after_the_head_is_raised_in_the_app() -> None:
    """Once the head is sent the exception is raised out of start_response, as PEP 3333 asks."""
    raised: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", HEADERS)
        yield b"x"
        try:
            raise ValueError("too late")
        except ValueError:
            try:
                start_response("500 Internal Server Error", [], sys.exc_info())
            except ValueError as exc:
                raised.append(exc)
                raise

    exchange = Exchange()
    with pytest.raises(ValueError, match="too late"):
        await exchange.run(app)
    assert len(raised) == 1
    assert [message["type"] for message in exchange.sent] == ["http.response.start", "http.response.body"]


async def test_an_exception_of_the_app_goes_to_the_server() -> None:
    """An app that raises has sent nothing, and the server learns why."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise LookupError("mine")

    exchange = Exchange()
    with pytest.raises(LookupError, match="mine"):
        await exchange.run(app)
    assert exchange.sent == []


@pytest.mark.parametrize("calls", [0, 2])
async def test_start_response_is_called_exactly_once(calls: int) -> None:
    """Without exc_info neither no call nor a second one is accepted."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        for _ in range(calls):
            start_response("200 OK", HEADERS)
        return [b"x"]

    with pytest.raises(MisusedByApp, match="start_response"):
        await Exchange().run(app)


async def test_write_sends_at_once() -> None:
    """The callable that start_response returns sends its argument before the app goes on."""
    exchange = Exchange()
    sent_by_then: list[int] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", HEADERS)
        write(b"first")
        sent_by_then.append(len(exchange.sent))
        return [b" second"]

    await exchange.run(app)
    assert sent_by_then == [2]
    assert exchange.body == b"first second"


async def test_the_iterable_is_closed() -> None:
    """`close()` is called also where the iteration fails."""
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"x"
            raise ValueError

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Body:
        start_response("200 OK", HEADERS)
        return Body()

    with pytest.raises(ValueError):
        await Exchange().run(app)
    assert closed == [True]


async def test_a_client_that_leaves_in_the_middle_of_its_body_calls_nothing() -> None:
    """Half a request body never reaches the app."""
    called: list[bool] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        called.append(True)
        return []

    exchange = Exchange(b"half", b"never")
    exchange.messages[1] = {"type": "http.disconnect"}
    await exchange.run(app)
    assert (called, exchange.sent) == ([], [])


async def test_a_cancelled_request_lets_its_thread_end() -> None:
    """The app's thread does not wait for ever for a `send()` that will not happen."""
    exchange = Exchange()
    asked = asyncio.Event()
    ended = threading.Event()

    async def never(message: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    exchange.send = never

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", HEADERS)
        try:
            yield b"x"
        finally:
            ended.set()

    request = asyncio.ensure_future(exchange.run(app))
    await asked.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert await asyncio.to_thread(ended.wait, 10)


@pytest.mark.parametrize("type", ["lifespan", "websocket"])
async def test_only_http_is_served(type: str) -> None:
    """Other scopes are refused, which is how lifespan "auto" learns that there is none."""
    middleware = wrapped(None)
    with pytest.raises(RuntimeError, match=type):
        await middleware({"type": type}, None, None)


def test_the_environ_has_what_wsgi_asks_for() -> None:
    """Paths are split at the root path and seen as latin-1, headers renamed and joined, addresses filled in."""
    scope = scope_of(
        path="/ä/b",
        root_path="/ä",
        query_string=b"q=%20",
        scheme="https",
        headers=[(b"x-a", b"1"), (b"x-a", b"\xe9"), (b"content-type", b"a/b"), (b"content-length", b"0")],
    )
    environ = wsgi.build_environ(scope, {"type": "http.request", "body": b"", "more_body": False}, io.BytesIO())
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/ä".encode().decode("latin-1"),
        "PATH_INFO": "/b",
        "QUERY_STRING": "q=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "10.1.2.3",
        "HTTP_X_A": "1,é",
        "CONTENT_TYPE": "a/b",
        "CONTENT_LENGTH": "0",
        "wsgi.url_scheme": "https",
    }
    assert expected.items() <= environ.items()


@pytest.mark.parametrize("server,port", [(None, "80"), (("/run/x.sock", None), "80"), (("::1", 81), "81")])
def test_the_port_is_always_text(server: Any, port: str) -> None:
    """Also a unix socket, and a server that is not known, have a port in WSGI."""
    message: Any = {"type": "http.request"}
    assert wsgi.build_environ(scope_of(server=server, client=None), message, io.BytesIO())["SERVER_PORT"] == port


def test_a2wsgi_is_preferred() -> None:
    """`WSGIMiddleware` is a2wsgi's class wherever that is installed."""
    a2wsgi = pytest.importorskip("a2wsgi")
    assert wsgi.WSGIMiddleware is a2wsgi.WSGIMiddleware
