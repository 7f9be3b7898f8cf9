"""pounce/worker/worker.py: the clock, and how connections begin and end; the connections here only take note."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from pounce import logs
from pounce.connection.base import Phase
from pounce.names import LOGGER_ERROR
from pounce.settings import Settings
from pounce.worker.worker import Worker

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class NoLifespan:
    def __init__(self, config: Any) -> None:
        self.state: dict[str, Any] = {}
        self.should_exit = False


class Connection(asyncio.Protocol):
    """A connection that is idle until somebody says otherwise."""

    def __init__(self, config: Any = None, server_state: Any = None, app_state: Any = None, _loop: Any = None) -> None:
        self.server_state = server_state
        self.phase = Phase.NEWLY_IDLE
        self.retiring = False
        self.busy = False
        self.events: list[str] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server_state.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(self)

    def owed(self, _limits: Any) -> tuple[()]:
        return ()

    def timeout_keep_alive_handler(self) -> None:
        self.events.append("timed out")
        self.server_state.connections.discard(self)

    def shutdown_when_idle(self) -> None:
        self.events.append("end when idle")
        self.retiring = True

    def shutdown(self) -> None:
        self.events.append("end")
        if not self.busy:
            self.server_state.connections.discard(self)
            if self.transport is not None:
                self.transport.close()


class FakeConfig:
    http_protocol_class = Connection
    lifespan_class = NoLifespan
    ssl = None
    timeout_keep_alive = 5
    timeout_graceful_shutdown = None
    date_header = True
    encoded_headers = [(b"server", b"pounce")]
    settings = Settings.of({})


def a_worker(**settings: Any) -> Worker:
    config = FakeConfig()
    for name, value in settings.items():
        setattr(config, name, value)
    return Worker(config)  # type: ignore[arg-type]


def connect(worker: Worker) -> Connection:
    connection = Connection(server_state=worker.state)
    worker.state.connections.add(connection)
    return connection


def test_default_headers_are_ready_for_the_second() -> None:
    """A tick makes the `date` header of the current second, in front of the configured headers."""
    worker = a_worker()
    worker.tick()
    (name, date), *rest = worker.state.default_headers
    assert name == b"date"
    assert abs(parsedate_to_datetime(date.decode()).timestamp() - time.time()) < 2
    assert rest == [(b"server", b"pounce")]


def test_no_date_header_where_none_is_wanted() -> None:
    """`--no-date-header`."""
    worker = a_worker(date_header=False)
    worker.tick()
    assert worker.state.default_headers == [(b"server", b"pounce")]


def test_responses_under_way_keep_the_headers_they_began_with() -> None:
    """A later second is a new list; the old one does not change."""
    worker = a_worker()
    worker.tick()
    before = worker.state.default_headers
    worker.refresh_default_headers()
    assert worker.state.default_headers is not before


def test_the_last_refusals_of_a_burst_are_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No further request has to be refused for that: the clock tells it, once, when the second is over."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(logs, "monotonic", lambda: now)
    worker = a_worker()
    for _ in range(5):
        worker.state.log_refusal(logging.getLogger(LOGGER_ERROR))
    for _ in range(30):
        worker.tick()
        now += 0.1
    assert [record.getMessage() for record in caplog.records] == [
        "Exceeded concurrency limit.",
        "Exceeded concurrency limit. 4 requests were refused since the last such line.",
    ]


def test_idle_connections_are_closed_after_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is closed once it has been idle for the keep-alive timeout; a busy one never is."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    worker = a_worker()
    idle, busy = connect(worker), connect(worker)
    busy.phase = Phase.BUSY
    while now < 1004.9:
        worker.tick()
        now += 0.1
    assert idle.events == []
    while now < 1006.0:
        worker.tick()
        now += 0.1
    assert idle.events == ["timed out"]
    assert busy.events == []


async def test_without_linger_idle_connections_end_at_once() -> None:
    """SIGINT: every connection is told to end, and nobody waits."""
    worker = a_worker()
    connection = connect(worker)
    await worker.retire_connections(0.0, lambda: False)
    assert connection.events == ["end"]


async def test_with_linger_a_request_under_way_still_finds_its_connection() -> None:
    """SIGTERM: idle connections are closed only after their linger."""
    worker = a_worker()
    connection = connect(worker)
    retiring = asyncio.create_task(worker.retire_connections(0.2, lambda: False))
    await asyncio.sleep(0.05)
    assert connection.events == ["end when idle"]
    await retiring
    assert connection.events == ["end when idle", "end"]


async def test_the_linger_ends_with_the_last_connection() -> None:
    """Clients that are gone keep nobody waiting."""
    worker = a_worker()
    connection = connect(worker)
    asyncio.get_running_loop().call_later(0.05, worker.state.connections.discard, connection)
    begun = time.monotonic()
    await worker.retire_connections(30.0, lambda: False)
    assert time.monotonic() - begun < 5


async def test_a_drain_waits_for_connections_and_tasks_or_for_force() -> None:
    """Of either kind; asking twice ends the wait."""
    worker = a_worker()
    connection = connect(worker)
    connection.busy = True
    task = asyncio.create_task(asyncio.sleep(30))
    worker.state.tasks.add(task)  # type: ignore[arg-type]
    draining = asyncio.create_task(worker.drain(0.0, lambda: False))
    await asyncio.sleep(0.2)
    assert not draining.done()
    worker.state.connections.discard(connection)
    await asyncio.sleep(0.1)
    assert not draining.done()
    worker.cancel_tasks()
    worker.state.tasks.clear()
    assert await asyncio.wait_for(draining, 5)
    connect(worker).busy = True
    assert await asyncio.wait_for(worker.drain(0.0, lambda: True), 5)


async def test_an_accepted_socket_becomes_a_connection_and_is_counted_once() -> None:
    """`adopted` and the connection set never count a socket twice once the loop has turned."""
    worker = a_worker()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        worker.adopt(accepted)
        async with asyncio.timeout(5):
            while not (worker.adopted and worker.state.connections):
                await asyncio.sleep(0.005)
        assert worker.adopted == 1
        assert len(worker.state.connections) == 1
        client.close()
        async with asyncio.timeout(5):
            while worker.state.connections:
                await asyncio.sleep(0.005)
        assert worker.adopted == 1


async def test_a_connection_made_while_retiring_ends_with_its_response() -> None:
    """What was accepted before the stop and connected after it is told so from the beginning."""
    worker = a_worker()
    worker.retiring = True
    protocol: Any = worker.create_protocol()
    assert protocol.retiring


async def test_a_protocol_that_cannot_be_made_is_counted_and_closed(caplog: pytest.LogCaptureFixture) -> None:
    """A broken `http=` class costs its client the connection, and the balance nothing."""

    def broken(**kwargs: Any) -> Any:
        raise ValueError("no protocol today")

    worker = a_worker(http_protocol_class=broken)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        worker.adopt(accepted)
        async with asyncio.timeout(5):
            while not worker.adopted:
                await asyncio.sleep(0.005)
        assert accepted.fileno() == -1
        assert client.recv(1) == b""
        client.close()


class Aborted:
    """A transport that takes note of its end."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_what_is_cut_short_is_over_and_not_an_event(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are cut and tasks have ended; what those log of their end is not heard, what others log is."""
    logger = logging.getLogger(LOGGER_ERROR)
    worker = a_worker()
    connection = connect(worker)
    connection.transport = Aborted()

    async def request(name: str) -> None:
        try:
            await asyncio.sleep(1000)
        except BaseException as exc:
            logger.error("Exception of %s", name, exc_info=exc)
            logger.warning("%s says something", name)
            raise

    task = asyncio.create_task(request("its request"))
    worker.state.tasks.add(task)
    other = asyncio.create_task(request("another"))
    await asyncio.sleep(0)
    other.cancel()
    monkeypatch.setattr(logger, "propagate", False)  # or it is heard twice
    logger.addHandler(caplog.handler)
    try:
        await worker.cut_short()
        assert task.done()
        assert connection.transport.aborted
        logger.error("later", exc_info=RuntimeError())
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.messages == [
        "Exception of another",
        "another says something",
        "its request says something",
        "later",
    ]


async def test_a_task_that_stays_does_not_hold_up_a_cut() -> None:
    """It is given half a second."""
    worker = a_worker()
    let_go = asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    task = asyncio.create_task(stubborn())
    worker.state.tasks.add(task)
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await worker.cut_short()
    assert not task.done()
    let_go.set()
    await task
