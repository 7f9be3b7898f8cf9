"""One exchange on a fake channel: the order of messages, what the app is told, what becomes of its mistakes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import pytest

from pounce.errors import MisusedByApp
from pounce.exchange.http_cycle import MESSAGES, RequestResponseCycle, ResponseState

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FakeFlow:
    def __init__(self) -> None:
        self.read_paused = False
        self.write_paused = False
        self.resumed = 0
        self.writable = asyncio.Event()

    async def drain(self) -> None:
        await self.writable.wait()

    def resume_reading(self) -> None:
        self.read_paused = False
        self.resumed += 1


class FakeChannel:
    """Records what a cycle asks of it."""

    messages = MESSAGES
    spec_version = "2.3"
    sends_length_of_500 = True

    def __init__(self) -> None:
        self.flow = FakeFlow()
        self.calls: list[Any] = []
        self.refuses = False

    def send_head(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        is_head: bool,
        keep_alive: bool,
        body_follows: bool = False,
    ) -> None:
        if self.refuses:
            raise MisusedByApp("Invalid HTTP header value.")
        self.calls.append((status, list(headers)))

    def send_body(self, body: bytes, more_body: bool) -> None:
        self.calls.append((body, more_body))

    def send_continue(self) -> None:
        self.calls.append("continue")

    def flush(self) -> None:
        pass

    def server_stops(self) -> bool:
        return False

    def on_response_complete(self, cycle: Any) -> None:
        self.calls.append("complete")

    def abandon(self, cycle: Any) -> None:
        self.calls.append("abandon")


def make(
    app: Any = None, expect_continue: bool = False, observers: Any = None
) -> tuple[RequestResponseCycle, FakeChannel]:
    channel = FakeChannel()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "http_version": "1.1",
        "client": ("127.0.0.1", 5),
    }
    logger = logging.getLogger("uvicorn.error")
    access_logger = logging.getLogger("uvicorn.access")
    cycle = RequestResponseCycle(
        channel, channel, channel.flow, app, scope, logger, access_logger, True, expect_continue, observers=observers
    )
    return cycle, channel


START: Any = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}
BODY: Any = {"type": "http.response.body", "body": b"x"}


async def test_a_response() -> None:
    """Head, parts, end: in the order sent, and then the channel is told."""
    cycle, channel = make()
    await cycle.send(START)
    await cycle.send({**BODY, "more_body": True})
    await cycle.send(BODY)
    assert channel.calls == [(200, [(b"a", b"b")]), (b"x", True), (b"x", False), "complete"]
    assert cycle.state is ResponseState.ALL


async def test_body_and_headers_may_be_left_out() -> None:
    """`headers`, `body` and `more_body` have defaults."""
    cycle, channel = make()
    await cycle.send({"type": "http.response.start", "status": 204})  # type: ignore[typeddict-item]
    await cycle.send({"type": "http.response.body"})  # type: ignore[typeddict-item]
    assert channel.calls == [(204, []), (b"", False), "complete"]


@pytest.mark.parametrize(
    ("before", "message", "error"),
    [
        ([], BODY, "Expected ASGI message 'http.response.start', but got 'http.response.body'."),
        ([START], START, "Expected ASGI message 'http.response.body', but got 'http.response.start'."),
        ([START, BODY], BODY, "Unexpected ASGI message 'http.response.body' sent, after response already completed."),
    ],
)
async def test_messages_out_of_order(before: list[Any], message: Any, error: str) -> None:
    """A misplaced message raises RuntimeError with uvicorn's words."""
    cycle, _ = make()
    for earlier in before:
        await cycle.send(earlier)
    with pytest.raises(RuntimeError) as caught:
        await cycle.send(message)
    assert str(caught.value) == error


async def test_body_parts_that_came_before_receive_are_one_message() -> None:
    """What has arrived is handed over at once, with `more_body` as it stands by then."""
    cycle, _ = make()
    for part in (b"a", b"b", b"c"):
        cycle.on_body(part)
    assert await cycle.receive() == {"type": "http.request", "body": b"abc", "more_body": True}
    cycle.on_body(b"d")
    cycle.on_end()
    assert await cycle.receive() == {"type": "http.request", "body": b"d", "more_body": False}


async def test_the_body_is_bytes_of_the_apps_own() -> None:
    """A body is `bytes`, and later parts do not change it."""
    cycle, _ = make()
    cycle.on_body(b"a")
    cycle.on_body(b"b")
    message: Any = await cycle.receive()
    cycle.on_body(b"c")
    cycle.on_body(b"d")
    assert type(message["body"]) is bytes
    assert message["body"] == b"ab"


async def test_receive_waits() -> None:
    """Without news `receive()` waits; a cancelled call loses nothing."""
    cycle, channel = make()
    channel.flow.read_paused = True
    waiting = asyncio.create_task(cycle.receive())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert channel.flow.resumed == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    cycle.on_body(b"a")
    message: Any = await cycle.receive()
    assert message["body"] == b"a"


async def test_receive_does_not_return_for_old_news() -> None:
    """What one call took is not told to the next, whether the first had to wait or not."""
    cycle, _ = make()
    waiting = asyncio.create_task(cycle.receive())
    await asyncio.sleep(0)
    cycle.on_body(b"a")
    await waiting
    cycle.on_body(b"b")
    cycle.on_end()
    message: Any = await cycle.receive()
    assert (message["body"], message["more_body"]) == (b"b", False)
    waiting = asyncio.create_task(cycle.receive())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    cycle.on_disconnect()
    assert await waiting == {"type": "http.disconnect"}


async def test_two_waiting_receives_both_learn_of_the_end() -> None:
    """Two child tasks that wait are both told the disconnect."""
    cycle, _ = make()
    waiting = [asyncio.create_task(cycle.receive()) for _ in range(2)]
    await asyncio.sleep(0)
    cycle.on_disconnect()
    assert [await task for task in waiting] == [{"type": "http.disconnect"}] * 2


async def test_continue_is_sent_once_and_only_before_the_response() -> None:
    """`100 Continue` answers the first `receive()`, unless the response has begun, and where there is a body."""
    cycle, channel = make(expect_continue=True)
    cycle.on_end()
    await cycle.receive()
    assert channel.calls == []
    cycle, channel = make(expect_continue=True)
    cycle.on_body(b"x")
    cycle.on_end()
    await cycle.receive()
    cycle.on_disconnect()
    await cycle.receive()
    assert channel.calls == ["continue"]
    cycle, channel = make(expect_continue=True)
    await cycle.send(START)
    cycle.on_end()
    await cycle.receive()
    assert "continue" not in channel.calls


async def test_send_waits_for_room_and_drops_after_a_disconnect() -> None:
    """A full channel is waited for; after the disconnect messages go nowhere, without an error."""
    cycle, channel = make()
    channel.flow.write_paused = True
    sending = asyncio.create_task(cycle.send(START))
    await asyncio.sleep(0)
    assert channel.calls == []
    cycle.on_disconnect()
    channel.flow.writable.set()
    await sending
    await cycle.send(BODY)
    await cycle.send({"type": "nonsense"})  # type: ignore[typeddict-item, misc]
    assert channel.calls == []


async def test_no_access_line_without_a_listener(caplog: pytest.LogCaptureFixture) -> None:
    """An access line is logged with the head, with uvicorn's arguments, where somebody listens."""
    caplog.set_level(logging.INFO)
    cycle, _ = make()
    cycle.access_logger = None
    await cycle.send(START)
    assert caplog.records == []
    cycle, _ = make()
    await cycle.send(START)
    (record,) = caplog.records
    assert record.args == ("127.0.0.1:5", "GET", "/", "1.1", 200)
    assert record.getMessage() == '127.0.0.1:5 - "GET / HTTP/1.1" 200'


# How an app ends


async def run(app: Any) -> list[Any]:
    cycle, channel = make(app)
    cycle.app = app
    await cycle.run()
    return channel.calls


ERROR_500: Any = [
    (
        500,
        [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"21"),
            (b"connection", b"close"),
        ],
    ),
    (b"Internal Server Error", False),
    "complete",
]


async def test_an_app_that_returns_nothing_sent(caplog: pytest.LogCaptureFixture) -> None:
    """An app that returns without a response is answered for."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    assert await run(app) == ERROR_500
    assert [record.getMessage() for record in caplog.records] == ["ASGI callable returned without starting response."]


async def test_an_app_that_returns_in_the_middle(caplog: pytest.LogCaptureFixture) -> None:
    """A response that is not completed ends the connection."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)

    assert (await run(app))[1:] == ["abandon"]
    assert [record.getMessage() for record in caplog.records] == ["ASGI callable returned without completing response."]


async def test_an_app_that_returns_something(caplog: pytest.LogCaptureFixture) -> None:
    """A value returned is an error, and ends the connection even after a complete response."""

    async def app(scope: Any, receive: Any, send: Any) -> Any:
        await send(START)
        await send(BODY)
        return 123

    assert (await run(app))[-1] == "abandon"
    assert [record.getMessage() for record in caplog.records] == [
        "ASGI callable should return None, but returned '123'."
    ]


async def test_an_app_that_raises_before_the_head(caplog: pytest.LogCaptureFixture) -> None:
    """An exception before the head is answered with 500."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError

    assert await run(app) == ERROR_500
    assert caplog.records[0].exc_info is not None


async def test_an_app_that_sends_a_wrong_message(caplog: pytest.LogCaptureFixture) -> None:
    """A misplaced first message ends in a 500, a misplaced later one in the end of the connection."""

    async def early(scope: Any, receive: Any, send: Any) -> None:
        await send(BODY)

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(START)

    assert await run(early) == ERROR_500
    assert (await run(late))[-1] == "abandon"
    assert len(caplog.records) == 2


async def test_nothing_is_logged_for_an_app_whose_client_left(caplog: pytest.LogCaptureFixture) -> None:
    """An app that gives up because the client is gone has made no mistake."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"

    cycle, channel = make(app)
    cycle.on_disconnect()
    cycle.app = app
    await cycle.run()
    assert channel.calls == []
    assert caplog.records == []


async def test_a_500_that_cannot_be_sent() -> None:
    """Where not even a 500 can be encoded (a broken default header), the connection ends instead of hanging."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError

    cycle, channel = make(app)
    channel.refuses = True
    cycle.app = app
    await cycle.run()
    assert channel.calls == ["abandon"]


async def test_an_app_that_only_sends_to_a_client_that_left_gives_others_their_turn() -> None:
    """What is sent after a disconnect is dropped, but not without a turn of the loop."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    cycle, _ = make()
    cycle.on_disconnect()
    counting = asyncio.create_task(count())
    for _ in range(10):
        await cycle.send({"type": "http.response.body", "body": b"", "more_body": True})
    counting.cancel()
    assert turns >= 10


async def test_a_cycle_thrown_away_with_its_loop_goes_quietly() -> None:
    """Finalizing a suspended exchange neither logs nor answers, even where its client has left."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    for left in (True, False):
        cycle, channel = make(app)
        cycle.app = app
        running = cycle.run()
        running.send(None)
        if left:
            cycle.on_disconnect()
        running.close()
        assert channel.calls == []
