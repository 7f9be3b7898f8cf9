"""An HTTP/1.1 connection on a fake transport, over every parser and kind of loop: order, flow control, early answers,
upgrades, disconnects, limits, context.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from pounce.connection.base import Phase
from tests.fakes import Connection, answer, chunked, cuts, echo, get, post, read_body, settle

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200, "headers": []}


class Gate:
    """An app that answers each request with its path, those in `slow` only when their gate is opened."""

    def __init__(self, *slow: str) -> None:
        self.gates = {path: asyncio.Event() for path in slow}
        self.seen: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.seen.append(path)
        if path in self.gates:
            await self.gates[path].wait()
        await answer(send, path.encode())

    async def open(self, path: str) -> None:
        self.gates[path].set()
        await settle()


def bodies(connection: Connection) -> list[bytes]:
    return [response.body for response in connection.responses()]


# Requests in a row


async def test_requests_however_they_are_cut(parser: str, loop: Any) -> None:
    """Whole, byte by byte or cut at random: each request is answered once, in order, with its own body."""
    raw = get("/a") + post(b"hello", "/b") + chunked(b"x", b"yz", path="/c") + get("/d")
    for parts in cuts(raw):
        async with Connection(parser, echo, loop=loop) as connection:
            await connection.feed(*parts)
            assert bodies(connection) == [b"/a ", b"/b hello", b"/c xyz", b"/d "]
            assert connection.state.total_requests == 4
            assert connection.transport.reading


async def test_pipelined_answers_keep_their_order(parser: str, loop: Any) -> None:
    """Requests behind a slow one wait for it, and their apps are not even started."""
    app = Gate("/slow")
    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/slow") + get("/b"), get("/c"))
        assert app.seen == ["/slow"]
        assert connection.take() == b""
        assert not connection.transport.reading
        await app.open("/slow")
        assert bodies(connection) == [b"/slow", b"/b", b"/c"]
        assert connection.transport.reading


async def test_a_slow_request_in_the_middle(parser: str, loop: Any) -> None:
    """What comes before a slow request is answered at once, what comes after it waits; further segments, too."""
    app = Gate("/slow")
    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/a") + get("/slow") + get("/b"), get("/c"))
        assert bodies(connection) == [b"/a"]
        await app.open("/slow")
        assert bodies(connection) == [b"/slow", b"/b", b"/c"]


async def test_many_pipelined_requests_are_all_answered(parser: str, loop: Any) -> None:
    """A segment full of requests is answered in order, in a bounded number of held-back bytes."""
    async with Connection(parser, echo, loop=loop) as connection:
        await connection.feed(b"".join(get(f"/{number}") for number in range(500)))
        async with asyncio.timeout(5):
            while connection.state.total_requests < 500:
                await settle()
        await settle()  # the last ones may wait for the end of their turn
        assert bodies(connection) == [b"/%d " % number for number in range(500)]


async def test_pipelined_responses_stop_where_the_client_does_not_read() -> None:
    """Answers to pipelined requests do not pile up: the write buffer's limit stops the apps."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x" * 60_000)

    async with Connection("httptools", app) as connection:
        write = connection.transport.write

        def full(data: bytes) -> None:
            write(data)
            connection.protocol.pause_writing()

        connection.transport.write = full  # type: ignore[method-assign]
        await connection.feed(get() * 1000)
        assert len(connection.transport.written) < 4_000_000
        assert connection.state.total_requests < 100


async def test_connection_close_ends_it(parser: str, loop: Any) -> None:
    """What is pipelined behind `Connection: close` is not answered (RFC 9112 section 9.6)."""
    app = Gate()
    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/a", "Connection: close") + get("/b"))
        (response,) = connection.responses()
        assert response.headers.get(b"connection", b"close") == b"close"
        assert connection.closed
        assert app.seen == ["/a"]


async def test_the_app_may_close(parser: str, loop: Any) -> None:
    """`connection: close` in a response ends the connection after it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"ok", 200, (b"Connection", b"close"))

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/a") + get("/b"))
        assert len(connection.responses()) == 1
        assert connection.closed


async def test_http_1_0_is_closed(parser: str, loop: Any) -> None:
    """HTTP/1.0 is answered and closed."""
    async with Connection(parser, echo, loop=loop) as connection:
        await connection.feed(get("/a", version="1.0"))
        assert bodies(connection) == [b"/a "]
        assert connection.closed


async def test_http_1_0_without_a_length(parser: str) -> None:
    """A response without a length to HTTP/1.0 is not chunked, and is complete when the connection ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})

    async with Connection(parser, app) as connection:
        await connection.feed(get(version="1.0"))
        (response,) = connection.responses()
        assert response.body == b"ab"
        assert b"transfer-encoding" not in response.headers
        assert connection.closed


# Bodies


async def test_flow_control_of_a_large_body(parser: str, loop: Any) -> None:
    """Over 64 KiB of unread body reading pauses; the app's `receive()` resumes it; nothing is lost."""
    proceed = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await proceed.wait()
        await answer(send, b"%d" % len(await read_body(receive)))

    async with Connection(parser, app, loop=loop) as connection:
        raw = post(b"x" * 300_000)
        for start in range(0, len(raw), 30_000):
            connection.transport.feed(raw[start : start + 30_000])
            await settle(3)
        assert not connection.transport.reading
        assert connection.transport.undelivered
        proceed.set()
        await settle(60)
        assert bodies(connection) == [b"300000"]


async def test_exactly_the_high_water_mark_does_not_pause(parser: str, loop: Any) -> None:
    """64 KiB may wait; one byte more pauses reading."""
    for size, reading in ((65536, True), (65537, False)):
        app = Gate("/")
        async with Connection(parser, app, loop=loop) as connection:
            head = get("/", "Content-Length: 70000", method="POST")
            await connection.feed(head, b"x" * size)
            assert connection.transport.reading is reading
            await app.open("/")


async def test_a_large_body_of_a_waiting_request(parser: str, loop: Any) -> None:
    """A pipelined upload waits at the client, and arrives whole once its turn has come."""
    slow = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await slow.wait()
        await answer(send, b"%d" % len(await read_body(receive)))

    async with Connection(parser, app, loop=loop) as connection:
        raw = get("/slow") + post(b"x" * 200_000, "/up") + get("/c")
        for start in range(0, len(raw), 50_000):
            connection.transport.feed(raw[start : start + 50_000])
        await settle()
        assert not connection.transport.reading
        slow.set()
        await settle(60)
        assert bodies(connection) == [b"0", b"200000", b"0"]


async def test_early_answer_then_the_next_request(parser: str, loop: Any) -> None:
    """A request answered before its body arrived keeps the connection; the rest is dropped, the next one answered."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, scope["path"].encode())

    for raw in (post(b"a" * 200_000, "/a"), chunked(b"a" * 100_000, b"b" * 100_000, path="/a")):
        async with Connection(parser, app, loop=loop) as connection:
            await connection.feed(raw[:200], raw[200:70_000], raw[70_000:] + get("/b"))
            assert bodies(connection) == [b"/a", b"/b"]
            await connection.feed(get("/c"))
            assert bodies(connection) == [b"/c"]


async def test_early_answer_in_one_segment(parser: str, loop: Any) -> None:
    """The same where head and body come in one segment, with reading paused by the body's size."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, scope["path"].encode())

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(post(b"a" * 100_000, "/a") + get("/b"))
        assert bodies(connection) == [b"/a", b"/b"]
        assert connection.transport.reading


async def test_early_answer_that_closes_with_reading_paused(parser: str, loop: Any) -> None:
    """A transport that is closing is not asked to read again: uvloop raises for that."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"no", 413, (b"connection", b"close"))

    async with Connection(parser, app, loop=loop, sweeps=True) as connection:
        await connection.feed(get("/", "Content-Length: 900000", method="POST") + b"a" * 100_000)
        assert bodies(connection) == [b"no"]
        assert connection.closed


async def test_the_rest_of_an_early_answered_body_leaves_the_connection_idle(parser: str) -> None:
    """Once the rest of the body is read the connection counts as idle, so that the sweeper can end it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)

    for raw in (post(b"hello"), chunked(b"hello")):
        async with Connection(parser, app, sweeps=True) as connection:
            await connection.feed(raw[:-3])
            assert connection.protocol.phase is Phase.NEWLY_IDLE
            await connection.feed(raw[-3:])
            assert connection.protocol.phase is Phase.NEWLY_IDLE


async def test_expect_100_continue(parser: str, loop: Any) -> None:
    """`100 Continue` goes out when the app asks for the body, once, and the body follows."""
    proceed = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await proceed.wait()
        await echo(scope, receive, send)

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/", "Content-Length: 2", "Expect: 100-continue", method="POST"))
        assert connection.take() == b""
        proceed.set()
        await settle()
        assert [response.status for response in connection.responses()] == [100]
        await connection.feed(b"h", b"i")
        assert bodies(connection) == [b"/ hi"]


async def test_no_100_continue_for_an_app_that_refuses(parser: str, loop: Any) -> None:
    """An app that answers without reading gets no `100 Continue` sent."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"no", 403)

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/", "Content-Length: 2", "Expect: 100-continue", method="POST"))
        assert [response.status for response in connection.responses()] == [403]


# Responses


async def test_a_head_does_not_wait_for_its_body(parser: str, loop: Any) -> None:
    """Where the app waits after `http.response.start`, the head leaves at once: an SSE client sees it."""
    proceed = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await proceed.wait()
        await send({"type": "http.response.body", "body": b"later"})

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get())
        head = connection.take()
        assert head.startswith(b"HTTP/1.1 200")
        assert head.endswith(b"\r\n\r\n")
        proceed.set()
        await settle()
        assert b"later" in connection.take()


async def test_a_head_after_waiting_does_not_wait_either(parser: str, loop: Any) -> None:
    """The same where the app had waited before it sent the head."""
    proceed = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        await send(START)
        await proceed.wait()
        await send({"type": "http.response.body", "body": b"later"})

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get())
        assert connection.take().endswith(b"\r\n\r\n")
        proceed.set()


async def test_each_part_of_a_body_leaves_at_once(parser: str, loop: Any) -> None:
    """Parts of a streamed body are not held back for one another."""
    steps = [asyncio.Event() for _ in range(3)]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for step in steps:
            await step.wait()
            await send({"type": "http.response.body", "body": b"tick", "more_body": True})
        await send({"type": "http.response.body"})

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get())
        connection.take()
        for step in steps:
            step.set()
            await settle()
            assert connection.take().startswith(b"4\r\ntick\r\n")


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 32767, 32768, 65535, 65536, 65537, 300_000])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_sizes_and_kinds_of_bodies(parser: str, size: int, kind: Callable[[bytes], Any]) -> None:
    """Bodies around the size up to which they join their head, whatever their type, in one or two parts."""
    payload = bytes(range(256)) * (size // 256) + b"z" * (size % 256)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [] if scope["path"] == "/chunked" else [(b"content-length", b"%d" % size)]
        await send({**START, "headers": headers})
        await send({"type": "http.response.body", "body": kind(payload[: size // 2]), "more_body": True})
        await send({"type": "http.response.body", "body": kind(payload[size // 2 :])})

    async with Connection(parser, app) as connection:
        await connection.feed(get("/length") + get("/chunked") + get("/length"))
        assert bodies(connection) == [payload] * 3


async def test_the_answer_to_head_with_a_large_body(parser: str, loop: Any) -> None:
    """An app that sends its body in answer to HEAD, too, sends nothing but the head."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            await asyncio.sleep(0)
        await answer(send, b"x" * 100_000)

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/", method="HEAD") + get("/wait", method="HEAD") + get())
        first, second, third = connection.responses(heads=(0, 1))
        assert first.headers[b"content-length"] == second.headers[b"content-length"] == b"100000"
        assert third.body == b"x" * 100_000


async def test_a_buffer_may_be_changed_after_send(parser: str, loop: Any) -> None:
    """What was sent is what the buffer held at that moment."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        buffer = bytearray(b"one")
        await send({**START, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": buffer, "more_body": True})
        buffer[:] = b"two"
        await send({"type": "http.response.body", "body": memoryview(buffer)})
        buffer[:] = b"xxx"

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get())
        assert bodies(connection) == [b"onetwo"]


@pytest.mark.parametrize("body", ["text", 5])
async def test_a_body_that_is_not_bytes_is_refused(
    parser: str, loop: Any, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A str as body raises an error in the app's `send()`; the connection ends, since the head is gone already."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": body})

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get())
        assert connection.closed
        assert b"text" not in connection.take()
    assert "must be bytes" in caplog.text


async def test_a_slow_client_stops_the_app(parser: str, loop: Any) -> None:
    """While the write buffer is full `send()` waits; it goes on when there is room."""
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for number in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sent.append(number)
        await send({"type": "http.response.body"})

    async with Connection(parser, app, loop=loop) as connection:
        connection.protocol.pause_writing()
        await connection.feed(get())
        assert sent == []
        connection.protocol.resume_writing()
        await settle()
        assert sent == [0, 1, 2]


# The client leaves


async def test_disconnect_while_waiting_in_receive(parser: str, loop: Any) -> None:
    """A waiting `receive()` returns `http.disconnect`, and each further one does so again."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(4):
            seen.append((await receive())["type"])
        await send(START)  # goes nowhere, and is no error (spec_version 2.3)

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get())
        assert seen == ["http.request"]
        connection.transport.lose()
        await settle()
        assert seen == ["http.request"] + ["http.disconnect"] * 3
        assert connection.take() == b""


async def test_disconnect_while_waiting_for_the_client_to_read(parser: str, loop: Any) -> None:
    """A `send()` that waits for a full write buffer returns when the client is gone."""
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        done.set()

    async with Connection(parser, app, loop=loop) as connection:
        connection.protocol.pause_writing()
        await connection.feed(get())
        assert not done.is_set()
        connection.transport.lose(ConnectionResetError())
        await settle()
        assert done.is_set()


async def test_disconnect_forgets_requests_that_wait(parser: str, loop: Any) -> None:
    """Requests behind the one in hand are not started after the client has left."""
    app = Gate("/slow")
    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/slow") + get("/b"))
        connection.transport.lose()
        await app.open("/slow")
        assert app.seen == ["/slow"]


async def test_the_answer_completes_a_waiting_receive(parser: str, loop: Any) -> None:
    """A child task that waits for a disconnect is told `http.disconnect` when the response is complete."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        listener = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await answer(send)
        seen.append((await listener)["type"])

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get())
        assert seen == ["http.disconnect"]


async def test_no_message_comes_twice(parser: str, loop: Any) -> None:
    """After the end of the body `receive()` waits for the disconnect, also where the body's end was not waited for."""
    proceed, seen = asyncio.Event(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())  # waits for the first part
        await proceed.wait()
        while seen[-1]["type"] == "http.request":  # the rest is here already
            seen.append(await receive())

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/", "Content-Length: 4", method="POST"), b"ab", b"cd")
        proceed.set()
        await settle()
        assert [(message.get("body"), message.get("more_body")) for message in seen] == [(b"ab", True), (b"cd", False)]
        connection.transport.lose()


# Broken requests

BROKEN = b"GET / HTTP/1.1\r\nno colon here\r\n\r\n"


async def test_a_400_waits_for_the_answers_before_it(parser: str, loop: Any) -> None:
    """A broken request behind an unanswered one is refused after that one's answer, and what follows is dropped."""
    app = Gate("/slow")
    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/slow") + get("/b") + BROKEN + get("/never"))
        assert connection.take() == b""
        await app.open("/slow")
        first, second, last = connection.responses()
        assert (first.body, second.body, last.status) == (b"/slow", b"/b", 400)
        assert connection.closed
        assert app.seen == ["/slow", "/b"]


async def test_bytes_behind_a_400_are_dropped(loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """While a refusal waits for its turn, more bytes are neither parsed nor kept, nor refused again."""
    app = Gate("/slow")
    async with Connection("httptools", app, loop=loop) as connection:
        await connection.feed(get("/slow") + BROKEN)
        connection.protocol.flow.resume_reading()
        await connection.feed(get("/x"), BROKEN)
        await app.open("/slow")
        assert [response.status for response in connection.responses()] == [200, 400]
        assert app.seen == ["/slow"]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "Invalid HTTP request received."
    ]


async def test_a_body_that_breaks_off(parser: str, loop: Any) -> None:
    """A broken body is refused at once; the app that waits for it is told a disconnect and sends nothing any more."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await read_body(receive)
        except ConnectionResetError:
            seen.append("gone")
        await answer(send, b"too late")

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/", "Transfer-Encoding: chunked", method="POST") + b"2\r\nab\r\n", b"xyz\r\n")
        (response,) = connection.responses()
        assert response.status == 400
        assert seen == ["gone"]
        assert connection.closed


async def test_a_body_that_breaks_off_in_the_middle_of_the_answer(parser: str, loop: Any) -> None:
    """No 400 is written into a response that has begun: the connection ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await receive()
        await receive()

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/", "Transfer-Encoding: chunked", method="POST") + b"2\r\nab\r\n", b"xyz\r\n")
        (response,) = connection.responses()
        assert (response.status, response.body, response.complete) == (200, b"abc", False)
        assert connection.closed


async def test_a_broken_body_behind_a_slow_request(loop: Any) -> None:
    """A pipelined request whose body breaks off is never started; the one before it is answered."""
    app = Gate("/slow")
    async with Connection("httptools", app, loop=loop) as connection:
        await connection.feed(get("/slow") + get("/b", "Transfer-Encoding: chunked", method="POST") + b"zz\r\n")
        await app.open("/slow")
        assert [response.status for response in connection.responses()] == [200, 400]
        assert app.seen == ["/slow"]


# Limits


async def test_a_small_head_behind_a_large_body_is_not_too_large() -> None:
    """The end of an upload in a head's first segment does not count towards the head."""
    raw = post(b"x" * 600_000, "/up") + get("/b", "X-Long: " + "y" * 1000)
    for cut in range(len(raw) - 1100, len(raw), 97):

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await answer(send, b"%d" % len(await read_body(receive)))

        async with Connection("httptools", app) as connection:
            for part in (raw[:300_000], raw[300_000:cut], raw[cut : cut + 5], raw[cut + 5 :]):
                connection.transport.feed(part)
                await settle(4)
            await settle()
            assert bodies(connection) == [b"600000", b"0"]


async def test_large_chunked_uploads_are_not_bounded() -> None:
    """Megabytes in chunks of any size pass: only what is not body is counted."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"%d" % len(await read_body(receive)))

    for raw, size in (
        (chunked(*[b"x" * 1000] * 2000), 2_000_000),
        (chunked(b"x" * 2_000_000), 2_000_000),
        (chunked(*[b"x"] * 100_000), 100_000),
    ):
        for step in (262_144, 50_001):
            async with Connection("httptools", app) as connection:
                for start in range(0, len(raw), step):
                    connection.transport.feed(raw[start : start + step])
                    await settle(2)
                await connection.settle(200)
                assert bodies(connection) == [b"%d" % size]
                await connection.feed(get())
                assert bodies(connection) == [b"0"]


async def test_limit_concurrency(parser: str, loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """At the limit of connections a request is answered 503 and its connection closed."""
    async with Connection(parser, echo, loop=loop, limit_concurrency=1) as connection:
        await connection.feed(get() + get())
        (response,) = connection.responses()
        assert (response.status, response.body) == (503, b"Service Unavailable")
        assert connection.closed
    assert "Exceeded concurrency limit." in caplog.text


async def test_the_state_is_copied_for_each_request(parser: str, loop: Any) -> None:
    """`scope["state"]` is the request's own copy of the lifespan's state."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["seen"] += 1
        await answer(send, b"%d" % scope["state"]["seen"])

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get() + get())
        assert bodies(connection) == [b"2", b"2"]
        assert connection.app_state == {"seen": 1}


# Idle, shutdown, retiring


async def test_the_keep_alive_timer(parser: str, loop: Any) -> None:
    """Without a sweeper a timer runs while the connection is idle, and only then."""
    app = Gate("/slow")
    async with Connection(parser, app, loop=loop, timeout_keep_alive=0) as connection:
        await connection.feed(get("/slow"))
        assert connection.protocol.timeout_keep_alive_task is None
        await app.open("/slow")
        async with asyncio.timeout(5):
            while not connection.closed:
                await asyncio.sleep(0)
        assert bodies(connection) == [b"/slow"]
    assert connection.protocol.timeout_keep_alive_task is None


async def test_the_timer_is_cancelled_by_data_and_by_a_reset(parser: str, loop: Any) -> None:
    """No timer outlives the idle time, nor a connection that was reset (uvicorn's does, and holds the connection)."""
    app = Gate("/slow")
    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/a"))
        timer = connection.protocol.timeout_keep_alive_task
        assert timer is not None
        await connection.feed(get("/slow"))
        assert timer.cancelled()
        await app.open("/slow")
        timer = connection.protocol.timeout_keep_alive_task
        assert timer is not None
        connection.transport.lose(ConnectionResetError())
        assert timer.cancelled()


async def test_the_sweeper_sees_who_is_idle(parser: str) -> None:
    """With a sweeper there is no timer: `idle` says since when."""
    app = Gate("/slow")
    async with Connection(parser, app, sweeps=True) as connection:
        protocol = connection.protocol
        await connection.feed(get("/a"))
        assert protocol.timeout_keep_alive_task is None
        assert protocol.phase is Phase.NEWLY_IDLE
        await connection.feed(get("/slow"))
        assert protocol.phase is Phase.BUSY
        await app.open("/slow")
        assert protocol.phase is Phase.NEWLY_IDLE
        protocol.timeout_keep_alive_handler()
        assert connection.closed


async def test_shutdown_of_an_idle_connection(parser: str, loop: Any) -> None:
    """An idle connection is closed at once, and so is one that has sent nothing yet."""
    for raw in (b"", get()):
        async with Connection(parser, echo, loop=loop) as connection:
            await connection.feed(*([raw] if raw else []))
            connection.protocol.shutdown()
            assert connection.closed


async def test_shutdown_during_a_request(parser: str, loop: Any) -> None:
    """The request in hand is answered, with the word that the connection ends."""
    app = Gate("/slow")
    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/slow"))
        connection.protocol.shutdown()
        assert not connection.closed
        await app.open("/slow")
        (response,) = connection.responses()
        assert response.headers[b"connection"] == b"close"
        assert connection.closed


async def test_a_retiring_connection_ends_with_its_next_answer(parser: str, loop: Any) -> None:
    """A worker that is replaced lets an idle client send one more request, and says that it was the last."""
    async with Connection(parser, echo, loop=loop) as connection:
        await connection.feed(get("/a"))
        connection.protocol.shutdown_when_idle()
        assert not connection.closed
        connection.take()
        await connection.feed(get("/b"))
        (response,) = connection.responses()
        assert response.headers[b"connection"] == b"close"
        assert connection.closed


# Upgrades


class FakeWebSocket(asyncio.Protocol):
    """Keeps what it is given."""

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        transport.websocket = self

    def data_received(self, data: bytes) -> None:
        self.received += data


UPGRADE = get("/ws?a=b", "Connection: Upgrade", "Upgrade: WebSocket", "X: y")
AS_REPLAYED = UPGRADE.replace(b"Host", b"host").replace(b"Connection", b"connection").replace(b"X: y", b"x: y")
AS_REPLAYED = AS_REPLAYED.replace(b"Upgrade: ", b"upgrade: ")


async def test_websocket_upgrade(parser: str, loop: Any) -> None:
    """The WebSocket class gets the request as it came, with the bytes behind it, and then the transport."""
    for parts in cuts(UPGRADE + b"\x81\x01a"):
        async with Connection(parser, echo, loop=loop, ws_protocol_class=FakeWebSocket) as connection:
            for part in parts:
                connection.transport.feed(part)
            await settle()
            websocket = connection.transport.protocol
            assert isinstance(websocket, FakeWebSocket)
            assert websocket.received == AS_REPLAYED + b"\x81\x01a"
            assert connection.protocol not in connection.state.connections
            assert connection.protocol.timeout_keep_alive_task is None
            assert connection.take() == b""


async def test_websocket_upgrade_behind_an_active_request(parser: str, loop: Any) -> None:
    """An upgrade waits for the answers before it; frames that come too early are kept, in order."""
    app = Gate("/slow")
    async with Connection(parser, app, loop=loop, ws_protocol_class=FakeWebSocket) as connection:
        await connection.feed(get("/slow") + get("/b") + UPGRADE + b"1", b"2", b"3")
        assert connection.transport.protocol is connection.protocol
        await app.open("/slow")
        websocket = connection.transport.protocol
        assert isinstance(websocket, FakeWebSocket)
        await settle()
        assert bodies(connection) == [b"/slow", b"/b"]
        assert websocket.received == AS_REPLAYED + b"123"
        assert connection.transport.reading


async def test_an_upgrade_behind_connection_close_is_not_taken(parser: str, loop: Any) -> None:
    """The connection ends before the upgrade's turn comes."""
    async with Connection(parser, echo, loop=loop, ws_protocol_class=FakeWebSocket) as connection:
        await connection.feed(get("/", "Connection: close") + UPGRADE)
        assert connection.closed
        assert not hasattr(connection.transport, "websocket")


async def test_an_unknown_upgrade_is_ignored(parser: str, loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """`Upgrade: h2c` on a POST: the app gets the whole request, and the connection stays HTTP/1.1."""
    fields = ("Connection: Upgrade", "Upgrade: h2c")
    for raw in (post(b"hello", "/a", *fields), chunked(b"he", b"llo", path="/a", fields=fields)):
        for parts in cuts(raw + get("/b"), 2):
            async with Connection(parser, echo, loop=loop) as connection:
                await connection.feed(*parts)
                assert bodies(connection) == [b"/a hello", b"/b "]
    assert "Unsupported upgrade request." in caplog.text


# What an app may do with its task


async def test_the_app_runs_in_a_task(parser: str, loop: Any) -> None:
    """`current_task()`, timeouts and task groups work in an app, eager or not."""
    worked: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert asyncio.current_task() is not None
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(5)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 0)
        with anyio.move_on_after(0):
            await anyio.sleep(5)
        worked.append(scope["path"])
        await answer(send)

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/a") + get("/b"))
        async with asyncio.timeout(5):
            while connection.state.total_requests < 2:
                await asyncio.sleep(0.001)
        assert worked == ["/a", "/b"]


async def test_a_task_group_before_anything_was_awaited(parser: str, loop: Any) -> None:
    """A cancel scope opened as the very first thing, inside the read callback, works."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, send)

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get() + get())
        await connection.apps_done()
        await settle()
        assert len(connection.responses()) == 2


@pytest.mark.parametrize("exception", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("waits", [False, True])
async def test_an_app_that_raises(
    parser: str, loop: Any, exception: type[BaseException], waits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever an app raises is logged and answered with 500: not even SystemExit reaches the loop."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if waits:
            await asyncio.sleep(0)
        raise exception

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get() + get())
        (response,) = connection.responses()
        assert (response.status, response.body) == (500, b"Internal Server Error")
        assert connection.closed
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "Exception in ASGI application\n"


async def test_an_app_that_raises_after_the_head(parser: str, loop: Any) -> None:
    """The head leaves, and the connection ends, so that the client sees the response broken off."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-length", b"5")]})
        raise ValueError

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get() + get())
        (response,) = connection.responses()
        assert not response.complete
        assert connection.closed


async def test_a_child_task_may_go_on_after_the_app_failed(parser: str, loop: Any) -> None:
    """What a child task sends after the app has failed is dropped, not written behind the end."""
    results: list[str] = []

    async def child(send: Any) -> None:
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"late"})
        results.append("returned")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-length", b"5")]})
        results.append(asyncio.create_task(child(send)))  # type: ignore[arg-type]
        raise ValueError

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get())
        await settle()
        assert results[1:] == ["returned"]
        assert b"late" not in connection.take()


async def test_work_after_the_answer_holds_nobody_up(parser: str, loop: Any) -> None:
    """An app that goes on after its response does not hold up the next request, and counts as a task until it ends."""
    end = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, scope["path"].encode())
        await end.wait()

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/a") + get("/b"))
        assert bodies(connection) == [b"/a", b"/b"]
        assert len(connection.state.tasks) == 2
        end.set()


async def test_an_app_that_needs_no_waiting_leaves_no_task(parser: str, loop: Any) -> None:
    """The set of tasks is empty again after each request."""
    async with Connection(parser, echo, loop=loop) as connection:
        for _ in range(3):
            await connection.feed(get())
            assert connection.state.tasks == set()


# Context variables

marker: contextvars.ContextVar[str] = contextvars.ContextVar("marker", default="none")


async def test_context_is_the_requests_own(parser: str, loop: Any) -> None:
    """What one request sets, no other sees: not the next on its connection, nor one behind it in the pipeline."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        before = marker.get()
        marker.set(scope["path"])
        if scope["path"] != "/fast":
            await asyncio.sleep(0)
        await read_body(receive)
        await answer(send, before.encode())

    marker.set("server")
    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get("/a") + get("/b") + get("/fast") + get("/fast"))
        await connection.feed(get("/fast"), post(b"x" * 80_000, "/c"), get("/d"))
        assert bodies(connection) == [b"server"] * 7
    assert marker.get() == "server"


async def test_reset_contextvars(parser: str, loop: Any) -> None:
    """With `reset_contextvars` a request starts from an empty context."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        before = marker.get()
        marker.set("request")
        await answer(send, before.encode())

    if not hasattr(loop, "call_soon"):
        pytest.skip("the double's create_task takes no context")
    marker.set("server")
    async with Connection(parser, app, loop=loop, reset_contextvars=True) as connection:
        await connection.feed(get("/a") + get("/b"))
        assert bodies(connection) == [b"none", b"none"]


async def test_unix_socket_has_no_client(parser: str) -> None:
    """A transport without a peer's address serves, with `client` None."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, repr((scope["client"], scope["server"])).encode())

    connection = Connection(parser, app)
    connection.transport.get_extra_info = {"sockname": "/run/s"}.get  # type: ignore[assignment, method-assign]
    connection.protocol.connection_made(connection.transport)  # type: ignore[arg-type]
    async with connection:
        await connection.feed(get())
        assert bodies(connection) == [b"(None, ('/run/s', None))"]
