"""How requests end where client or app do not do the usual: early answers, half-closed clients, changed scopes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.fakes import Connection, answer, chunked, echo, get, post, read_body, settle

pytestmark = pytest.mark.anyio


async def refuses(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"too large", 413)


async def test_an_early_answer_to_expect_closes(parser: str, loop: Any) -> None:
    """A client that asked whether to send its body may send it or not: no next request can be told from it."""
    async with Connection(parser, refuses, loop=loop) as connection:
        await connection.feed(get("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        assert connection.closed
        [response] = connection.responses()
        assert response.status == 413
        assert response.headers[b"connection"] == b"close"
        await connection.feed(get("/next"))
        assert connection.take() == b""


async def test_an_answer_to_expect_behind_its_body_closes_nothing(parser: str, loop: Any) -> None:
    """The body has come, asked for or not."""
    async with Connection(parser, refuses, loop=loop) as connection:
        await connection.feed(get("/", "Content-Length: 5", "Expect: 100-continue", method="POST") + b"hello")
        await connection.feed(get("/"))
        assert not connection.closed
        assert [response.status for response in connection.responses()] == [413, 413]


async def test_no_100_continue_without_a_body(parser: str, loop: Any) -> None:
    """RFC 9110 section 10.1.1: there is nothing to go on with."""
    async with Connection(parser, echo, loop=loop) as connection:
        await connection.feed(get("/", "Expect: 100-continue"))
        [response] = connection.responses()
        assert response.status == 200


async def test_an_app_may_change_its_scope(parser: str, loop: Any) -> None:
    """How a response is framed depends on the request, not on what the app makes of its scope."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["method"] = "GET"
        scope["http_version"] = "1.0"
        scope["headers"][:] = [(b"connection", b"close")]
        await answer(send, b"hello")

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/", method="HEAD"))
        await connection.feed(get("/", method="HEAD"))
        assert not connection.closed
        first, second = connection.responses(heads=(0, 1))
        assert first.body == second.body == b""


async def test_an_app_may_empty_its_scope(parser: str, loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The response leaves all the same; what is left of the access line is said on standard error."""
    caplog.set_level(logging.INFO)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope.clear()
        await answer(send, b"hello")

    async with Connection(parser, app, loop=loop) as connection:
        connection.protocol.access_log = True
        await connection.feed(get("/"))
        assert [response.body for response in connection.responses()] == [b"hello"]
        assert repr(connection.protocol)


async def test_keep_alive_0_is_said(parser: str, loop: Any) -> None:
    """A client that is told does not send its next request into a connection that closes."""
    async with Connection(parser, echo, loop=loop, timeout_keep_alive=0) as connection:
        await connection.feed(get("/"))
        [response] = connection.responses()
        assert response.headers[b"connection"] == b"close"
        assert connection.closed


class Gate:
    """An app that answers when it is let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.received: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await self.open.wait()
        await echo(scope, lambda: asyncio.sleep(0, {"type": "http.request", "body": b"", "more_body": False}), send)


async def eof(connection: Connection) -> bool:
    """What a transport does at the client's end of stream. Whether it stays open."""
    stays = bool(connection.protocol.eof_received())
    if not stays:
        connection.transport.close()
    await settle()
    return stays


@pytest.mark.parametrize("request_", [get("/a"), post(b"body", "/a"), chunked(b"body", path="/a")])
async def test_a_half_closed_client_gets_its_answer(parser: str, loop: Any, request_: bytes) -> None:
    """RFC 9112 section 9.6: who closes its side behind a request may wait for the answer. Then comes the end."""
    app = Gate()
    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(request_)
        assert await eof(connection)
        assert not connection.closed
        app.open.set()
        await settle()
        assert [response.body for response in connection.responses()] == [b"/a "]
        assert connection.closed


async def test_a_half_closed_client_gets_all_its_answers(parser: str, loop: Any) -> None:
    """Pipelined requests, parsed ahead or not, too."""
    app = Gate()
    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/a") + get("/b") + post(b"x", "/c"))
        assert await eof(connection)
        app.open.set()
        await connection.apps_done()
        await settle()
        assert [response.body for response in connection.responses()] == [b"/a ", b"/b ", b"/c "]
        assert connection.closed


async def test_a_half_closed_client_with_a_request_that_breaks_off(parser: str, loop: Any) -> None:
    """What is complete is answered; what is not has nobody who waits for it."""
    app = Gate()
    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/a") + post(b"hello", "/b")[:-2])
        stays = await eof(connection)
        app.open.set()
        if not stays:
            return  # parsed ahead: the connection ends as a whole
        await connection.apps_done()
        await settle()
        assert [response.body for response in connection.responses()] == [b"/a "]
        assert connection.closed


@pytest.mark.parametrize("segments", [[], [get("/")], [get("/")[:-2]], [post(b"hello")[:-1]]])
async def test_a_client_that_ends_without_a_request_in_hand_is_let_go(
    parser: str, loop: Any, segments: list[bytes]
) -> None:
    """Nothing, an answered request, half a head, half a body: the transport closes."""
    async with Connection(parser, echo, loop=loop) as connection:
        await connection.feed(*segments)
        assert not await eof(connection)


async def test_tls_knows_no_half_closed_client(parser: str, loop: Any) -> None:
    """asyncio's TLS transports end with the client's side."""
    app = Gate()
    connection = Connection(parser, app, loop=loop)
    connection.protocol.scheme = "https"
    async with connection:
        await connection.feed(get("/"))
        assert not await eof(connection)
        app.open.set()


async def test_an_app_that_asks_is_told_of_a_half_closed_client(
    parser: str, loop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Long polls and streams end then as with uvicorn, quietly, and so does the connection."""
    received: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        while not received or received[-1] != "http.disconnect":
            received.append((await receive())["type"])

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/"))
        assert await eof(connection)
        assert received == ["http.request", "http.disconnect"]
        assert connection.closed
    assert caplog.records == []


async def test_refusals_are_logged_once_a_second(parser: str, loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A client that comes again and again costs no line each time; the next line says how many there were."""
    async with Connection(parser, echo, loop=loop, limit_concurrency=1) as connection:
        for _ in range(5):
            connection.protocol.on_request("GET", b"/", "1.1", [], True, False, False, None)
        connection.protocol.pipeline.clear()
        assert [record.getMessage() for record in caplog.records] == ["Exceeded concurrency limit."]
        connection.state._over_concurrency._told_at -= 1.0
        connection.protocol.on_request("GET", b"/", "1.1", [], True, False, False, None)
        connection.protocol.pipeline.clear()
        assert caplog.records[-1].getMessage() == (
            "Exceeded concurrency limit. 5 requests were refused since the last such line."
        )


@pytest.mark.parametrize("value", ["100-continue", "100-Continue", "foo, 100-continue", "100-continue ,foo"])
async def test_expect_is_a_list(parser: str, loop: Any, value: str) -> None:
    """RFC 9110 section 10.1.1: 100-continue may be one of several expectations, in any case."""
    async with Connection(parser, echo, loop=loop) as connection:
        await connection.feed(get("/", "Content-Length: 1", f"Expect: {value}", method="POST"))
        assert connection.take().startswith(b"HTTP/1.1 100 ")
        await connection.feed(b"x")
        assert [response.body for response in connection.responses()] == [b"/ x"]


async def test_a_half_closed_client_gets_all_answers_of_apps_that_ask(parser: str, loop: Any) -> None:
    """An app that asks for the disconnect has reading resumed, which tells a loop's transport the end once more."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            await asyncio.sleep(0)
        await answer(send, scope["path"].encode())

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/a") + get("/b") + get("/c") + get("/d"))
        assert await eof(connection)
        for _ in range(20):
            if connection.transport.is_closing():
                break
            assert await eof(connection)  # as often as there is reading
        await connection.apps_done()
        await settle()
        assert [response.body for response in connection.responses()] == [b"/a", b"/b", b"/c", b"/d"]


async def test_an_app_that_ignores_every_error_leaves_the_loop_to_others() -> None:
    """What it sends out of order, or beyond its Content-Length, fails in a turn of its own, later from time to time."""
    failures = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal failures
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        if scope["path"] == "/order":
            await send({"type": "http.response.body", "body": b"k"})
        while failures < 100_000:
            try:
                await send({"type": "http.response.body", "body": b"too much", "more_body": True})
            except RuntimeError:
                failures += 1

    for path in ("/order", "/length"):
        failures = 0
        async with Connection("httptools", app) as connection:
            await connection.feed(get(path))
            await asyncio.sleep(0.05)
            assert 0 < failures < 100
            failures = 100_000
            await asyncio.sleep(0.15)


async def test_an_app_that_fails_behind_its_response(parser: str) -> None:
    """The connection ends, and the app of the next request, which runs already, is told: nothing more is written."""
    failed, told = asyncio.Event(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/next":
            await failed.wait()
            told.append((await receive())["type"])
            await answer(send, b"next")
            return
        await answer(send, b"first")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        failed.set()
        raise RuntimeError("behind its response")

    async with Connection(parser, app) as connection:
        await connection.feed(get("/") + get("/next"))
        [first] = connection.responses()
        assert first.body == b"first"
        assert connection.closed
    assert told == ["http.disconnect"]
