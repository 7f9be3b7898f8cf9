"""One HTTP/2 connection and its streams: requests, bodies, flow control, resets, ends. The client is the h2 library."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import weakref
from typing import Any

import pytest

from pounce.connection import http2_turns
from pounce.connection.base import Phase
from pounce.middleware.proxy_headers import ProxyHeadersMiddleware
from tests.connection.http2_client import GET, POST, Connection
from tests.wire.http2_peer import describe, split

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("http2_wire")]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def responds(body: bytes = b"hello", status: int = 200, *headers: tuple[bytes, bytes]) -> Any:
    """An app that gives this answer to everything."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    return app


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the request's body."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await responds(body)(scope, receive, send)


class Held:
    """An app whose requests wait until they are let go, and that notes what happens to them."""

    def __init__(self, body: bytes = b"hello") -> None:
        self.body = body
        self.scopes: list[Any] = []
        self.release = asyncio.Event()
        self.disconnects = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await self.release.wait()
        await responds(self.body)(scope, receive, send)


async def test_a_request_is_answered() -> None:
    """Head, body and end; the response's names are in lower case and the default headers come first."""
    async with Connection(responds(b"hello", 201, (b"X-Name", b"value"))) as connection:
        connection.state.default_headers = [(b"server", b"pounce")]
        answer = await connection.get()
        assert answer.headers == [(":status", "201"), ("server", "pounce"), ("x-name", "value")]
        assert (answer.body, answer.reset) == (b"hello", None)
        assert connection.state.total_requests == 1
        assert connection.protocol.wire.streams == {}


async def test_the_scope_is_http_1_1s_but_for_the_version() -> None:
    """Path decoding, root_path, addresses and state are the same; `:authority` is Host; cookie crumbs are one."""
    held = Held()
    held.release.set()
    async with Connection(held, root_path="/root") as connection:
        connection.app_state["x"] = 1
        fields = [("cookie", "a=1"), ("x-y", "z"), ("cookie", "b=2")]
        await connection.get("/caf%C3%A9%2Fx?q=%20", *fields)
    (scope,) = held.scopes
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "2",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.2", 9000),
        "scheme": "http",
        "method": "GET",
        "root_path": "/root",
        "path": "/root/café/x",
        "raw_path": b"/root/caf%C3%A9%2Fx",
        "query_string": b"q=%20",
        "headers": [(b"host", b"a.example"), (b"cookie", b"a=1; b=2"), (b"x-y", b"z")],
        "state": {"x": 1},
        "extensions": {"http.response.early_hint": {}, "http.response.trailers": {}},
    }


async def test_equal_requests_do_not_share_what_is_theirs() -> None:
    """The second one comes from the kept header block: its headers, state and extensions are objects of its own."""
    held = Held()
    held.release.set()
    async with Connection(held) as connection:
        for _ in range(3):
            await connection.get()
    for key in ("headers", "state", "extensions", "asgi"):
        assert len({id(scope[key]) for scope in held.scopes}) == 3
    assert held.scopes[0]["headers"] == held.scopes[2]["headers"]


async def test_a_trusted_proxy_rewrites_the_scope() -> None:
    """As with HTTP/1.1."""
    held = Held()
    held.release.set()
    async with Connection(ProxyHeadersMiddleware(held, trusted_hosts="127.0.0.2")) as connection:
        await connection.get("/", ("x-forwarded-for", "10.1.2.3"), ("x-forwarded-proto", "https"))
    assert (held.scopes[0]["client"], held.scopes[0]["scheme"]) == (("10.1.2.3", 0), "https")


async def test_requests_of_one_connection_overlap() -> None:
    """The second one is answered while the first one waits."""
    held = Held()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (held if scope["path"] == "/slow" else responds(b"fast"))(scope, receive, send)

    async with Connection(app) as connection:
        slow = connection.request([*GET[:3], (":path", "/slow")])
        assert (await connection.get()).body == b"fast"
        assert not connection.answers.get(slow)
        held.release.set()
        await connection.until(lambda: slow in connection.answers and connection.answers[slow].ended)
        assert connection.answers[slow].body == b"hello"


async def test_answers_to_one_segment_leave_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that waits for nothing costs neither a turn of the loop nor a write of its own, while there is time."""
    monkeypatch.setattr(http2_turns, "LONGEST_TURN", 60.0)
    async with Connection(responds()) as connection:
        for _ in range(20):
            connection.request()
        connection.transport.writes = 0
        connection.send()
        await asyncio.sleep(0)  # where tasks do not start eagerly
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert connection.transport.writes == 1
        connection.receive()
        assert [answer.body for answer in connection.answers.values()] == [b"hello"] * 20


@pytest.mark.parametrize("parts", [[b""], [b"a", b""], [b"", b""], [b"a", b"b"], [b"", b"b", b""], [b"x" * 20000, b""]])
async def test_a_body_may_come_in_parts(parts: list[bytes]) -> None:
    """The last part may be empty, and all of them sent in one step."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    async with Connection(app) as connection:
        answer = await connection.get()
        assert (answer.body, answer.reset) == (b"".join(parts), None)


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 70000, 300000, 3000000])
async def test_bodies_of_any_size_arrive(size: int) -> None:
    """Both ways, whatever the windows."""
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    async with Connection(echo) as connection:
        stream_id = connection.client.get_next_available_stream_id()
        connection.client.send_headers(stream_id, POST)
        left = memoryview(body)
        for _ in range(3000):
            room = min(connection.client.local_flow_control_window(stream_id), 16384, len(left))
            if room:
                connection.client.send_data(stream_id, bytes(left[:room]))
                left = left[room:]
            if not left:
                break
            await connection.exchange(1)
        connection.client.end_stream(stream_id)
        await connection.until(lambda: stream_id in connection.answers and connection.answers[stream_id].ended)
        assert connection.answers[stream_id].body == body


async def test_the_window_opens_as_the_app_reads() -> None:
    """An app that does not read stops the client at one stream's window; each `receive()` lets more come."""
    reading = asyncio.Event()
    received: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await reading.wait()
        while True:
            message = await receive()
            received.append(len(message["body"]))
            if not message["more_body"]:
                break
        await responds()(scope, receive, send)

    async with Connection(app) as connection:
        client = connection.client
        stream_id = connection.request(POST, b"", end=False)
        await connection.exchange()
        window = client.local_flow_control_window(stream_id)
        assert window == 131072
        while client.local_flow_control_window(stream_id):
            client.send_data(stream_id, b"x" * min(16384, client.local_flow_control_window(stream_id)))
            await connection.exchange(1)
        await connection.exchange()
        assert client.local_flow_control_window(stream_id) == 0
        reading.set()
        await connection.until(lambda: client.local_flow_control_window(stream_id) == window)
        client.end_stream(stream_id)
        await connection.until(lambda: stream_id in connection.answers)
        assert sum(received) == window


async def test_send_waits_for_a_client_that_does_not_read() -> None:
    """What one response may hold in memory is bounded by the app's largest message and 64 KiB."""
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 20000, "more_body": True})
            sent += 20000
        await send({"type": "http.response.body"})

    async with Connection(app) as connection:
        connection.acknowledges = False
        stream_id = connection.request()
        await connection.exchange(40)
        assert len(connection.answers[stream_id].body) == 65535
        assert 65535 < sent < 65535 + 65536 + 2 * 20000
        connection.client.increment_flow_control_window(1 << 22)
        connection.client.increment_flow_control_window(1 << 22, stream_id)
        await connection.until(lambda: connection.answers[stream_id].ended)
        assert len(connection.answers[stream_id].body) == 2000000


async def test_send_waits_for_a_transport_that_is_full() -> None:
    """Also where the client's windows would allow more, and with small messages."""
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            sent += 1000

    async with Connection(app, transport_limit=1 << 62) as connection:
        connection.client.increment_flow_control_window(1 << 30)
        connection.request()
        connection.client.increment_flow_control_window(1 << 30, 1)
        connection.transport.limit = 10000
        connection.send()
        for _ in range(50):
            await asyncio.sleep(0)
        assert sent < 1000000
        assert len(connection.transport.written) < 600000
        before = sent
        connection.receive()
        for _ in range(5):
            await asyncio.sleep(0)
        assert sent > before


async def test_a_large_download_leaves_room_for_a_small_answer() -> None:
    """A gigabyte on its way costs an answer on the same connection a few frames, not a gigabyte's time."""
    huge = bytes(1 << 28)  # zeros that nobody touches take no memory

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await responds(huge if scope["path"] == "/huge" else b"x" * 1024)(scope, receive, send)

    async with Connection(app) as connection:
        connection.client.increment_flow_control_window(2**31 - 1 - 65535)
        connection.request([*GET[:3], (":path", "/huge")])
        connection.client.increment_flow_control_window(2**31 - 1 - 65535, 1)
        await connection.exchange(3)
        before = len(connection.answers[1].body)
        small = connection.request()
        await connection.until(lambda: small in connection.answers and connection.answers[small].ended)
        assert len(connection.answers[small].body) == 1024
        assert len(connection.answers[1].body) - before < 1 << 21


async def test_a_reset_reaches_the_app() -> None:
    """`receive()` says http.disconnect at once, again and again, and what the app sends goes nowhere."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        seen.append(await receive())
        await responds()(scope, receive, send)
        seen.append("sent")

    async with Connection(app) as connection:
        stream_id = connection.request(POST, end=False)
        await connection.exchange()
        connection.client.reset_stream(stream_id)
        await connection.exchange()
        assert seen == [{"type": "http.disconnect"}] * 2 + ["sent"]
        assert stream_id not in connection.answers
        assert not connection.transport.closed


async def test_a_reset_wakes_an_app_that_waits_for_the_window() -> None:
    """A server-sent-events app, or a download: its `send()` must not hang for ever."""
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(50):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        ended.set()

    async with Connection(app) as connection:
        connection.acknowledges = False
        stream_id = connection.request()
        await connection.exchange()
        assert not ended.is_set()
        connection.client.reset_stream(stream_id)
        await connection.exchange()
        await asyncio.wait_for(ended.wait(), 5)
        assert connection.protocol.wire.queued_size == 0


async def test_a_request_reset_in_its_own_segment_never_starts() -> None:
    """A rapid reset costs no task."""
    held = Held()
    async with Connection(held) as connection:
        stream_id = connection.request()
        connection.client.reset_stream(stream_id)
        await connection.exchange()
        assert held.scopes == []


async def test_apps_of_reset_streams_count_as_streams() -> None:
    """A client that resets what it starts cannot have more apps running than it may have streams."""
    held = Held()
    async with Connection(held, limits={"concurrent_streams": 3}) as connection:
        for _ in range(10):
            stream_id = connection.request()
            await connection.exchange(2)
            if connection.answers.get(stream_id) is None:
                connection.client.reset_stream(stream_id)
            await connection.exchange(2)
        assert len(held.scopes) == 3
        assert [answer.reset for answer in connection.answers.values()] == [7] * 7  # REFUSED_STREAM
        held.release.set()
        await connection.exchange()
        assert (await connection.get()).body == b"hello"


async def test_a_lost_connection_reaches_every_app() -> None:
    """All of them are told."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])

    async with Connection(app) as connection:
        for _ in range(3):
            connection.request(POST, end=False)
        await connection.exchange()
        connection.protocol.connection_lost(ConnectionResetError())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert seen == ["http.disconnect"] * 3
        assert connection.state.connections == set()


@pytest.mark.parametrize("starts", [False, True])
async def test_an_apps_exception_ends_its_stream_only(starts: bool, caplog: pytest.LogCaptureFixture) -> None:
    """500 where nothing was sent yet, RST_STREAM where something was."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/bad":
            if starts:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            raise ValueError("no")
        await responds()(scope, receive, send)

    async with Connection(app) as connection:
        answer = await connection.get("/bad")
        if starts:
            assert (answer.status, answer.reset) == ("200", 2)
        else:
            assert (answer.status, answer.body) == ("500", b"Internal Server Error")
            assert "connection" not in dict(answer.headers)
        assert (await connection.get()).body == b"hello"
    assert "Exception in ASGI application" in caplog.text


@pytest.mark.parametrize(
    "method,status,body,length,expected",
    [
        ("HEAD", 200, b"hello", b"5", b""),
        ("GET", 204, b"hello", None, b""),
        ("GET", 304, b"", b"5", b""),
        ("GET", 200, b"hello", b"5", b"hello"),
    ],
)
async def test_responses_without_a_body(
    method: str, status: int, body: bytes, length: bytes | None, expected: bytes
) -> None:
    """HEAD, 204 and 304 have none, whatever the app sends; Content-Length stays."""
    headers = [(b"content-length", length)] if length else []
    async with Connection(responds(body, status, *headers)) as connection:
        connection.request([(":method", method), *GET[1:]])
        await connection.until(lambda: 1 in connection.answers and connection.answers[1].ended)
        assert (connection.answers[1].body, connection.answers[1].reset) == (expected, None)
        assert dict(connection.answers[1].headers).get("content-length") == (length.decode() if length else None)


async def test_100_continue_is_sent_when_the_app_reads() -> None:
    """And not before."""
    async with Connection(echo) as connection:
        stream_id = connection.request([*POST, ("expect", "100-continue")], end=False)
        await connection.exchange()
        assert connection.answers[stream_id].informational == [("100", [])]
        connection.client.send_data(stream_id, b"abc", end_stream=True)
        await connection.until(lambda: connection.answers[stream_id].ended)
        assert connection.answers[stream_id].body == b"abc"


async def test_an_early_answer_stops_the_upload() -> None:
    """RST_STREAM with NO_ERROR behind the whole response; what was on its way is given back to the window."""
    async with Connection(responds()) as connection:
        stream_id = connection.request(POST, b"x" * 1000, end=False)
        await connection.exchange()
        answer = connection.answers[stream_id]
        assert (answer.status, answer.body, answer.reset) == ("200", b"hello", 0)
        assert connection.protocol.wire.streams == {}


async def test_trailers() -> None:
    """Behind the body, without what has no place in them, for a client that asked."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"x" * 100000})
        trailers = [(b"X-Sum", b"1"), (b"connection", b"close")]
        await send({"type": "http.response.trailers", "headers": trailers, "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"2")]})

    async with Connection(app) as connection:
        answer = await connection.get("/", ("te", "trailers"))
        assert (len(answer.body), answer.trailers) == (100000, [("x-sum", "1"), ("x-sum", "2")])
        answer = await connection.get()
        assert (len(answer.body), answer.trailers, answer.reset) == (100000, None, None)
        assert connection.state.total_requests == 2


async def test_early_hints() -> None:
    """A 103 with the links, before the response."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>"]})
        await responds()(scope, receive, send)

    async with Connection(app) as connection:
        answer = await connection.get()
        assert answer.informational == [("103", [("link", "</a.css>; rel=preload"), ("link", "</b.js>")])]
        assert (answer.status, answer.body) == ("200", b"hello")


async def test_too_many_header_fields_are_answered_with_431() -> None:
    """The app is not called."""
    held = Held()
    async with Connection(held) as connection:
        answer = await connection.get("/", *[("x", "y")] * 300)
        assert (answer.status, held.scopes) == ("431", [])


async def test_limit_concurrency(caplog: pytest.LogCaptureFixture) -> None:
    """503 and the end, as with HTTP/1.1."""
    async with Connection(responds(), limit_concurrency=1) as connection:
        assert (await connection.get()).status == "503"
        assert connection.transport.is_closing()
    assert "Exceeded concurrency limit." in caplog.text


async def test_the_access_line_says_http_2(caplog: pytest.LogCaptureFixture) -> None:
    """In uvicorn's format."""
    caplog.set_level(logging.INFO, "uvicorn.access")
    async with Connection(responds()) as connection:
        await connection.get("/x?y=1")
    assert '127.0.0.2:9000 - "GET /x?y=1 HTTP/2" 200' in caplog.messages


# --- The end of a connection


async def test_shutdown_of_an_idle_connection() -> None:
    """GOAWAY with the last stream that was taken, and the end."""
    async with Connection(responds()) as connection:
        await connection.get()
        connection.protocol.shutdown()
        assert connection.transport.closed
        connection.receive()
        assert connection.goaways[-1] == (1, 0)


async def test_shutdown_lets_responses_end() -> None:
    """The connection closes with the last of them; a request that comes in between gets 503, as with uvicorn."""
    held = Held()
    async with Connection(held) as connection:
        first = connection.request()
        await connection.exchange()
        second = connection.client.get_next_available_stream_id()
        connection.client.send_headers(second, GET, end_stream=True)
        connection.protocol.shutdown()
        connection.send()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not connection.transport.closed
        held.release.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert connection.transport.closed
        output = connection.transport.take()
        assert output.count(b"hello") == 1
        assert output.count(b"Service Unavailable") == 1
        assert first != second


async def test_retirement_takes_what_is_on_its_way_and_ignores_the_rest() -> None:
    """First GOAWAY without a last stream, then the one that lets the client send the rest elsewhere."""
    held = Held()
    async with Connection(held) as connection:
        connection.request()
        await connection.exchange()
        late = connection.client.get_next_available_stream_id()
        connection.client.send_headers(late, GET, end_stream=True)
        connection.protocol.shutdown_when_idle()
        connection.send()
        await asyncio.sleep(0)
        assert len(held.scopes) == 2
        connection.client.send_headers(late + 2, GET, end_stream=True)
        connection.protocol.shutdown()
        connection.send()
        await asyncio.sleep(0)
        assert len(held.scopes) == 2
        held.release.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert connection.transport.closed
        words = [describe(*one) for one in split(connection.transport.take())]
        assert [word for word in words if word.startswith("GOAWAY")] == [
            f"GOAWAY {2**31 - 1} NO_ERROR",
            f"GOAWAY {late} NO_ERROR",
        ]


async def test_an_idle_connection_is_closed_with_goaway() -> None:
    """By the keep-alive timeout; one with a stream is not idle."""
    held = Held()
    async with Connection(held) as connection:
        assert connection.protocol.timeout_keep_alive_task is not None
        connection.request()
        await connection.exchange()
        assert connection.protocol.timeout_keep_alive_task is None
        held.release.set()
        await connection.exchange()
        assert connection.protocol.timeout_keep_alive_task is not None
        connection.protocol.timeout_keep_alive_handler()
        connection.receive()
        assert (connection.goaways, connection.transport.closed) == ([(1, 0)], True)


async def test_under_a_worker_the_sweeper_is_told() -> None:
    """Busy while a stream is open, newly idle after it; no timer per connection."""
    held = Held()
    async with Connection(held, sweeps=True) as connection:
        connection.request()
        await connection.exchange()
        assert connection.protocol.phase is Phase.BUSY
        held.release.set()
        await connection.exchange()
        assert connection.protocol.phase is Phase.NEWLY_IDLE
        assert connection.protocol.timeout_keep_alive_task is None


async def test_a_clients_goaway_ends_the_connection_after_its_streams() -> None:
    """It still gets what it asked for."""
    held = Held()
    async with Connection(held) as connection:
        connection.request()
        await connection.exchange()
        connection.client.close_connection()
        connection.send()
        assert not connection.transport.closed
        held.release.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert connection.transport.closed
        assert b"hello" in connection.transport.take()


async def test_a_broken_frame_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """One line in the log, GOAWAY, and nothing of what follows is taken."""
    held = Held()
    async with Connection(held) as connection:
        connection.request()
        await connection.exchange()
        connection.protocol.data_received(b"\0\0\0\x06\0\0\0\0\0" + b"GET / HTTP/1.1\r\n\r\n")
        connection.protocol.data_received(b"more")
        assert connection.transport.closed
        connection.receive()
        assert connection.goaways == [(1, 6)]
    assert len([line for line in caplog.messages if line.startswith("Invalid HTTP/2 frame received: ")]) == 1


async def test_a_finished_request_leaves_nothing_behind() -> None:
    """Its cycle is freed without the garbage collector: no cycles of references."""
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(weakref.ref(send.__self__))
        await responds()(scope, receive, send)

    gc.collect()
    gc.disable()
    try:
        async with Connection(app) as connection:
            await connection.get()
            await connection.exchange()
            assert [one() for one in found] == [None]
    finally:
        gc.enable()


async def test_a_response_to_a_connection_that_is_closing_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """Until the loop has told so, the app sends it as ever: whole, without an error."""
    gate, finished = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await send({"type": "http.response.body", "body": b"k"})
        finished.set()

    async with Connection(app) as connection:
        connection.request()
        await connection.exchange()
        connection.protocol.close()
        gate.set()
        await finished.wait()
    assert caplog.records == []


@pytest.mark.parametrize("size", [65536, 3000])
async def test_a_client_that_reads_nothing_is_not_read_from(size: int) -> None:
    """So that answers to its PINGs do not pile up; when it reads again, so do we."""
    limits = {"control_frames": 100000, "unread_size": size}
    async with Connection(responds(), limits=limits, transport_limit=1000) as connection:
        pings = b"\0\0\x08\x06\0\0\0\0\0pounce!!" * 100
        for _ in range(2000):
            if connection.transport.reading:
                connection.protocol.data_received(pings)
            await asyncio.sleep(0)
        assert not connection.transport.reading
        assert size < len(connection.transport.written) < size + 5000
        connection.transport.take()
        await asyncio.sleep(0)
        assert connection.transport.reading


# --- Priorities (RFC 9218)


async def test_an_urgent_response_goes_first() -> None:
    """By the request's `priority` field; the less urgent one gets what is left of the window."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await responds(b"x" * 50000)(scope, receive, send)

    async with Connection(app) as connection:
        connection.acknowledges = False
        lazy = connection.request([*GET, ("priority", "u=6")])
        urgent = connection.request([*GET, ("priority", "u=0")])
        await connection.exchange()
        assert len(connection.answers[urgent].body) == 50000
        assert len(connection.answers[lazy].body) == 15535


async def test_priority_update_changes_the_order() -> None:
    """Also when it comes before its stream."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await responds(b"x" * 50000)(scope, receive, send)

    async with Connection(app) as connection:
        connection.acknowledges = False
        connection.protocol.data_received(b"\0\0\x07\x10\0\0\0\0\0" + b"\0\0\0\x03" + b"u=0")
        first, second = connection.request(), connection.request()
        await connection.exchange()
        assert len(connection.answers[second].body) == 50000
        assert len(connection.answers[first].body) == 15535


async def test_incremental_responses_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame by frame, so that each of them grows; all of those that begin in one turn."""
    monkeypatch.setattr(http2_turns, "monotonic", lambda: 0.0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await responds(b"x" * 100000)(scope, receive, send)

    async with Connection(app) as connection:
        connection.acknowledges = False
        for _ in range(4):
            connection.request([*GET, ("priority", "i")])
        await connection.exchange()
        assert [len(connection.answers[number].body) for number in (1, 3, 5, 7)] == [16384, 16384, 16384, 16383]


async def test_an_app_that_only_sends_gives_turns() -> None:
    """Small parts for a client that takes them: others of the connection and the loop get their turn."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})

    async with Connection(app) as connection:
        counting = asyncio.create_task(count())
        assert (await connection.get()).body == b"end"
        counting.cancel()
    assert turns >= 5


@pytest.mark.parametrize("how", ["reset", "lost"])
async def test_an_app_that_sends_on_to_nobody_rests(how: str) -> None:
    """A client that resets its stream, or is gone: what the app still sends costs it pauses, which a stop ends."""
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
            sent += 1

    connection = Connection(app)
    async with connection:
        stream = connection.request()
        await connection.exchange()
        if how == "reset":
            connection.client.reset_stream(stream)
            await connection.exchange()
        else:
            connection.protocol.connection_lost(None)
        async with asyncio.timeout(10):
            before = -100
            while sent - before > 5:
                before = sent
                await asyncio.sleep(0.1)
            connection.state.stopping = True
            while connection.state.tasks:
                await asyncio.sleep(0.001)


async def test_an_app_may_change_its_scope() -> None:
    """Whether a body and trailers are sent depends on the request, not on what the app makes of its scope."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["method"] = "GET"
        scope["headers"][:] = [(b"te", b"trailers")]
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"hello"})
        await send({"type": "http.response.trailers", "headers": [(b"x", b"y")]})

    async with Connection(app) as connection:
        stream = connection.request([(":method", "HEAD"), *GET[1:]])
        await connection.until(lambda: stream in connection.answers and connection.answers[stream].ended)
        answer = connection.answers[stream]
        assert (answer.status, answer.body, answer.trailers) == ("200", b"", None)


@pytest.mark.parametrize("complete", [True, False])
async def test_what_was_sent_before_the_app_failed_arrives(complete: bool) -> None:
    """Of a large response what waits for the client is sent all the same; if it was whole, so it arrives."""
    body = b"x" * 60_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": body, "more_body": not complete})
        raise ValueError

    async with Connection(app) as connection:
        answer = await connection.get()
        assert answer.body == body * 2
        assert answer.reset == (None if complete else 2)
