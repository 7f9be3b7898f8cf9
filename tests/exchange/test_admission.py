"""The queue in front of an app: who runs, who waits and for how long, who is refused; over each version and parser."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pounce import Config
from pounce.connection import http2_turns
from pounce.connection.state import ServerState
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from pounce.exchange.admission import Admission
from pounce.exchange.features import features_of
from pounce.exchange.record import ExchangeRecord
from pounce.names import LOGGER_ERROR
from pounce.settings import Capacity, Settings
from pounce.worker.worker import Worker
from tests.connection import http2_client
from tests.fakes import Connection, answer, get, hurry, post, responses, settle
from tests.isolated_logging import isolated_logging as isolated_logging
from tests.wire.ws_frames import handshake

HTTP1 = ["h11", "httptools", "zttp"]
HTTP2 = ["native", "h2"]
logger = logging.getLogger(LOGGER_ERROR)


@pytest.fixture(params=HTTP1 + HTTP2)
def version(request: pytest.FixtureRequest) -> str:
    """A parser, or a wire of HTTP/2."""
    return str(request.param)


@pytest.fixture(params=HTTP1)
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Slow:
    """An app that takes a tenth of a second, and notes who runs. `/PATH` is noted."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.running = 0
        self.most = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.began.append(scope["path"])
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0.1)
            await answer(send, scope["path"].encode())
        finally:
            self.running -= 1


class Clients:
    """A worker with a queue, and its clients. Each request has a connection of its own, or a stream of one."""

    def __init__(self, version: str, app: Any, settings: Any = None, **capacity: Any) -> None:
        self.version = version
        self.app = app
        self.state = ServerState()
        self.refused = 0
        given = Settings.of({"capacity": {"running": 1, "queue": 2} | capacity} | (settings or {}))
        self.state.features[:] = features_of(given, logger, refused=self._refuse)
        self.connections: list[Any] = []
        self._http2: Any = None
        self.sent: list[tuple[Any, int]] = []

    def _refuse(self) -> None:
        self.refused += 1

    @property
    def admission(self) -> Admission:
        first = self.state.features[0]
        assert isinstance(first, Admission)
        return first

    async def __aenter__(self) -> Clients:
        if self.version in HTTP2:
            http2_client.WIRE = self.version
            self._http2 = http2_client.Connection(self.app)
            self._http2.protocol.features = self.state.features
            await self._http2.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        if self._http2 is not None:
            await self._http2.__aexit__(*exc)
        for connection in self.connections:
            await connection.__aexit__(*exc)
        http2_client.WIRE = "native"
        await settle()
        if exc[0] is None:
            assert (self.admission.running, self.admission.waiting) == (0, 0)

    async def ask(self, path: str = "/") -> None:
        """Send a request."""
        if self._http2 is not None:
            stream = self._http2.request([*http2_client.GET[:3], (":path", path)])
            self.sent.append((self._http2, stream))
            await self._http2.exchange(2)
            return
        connection = Connection(self.version, self.app, state=self.state)
        self.connections.append(connection)
        self.sent.append((connection, 0))
        await connection.feed(get(path))

    async def leave(self, number: int) -> None:
        """The client of the request with this number goes away."""
        connection, stream = self.sent[number]
        if stream:
            connection.client.reset_stream(stream)
            await connection.exchange(2)
        else:
            connection.transport.lose(ConnectionResetError())
            await settle()

    async def answers(self) -> list[tuple[int, bytes] | None]:
        """What has come back so far, by request."""
        if self._http2 is not None:
            await self._http2.exchange(4)
        return [_answer(connection, stream) for connection, stream in self.sent]


def _answer(connection: Any, stream: int) -> tuple[int, bytes] | None:
    if stream:
        found = connection.answers.get(stream)
        return (int(found.status), found.body) if found is not None and found.ended else None
    got = responses(bytes(connection.transport.written), closed=connection.closed)
    return (got[0].status, got[0].body) if got else None


REFUSED = (503, b"Service Unavailable")


# Turns


def test_so_many_run_and_the_others_follow_in_order(version: str) -> None:
    """Two at a time; the rest as they came, whatever connection they came on."""
    app = Slow()
    paths = [f"/{i}" for i in range(7)]

    async def main() -> None:
        async with Clients(version, app, running=2, queue=5) as clients:
            for path in paths:
                await clients.ask(path)
            assert app.began == ["/0", "/1"]
            assert (clients.admission.running, clients.admission.waiting) == (2, 5)
            await asyncio.sleep(1)
            assert await clients.answers() == [(200, path.encode()) for path in paths]
            assert clients.refused == 0

    hurry(main())
    assert app.began == paths
    assert app.most == 2


def test_a_full_queue_refuses_at_once(version: str) -> None:
    """503 with Retry-After; the connection goes on, and whoever tries later is served."""
    app = Slow()

    async def main() -> None:
        async with Clients(version, app) as clients:
            for i in range(4):
                await clients.ask(f"/{i}")
            assert await clients.answers() == [None, None, None, REFUSED]
            assert clients.refused == 1
            connection, stream = clients.sent[3]
            if stream:
                fields = dict(connection.answers[stream].headers)
                assert fields["retry-after"] == "1"
            else:
                [response] = connection.responses()
                assert response.headers[b"retry-after"] == b"1"
                assert b"connection" not in response.headers
            await asyncio.sleep(0.5)
            if not stream:
                await connection.feed(get("/again"))
                await asyncio.sleep(0.1)
                [response] = connection.responses()
                assert response.body == b"/again"
            await clients.ask("/later")
            await asyncio.sleep(0.2)
            assert (await clients.answers())[-1] == (200, b"/later")

    hurry(main())


def test_nobody_waits_for_longer_than_the_deadline(version: str) -> None:
    """Each has its own; those behind one that gave up have their turn."""
    app = Slow()

    async def main() -> None:
        async with Clients(version, app, queue=5, queue_timeout=0.15) as clients:
            for i in range(3):
                await clients.ask(f"/{i}")
            await asyncio.sleep(0.08)
            await clients.ask("/3")
            await asyncio.sleep(0.06)  # 0.14: the second one runs, the third one waits
            assert await clients.answers() == [(200, b"/0"), None, None, None]
            await asyncio.sleep(0.02)  # 0.16
            assert (await clients.answers())[2] == REFUSED
            assert app.began == ["/0", "/1"]
            await asyncio.sleep(0.2)
            assert (await clients.answers())[3] == (200, b"/3")
            assert clients.refused == 1

    hurry(main())
    assert app.began == ["/0", "/1", "/3"]


def test_without_a_deadline_they_wait_for_as_long_as_it_takes(parser: str) -> None:
    """0: no limit, and no timer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3600)
        await answer(send)

    async def main() -> None:
        async with Clients(parser, app, queue_timeout=0) as clients:
            await clients.ask()
            await clients.ask()
            await asyncio.sleep(7000)
            assert [found is not None for found in await clients.answers()] == [True, False]
            await asyncio.sleep(300)
            assert await clients.answers() == [(200, b"ok")] * 2

    hurry(main())


def test_who_leaves_frees_the_place(version: str) -> None:
    """The app never hears of it; the next one may wait there."""
    app = Slow()

    async def main() -> None:
        async with Clients(version, app, queue=1) as clients:
            await clients.ask("/0")
            await clients.ask("/1")
            await clients.leave(1)
            assert clients.admission.waiting == 0
            await clients.ask("/2")
            await asyncio.sleep(0.3)
            assert (await clients.answers())[2] == (200, b"/2")
            assert clients.refused == 0

    hurry(main())
    assert app.began == ["/0", "/2"]


def test_who_leaves_while_it_runs_keeps_the_turn_until_the_app_returns(version: str) -> None:
    """Work that nobody waits for is work all the same."""
    app = Slow()

    async def main() -> None:
        async with Clients(version, app) as clients:
            await clients.ask("/0")
            await clients.ask("/1")
            await clients.leave(0)
            assert app.began == ["/0"]
            await asyncio.sleep(0.15)
            assert app.began == ["/0", "/1"]
            await asyncio.sleep(0.1)

    hurry(main())


@pytest.mark.parametrize("raises", [ValueError, asyncio.CancelledError, SystemExit])
def test_an_app_that_fails_ends_its_turn(version: str, raises: type[BaseException]) -> None:
    """Whatever it raises."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        raise raises

    async def main() -> None:
        async with Clients(version, app) as clients:
            for _ in range(2):
                await clients.ask()
            await asyncio.sleep(0.1)
            assert await clients.answers() == [(500, b"Internal Server Error")] * 2

    hurry(main())


def test_an_app_that_blocks_leaves_others_their_places(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came while it blocked is read before the next one runs: they queue here, not in the kernel."""
    monkeypatch.setattr(http2_turns, "LONGEST_TURN", 60.0)  # all of one read are begun in one turn
    blocked: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        blocked.append(scope["path"])  # as if it took a second
        await answer(send)

    async def main() -> None:
        async with Clients(version, app, queue=1) as clients:
            if clients._http2 is not None:
                for i in range(3):
                    clients.sent.append(
                        (clients._http2, clients._http2.request([*http2_client.GET[:3], (":path", f"/{i}")]))
                    )
                clients._http2.send()
            else:
                clients.connections += [Connection(version, app, state=clients.state) for _ in range(3)]
                clients.sent += [(connection, 0) for connection in clients.connections]
                for i, connection in enumerate(clients.connections):
                    connection.transport.feed(get(f"/{i}"))
                    assert blocked in ([], ["/0"])
            await settle()
            assert blocked == ["/0", "/1"]
            assert await clients.answers() == [(200, b"ok"), (200, b"ok"), REFUSED]

    hurry(main())


def test_pipelined_requests_keep_their_order(parser: str) -> None:
    """Only the one that is to be answered next waits."""
    app = Slow()

    async def main() -> None:
        async with Clients(parser, app) as clients:
            await clients.ask("/other")
            connection = Connection(parser, app, state=clients.state)
            clients.connections.append(connection)
            await connection.feed(get("/1") + post(b"body", "/2") + get("/3"))
            assert clients.admission.waiting == 1
            await clients.ask("/between")
            await asyncio.sleep(1)
            assert [response.body for response in connection.responses()] == [b"/1", b"/2", b"/3"]

    hurry(main())
    assert app.began == ["/other", "/1", "/between", "/2", "/3"]


def test_a_body_that_comes_while_its_request_waits(version: str) -> None:
    """It is there when the app asks for it, and asks for no 100 Continue before."""
    bodies: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.1)
        message = await receive()
        bodies.append(message["body"])
        assert not message["more_body"]
        await answer(send)

    async def main() -> None:
        async with Clients(version, app) as clients:
            await clients.ask()
            if clients._http2 is not None:
                stream = clients._http2.request(http2_client.POST, b"half", end=False)
                await clients._http2.exchange(2)
                clients._http2.client.send_data(stream, b"more", end_stream=True)
                await clients._http2.exchange(2)
            else:
                connection = Connection(version, app, state=clients.state)
                clients.connections.append(connection)
                await connection.feed(get("/", "Content-Length: 8", "Expect: 100-continue", method="POST"))
                assert connection.take() == b""
                await connection.feed(b"half", b"more")
            await asyncio.sleep(0.5)

    hurry(main())
    assert bodies == [b"", b"halfmore"]


# The end of a server


def test_who_waits_when_the_server_stops_is_served(parser: str) -> None:
    """As a request in hand is: it was taken."""
    app = Slow()

    async def main() -> None:
        async with Clients(parser, app) as clients:
            await clients.ask("/0")
            await clients.ask("/1")
            for connection in clients.connections:
                connection.protocol.shutdown()
            await asyncio.sleep(0.3)
            assert await clients.answers() == [(200, b"/0"), (200, b"/1")]
            assert all(connection.closed for connection in clients.connections)

    hurry(main())


def test_who_waits_when_the_limit_of_the_stop_is_over_is_refused(
    version: str, caplog: pytest.LogCaptureFixture, isolated_logging: None
) -> None:
    """503, and not a word in the log: the app has not begun."""
    app = Slow()

    async def main() -> None:
        async with Clients(version, app) as clients:
            await clients.ask("/0")
            await clients.ask("/1")
            tasks = clients.state.tasks or clients._http2.state.tasks
            for task in list(tasks):
                task.cancel()
            await settle()
            assert (await clients.answers())[1] == REFUSED

    hurry(main())
    assert app.began == ["/0"]
    assert len([record for record in caplog.records if record.exc_info]) == 1  # of the one that ran


class Waiting:
    """As much of an exchange as the queue looks at."""

    disconnected = False

    def watch(self, event: Any) -> None:
        self.event = event


def test_a_turn_that_comes_with_the_cancellation_goes_to_the_next_one() -> None:
    """Nobody keeps it."""

    async def main() -> None:
        admission = Admission(Capacity(running=1), lambda: None)
        assert admission.enters()
        first, second = (asyncio.ensure_future(admission.waits(Waiting())) for _ in range(2))  # type: ignore[arg-type]
        await settle()
        admission.leaves()
        first.cancel()  # right behind what gives it its turn
        assert (await first, await second) == (False, True)
        admission.leaves()
        await settle()
        assert (admission.running, admission.waiting) == (0, 0)

    hurry(main())


# Who does not wait


def test_there_is_no_queue_unless_it_is_asked_for() -> None:
    """Who does not use it does not have it."""
    assert features_of(Settings.of({}), logger) == []


def test_files_and_refusals_of_the_server_do_not_wait(parser: str, tmp_path: Path) -> None:
    """What the server answers by itself takes no turn, and is no work of the app."""
    (tmp_path / "file").write_text("content")
    static = {"static": [f"/static={tmp_path}"]}

    async def main() -> None:
        async with Clients(parser, Slow(), static, queue=0) as clients:
            await clients.ask("/0")
            await clients.ask("/static/file")
            assert (await clients.answers())[1] == (200, b"content")
            limited = Connection(parser, Slow(), state=clients.state, limit_concurrency=1)
            clients.connections.append(limited)
            await limited.feed(get())
            [response] = limited.responses()
            assert (response.status, response.headers[b"connection"]) == (503, b"close")
            assert (clients.admission.running, clients.refused) == (1, 0)
            await asyncio.sleep(0.2)

    hurry(main())


@pytest.mark.parametrize("library", [WSProtocol, WebSocketsSansIOProtocol])
def test_websockets_do_not_wait(parser: str, library: Any) -> None:
    """They last; what bounds them is the number of connections."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
        else:
            await Slow()(scope, receive, send)

    async def main() -> None:
        async with Clients(parser, app, queue=0) as clients:
            await clients.ask()
            connection = Connection(
                parser,
                app,
                state=clients.state,
                ws_protocol_class=library,
                ws_max_size=1000,
                ws_max_queue=32,
                ws_ping_interval=None,
                ws_ping_timeout=None,
                ws_per_message_deflate=False,
            )
            await connection.feed(handshake())
            assert connection.take().startswith(b"HTTP/1.1 101 ")
            assert (clients.admission.running, clients.refused) == (1, 0)
            connection.transport.lose()
            await asyncio.sleep(0.2)

    hurry(main())


def test_the_time_in_the_queue_is_none_of_the_app(parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Server-Timing tells them apart, also of one that never ran."""
    timing = {"server_timing": {"enabled": True, "allow": "127.0.0.0/8"}}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr("pounce.exchange.server_timing.monotonic", loop.time)
        monkeypatch.setattr("pounce.connection.http1_input.monotonic", loop.time)
        async with Clients(parser, Slow(), timing, queue_timeout=0.15) as clients:
            for i in range(3):
                await clients.ask(f"/{i}")
            await asyncio.sleep(1)
            fields = [connection.responses()[0].headers[b"server-timing"] for connection in clients.connections]
            assert fields == [
                b"queue;dur=0.0, app;dur=100.0, total;dur=100.0",
                b"queue;dur=100.0, app;dur=100.0, total;dur=200.0",
                b"queue;dur=150.0, app;dur=0.0, total;dur=150.0",
            ]

    hurry(main())


# What is left, and what is said


def test_nothing_is_left_of_an_exchange(parser: str) -> None:
    """It is freed at once, not by the garbage collector: one that ran, one that waited, one that was refused."""
    cycles: list[Any] = []

    async def main() -> None:
        clients = Clients(parser, Slow(), queue=1)
        clients.state.features.insert(0, lambda cycle: cycles.append(weakref.ref(cycle)))
        clients.state.features.sort(key=lambda feature: not isinstance(feature, Admission))
        async with clients:
            for i in range(3):
                await clients.ask(f"/{i}")
            await asyncio.sleep(0.5)
            assert len([found for found in await clients.answers() if found is not None]) == 3

    gc.collect()
    gc.disable()
    try:
        hurry(main())
        assert len(cycles) == 3
        assert [cycle() for cycle in cycles] == [None] * 3
    finally:
        gc.enable()


def test_refusals_are_a_line_a_second(caplog: pytest.LogCaptureFixture, isolated_logging: None) -> None:
    """As with the other limits."""

    async def main() -> None:
        config = Config(Slow(), capacity={"running": 1, "queue": 0}, lifespan="off", log_config=None)
        config.load()
        worker = Worker(config)
        async with Connection("h11", Slow(), state=worker.state) as connection:
            await connection.feed(get("/0"))
            others = [Connection("h11", Slow(), state=worker.state) for _ in range(5)]
            for refused in others:
                await refused.feed(get("/"))
                assert [response.status for response in refused.responses()] == [503]
                refused.transport.lose()

    with caplog.at_level(logging.WARNING, LOGGER_ERROR):
        hurry(main())
    assert [record.getMessage() for record in caplog.records] == ["Exceeded queue limit."]


def test_a_queue_needs_a_number_that_runs() -> None:
    """Else it is told that it does nothing."""
    assert Settings.of({"capacity": {"queue": 5, "queue_timeout": 1}}).vain() == [
        ("capacity.queue", "capacity.running"),
        ("capacity.queue_timeout", "capacity.running"),
    ]
    assert Settings.of({"capacity": {"queue": 5, "running": 1}}).vain() == []


# Under load


@pytest.mark.parametrize("queue", [20, 100])
def test_ten_times_the_load(queue: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """There come ten times the requests that the app can take, which is four at a time of 20 ms each.

    It goes on to answer as many as it can, and nobody waits for longer than the deadline, by which the longer queue is
    bound, and the shorter one is not. On a clock of its own: what the server itself takes is measured by
    `python -m benchmarks.overload`.
    """
    records: list[ExchangeRecord] = []
    pool = asyncio.Semaphore(4)  # of connections to a database, say

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with pool:
            await asyncio.sleep(0.02)
        await answer(send)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr("pounce.exchange.record.monotonic", loop.time)
        async with Clients("httptools", app, running=4, queue=queue, queue_timeout=0.2) as clients:
            clients.state.observers.append(records.append)
            # More than can be in hand at a time.
            clients.connections += [Connection("httptools", app, state=clients.state) for _ in range(500)]
            begun = loop.time()
            for number in range(2000):
                transport = clients.connections[number % 500].transport
                transport.written.clear()
                transport.feed(get())
                await asyncio.sleep(begun + (number + 1) / 2000 - loop.time())
            took = loop.time() - begun
            await asyncio.sleep(1)
            return took

    took = hurry(main())
    statuses = Counter(record.status for record in records)
    assert len(records) == sum(statuses.values()) == 2000
    assert set(statuses) == {200, 503}
    assert statuses[200] >= 0.95 * 200 * took
    waits = [(record.first_byte_at or 0) - record.head_at for record in records]
    assert max(waits) <= 0.2 + 0.02 + 0.001
    refused = [wait for record, wait in zip(records, waits, strict=True) if record.status == 503]
    assert (max(refused) == 0) == (queue == 20)
