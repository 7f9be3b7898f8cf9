"""pounce/worker/drain.py: the steps of an end in their order, with what they say; who is told, and what clients see."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pounce.connection.websocket_wsproto import WSProtocol
from pounce.exchange.http_cycle import ResponseState
from pounce.worker import drain as module
from pounce.worker.drain import DrainLimits, InHand, drain, tell_streams
from tests.connection.http2_client import Connection as Http2Connection
from tests.connection.test_http2_websocket import Socket
from tests.connection.websocket_fakes import Connection as WebSocketConnection
from tests.fakes import PROTOCOLS, Connection, chunked, get, settle
from tests.wire.ws_frames import close

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Worker:
    """A worker with a clock of its own, on which what is in hand ends by itself at some time, or when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ends: dict[str, float], obeys: tuple[str, ...] = ()) -> None:
        self.now = 100.0
        self.ends = {name: 100.0 + seconds for name, seconds in ends.items()}
        self.obeys = obeys
        self.log: list[tuple[float, str]] = []
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def _count(self, *names: str) -> int:
        return sum(name in names and end > self.now for name, end in self.ends.items())

    def is_drained(self) -> bool:
        return not any(self.left())

    def left(self) -> tuple[int, int]:
        return self._count("request", "stream", "websocket", "output"), self._count("request", "stream", "background")

    async def in_hand(self) -> InHand:
        return InHand(self._count("request"), self._count("stream"), self._count("websocket"))

    async def pause(self) -> None:
        self.now += 0.5

    def _end(self, what: str, *names: str) -> None:
        self.log.append((self.now - 100.0, what))
        for name in names if what in self.obeys else ():
            self.ends[name] = min(self.now, self.ends.get(name, self.now))

    def tell_streams(self) -> None:
        self._end("tell", "stream")

    def cancel_tasks(self) -> None:
        self._end("cancel", "request", "stream", "background")

    def abort_connections(self) -> None:
        self._end("abort")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    for name in ("uvicorn", "uvicorn.error"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    return lambda: caplog.messages


CLOSING = "Waiting for connections to close. (CTRL+C to force quit) Left: "
TELLING = "Telling 1 streaming response to end, timeout graceful streams exceeded"
NEVER = 1000.0


@pytest.mark.parametrize(
    ("ends", "obeys", "limits", "steps", "said", "in_time"),
    [
        # Nothing is left
        ({}, (), (None, None), [], [], True),
        ({}, (), (0.0, 0.0), [], [], True),
        # In time: no step is taken
        ({"request": 2.0}, (), (1.0, 3.0), [], [CLOSING + "1 request"], True),
        ({"stream": 1.0}, (), (1.0, 3.0), [], [CLOSING + "1 streaming response"], True),
        ({"websocket": 2.0}, (), (None, None), [], [CLOSING + "1 WebSocket"], True),
        # A client that reads slowly
        ({"output": 2.0}, (), (None, None), [], [CLOSING + "1 connection"], True),
        # Behind their responses
        (
            {"request": 1.0, "background": 2.0},
            (),
            (None, None),
            [],
            [CLOSING + "1 request", "Waiting for background tasks to complete. (CTRL+C to force quit) Left: 1 task"],
            True,
        ),
        # Told, and obedient: a request that has no response yet keeps its time
        (
            {"request": 2.5, "stream": NEVER, "websocket": 0.5},
            ("tell",),
            (1.0, 3.0),
            [(1.0, "tell")],
            [CLOSING + "1 request, 1 streaming response, 1 WebSocket", TELLING],
            True,
        ),
        # Without a limit for requests
        ({"stream": NEVER}, ("tell",), (1.0, None), [(1.0, "tell")], [CLOSING + "1 streaming response", TELLING], True),
        # At once
        ({"stream": NEVER}, ("tell",), (0.0, None), [(0.0, "tell")], [TELLING], True),
        # Told in vain, and cancelled
        (
            {"stream": NEVER},
            ("cancel",),
            (1.0, 3.0),
            [(1.0, "tell"), (3.0, "cancel")],
            [
                CLOSING + "1 streaming response",
                TELLING,
                "Cancel 1 running task(s), timeout graceful shutdown exceeded",
            ],
            False,
        ),
        # Nobody is told where requests have no longer than streams
        (
            {"stream": NEVER},
            ("cancel",),
            (3.0, 3.0),
            [(3.0, "cancel")],
            [CLOSING + "1 streaming response", "Cancel 1 running task(s), timeout graceful shutdown exceeded"],
            False,
        ),
        # Cut, half a second behind the cancellation
        (
            {"request": NEVER, "output": NEVER},
            ("cancel",),
            (None, 1.0),
            [(1.0, "cancel"), (1.5, "abort")],
            [
                CLOSING + "1 request",
                "Cancel 1 running task(s), timeout graceful shutdown exceeded",
                "Cutting 1 connection, timeout graceful shutdown exceeded",
            ],
            False,
        ),
        # A task that swallows its cancellation, without a connection
        (
            {"background": NEVER},
            (),
            (None, 0.0),
            [(0.0, "cancel")],
            ["Cancel 1 running task(s), timeout graceful shutdown exceeded"],
            False,
        ),
    ],
)
async def test_steps(
    ends: dict[str, float],
    obeys: tuple[str, ...],
    limits: tuple[float | None, float | None],
    steps: list[tuple[float, str]],
    said: list[str],
    in_time: bool,
    monkeypatch: pytest.MonkeyPatch,
    lines: Callable[[], list[str]],
) -> None:
    """What is done when, and one line for each wait and each step, of which there is something to say."""
    worker = Worker(monkeypatch, ends, obeys)
    assert await drain(worker, DrainLimits(*limits), lambda: False) is in_time
    assert worker.log == steps
    assert lines() == said


@pytest.mark.parametrize("at", [0.0, 1.0, 2.0])
async def test_a_forced_end_takes_no_step(
    at: float, monkeypatch: pytest.MonkeyPatch, lines: Callable[[], list[str]]
) -> None:
    """Whoever forces it takes them himself; before the streams' limit, at it, and behind it."""
    worker = Worker(monkeypatch, {"stream": NEVER})
    assert await drain(worker, DrainLimits(1.0, 3.0), lambda: worker.now >= 100.0 + at)
    assert [what for _, what in worker.log] == (["tell"] if at == 2.0 else [])


def test_words() -> None:
    """Only of what there is."""
    assert InHand(3, 12, 5).words(20) == "3 requests, 12 streaming responses, 5 WebSockets"
    assert InHand(1, 0, 1).plus(InHand(0, 1, 0)).words(3) == "1 request, 1 streaming response, 1 WebSocket"
    assert InHand().words(2) == "2 connections"


# What connections have in hand, and what telling them does


def path(path: str) -> list[tuple[str, str]]:
    return [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", path)]


class App:
    """Takes the request, begins its response where told to, and waits for what `receive()` says next."""

    def __init__(self, begins: bool = True, reads: bool = True) -> None:
        self.begins, self.reads = begins, reads
        self.told: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while self.reads and (await receive()).get("more_body"):
            pass
        if self.begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"event", "more_body": True})
        self.told.append((await receive())["type"])
        self.told.append((await receive())["type"])  # and again, whoever asks
        await send({"type": "http.response.body", "body": b"bye", "more_body": True})


@pytest.mark.parametrize("parser", PROTOCOLS)
@pytest.mark.parametrize("reads", [True, False])
async def test_a_stream_that_is_told_may_say_good_bye(parser: str, reads: bool) -> None:
    """Its app hears `http.disconnect`, be the request complete or not. What it still sends arrives, and then the end,
    without a last chunk: the response is not complete."""
    app = App(reads=reads)
    async with Connection(parser, app) as connection:
        await connection.feed(get() if reads else chunked(b"a part")[: -len(b"0\r\n\r\n")])
        assert InHand.on([connection.protocol]) == InHand(streams=1)
        tell_streams([connection.protocol])
        await connection.apps_done()
        assert app.told == ["http.disconnect" if reads else "http.request", "http.disconnect"]
        [response] = connection.responses()
        assert (response.body, response.complete) == (b"eventbye", False)
        assert connection.closed
        assert InHand.on([connection.protocol]) == InHand()


@pytest.mark.parametrize("parser", PROTOCOLS)
async def test_a_stream_that_ends_itself_is_complete(parser: str) -> None:
    """An app that finishes its response when it is told leaves its client nothing to wonder about."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"event", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b"bye"})

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        connection.protocol.shutdown()
        tell_streams([connection.protocol])
        await connection.apps_done()
        [response] = connection.responses()
        assert (response.body, response.complete) == (b"eventbye", True)
        assert connection.closed


@pytest.mark.parametrize("parser", PROTOCOLS)
async def test_a_request_without_a_response_is_not_told(parser: str) -> None:
    """It has until the limit of requests; nor is one that waits behind another."""
    app = App(begins=False)
    async with Connection(parser, app) as connection:
        await connection.feed(get() + get())
        tell_streams([connection.protocol])
        await settle()
        assert app.told == []
        assert InHand.on([connection.protocol]).requests >= 1
        assert connection.protocol.exchanges()[0].state is ResponseState.NOTHING


async def test_streams_of_http2_are_told_each() -> None:
    """Those that have begun end; the others, and the connection, go on."""
    apps = {"/begun": App(), "/not": App(begins=False)}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await apps[scope["path"]](scope, receive, send)

    async with Http2Connection(app) as connection:
        begun = connection.request(path("/begun"))
        connection.request(path("/not"))
        await connection.exchange()
        assert InHand.on([connection.protocol]) == InHand(1, 1)
        tell_streams([connection.protocol])
        await connection.until(lambda: connection.answers[begun].ended)
        assert connection.answers[begun].body == b"eventbye"
        assert apps["/begun"].told == ["http.disconnect"] * 2
        assert apps["/not"].told == []
        assert InHand.on([connection.protocol]) == InHand(1)


async def waits(scope: Any, receive: Any, send: Any) -> None:
    """A WebSocket app that waits for its end."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def test_websockets_are_counted_until_their_connections_end() -> None:
    """Over HTTP/1.1 and HTTP/2; those that wait for their peer's close frame as well."""
    async with WebSocketConnection(WSProtocol, waits) as connection:
        assert InHand.on([connection.protocol]) == InHand()
        await connection.open()
        assert InHand.on([connection.protocol]) == InHand(websockets=1)
        connection.state.stopping = True
        connection.protocol.shutdown()
        tell_streams([connection.protocol])
        assert InHand.on([connection.protocol]) == InHand(websockets=1)
        connection.feed(close(1012))
        assert InHand.on([connection.protocol]) == InHand()
    async with Http2Connection(waits) as connection2:
        await Socket(connection2).opened()
        assert InHand.on([connection2.protocol]) == InHand(websockets=1)


def test_a_class_of_the_users_own_takes_no_part() -> None:
    """It has nothing in hand that we know of, and nobody to tell."""
    tell_streams([object()])
    assert InHand.on([object()]) == InHand()
