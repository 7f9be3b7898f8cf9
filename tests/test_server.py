"""pounce/server.py and pounce/listeners.py: what those see who hold a `Server`, with one worker and with threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from pounce.config import Config
from pounce.pool import gil_watch
from pounce.server import Server
from tests.threads.embedding import Application

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[1, 3], ids=["one worker", "threads"])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    for name in ("uvicorn", "uvicorn.error"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    return caplog


def a_server(app: Any = None, **settings: Any) -> Server:
    defaults: dict[str, Any] = {"port": 0, "log_config": None, "access_log": False, "worker_class": "thread"}
    return Server(Config(app or Application(), **(defaults | settings)))


@contextlib.asynccontextmanager
async def serving(server: Server, **arguments: Any) -> Any:
    task = asyncio.create_task(server.serve(**arguments))
    try:
        async with asyncio.timeout(20):
            while not server.started and not task.done():
                await asyncio.sleep(0.01)
        yield task
    finally:
        server.should_exit = True
        async with asyncio.timeout(20):
            await task


async def get(server: Server) -> bytes:
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_servers_and_sockets_tell_where_it_listens(workers: int) -> None:
    """`server.servers[0].sockets[0]` is how tests and notebooks find the port of `port=0`."""
    server = a_server(workers=workers)
    async with serving(server):
        assert server.servers[0].sockets[0].getsockname()[1] > 0
        assert (await get(server)).startswith(b"HTTP/1.1 200")
        assert server.server_state.total_requests == 1
        async with asyncio.timeout(5):  # the client may have read the end before the app's thread leaves the app
            while server.server_state.tasks:
                await asyncio.sleep(0.001)
        assert (b"server", b"pounce") in server.server_state.default_headers


async def test_given_sockets_are_served_and_closed(workers: int) -> None:
    """`serve(sockets=[...])` takes them over, as uvicorn does."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = a_server(workers=workers)
    async with serving(server, sockets=[sock]):
        assert (await get(server)).startswith(b"HTTP/1.1 200")
    assert sock.fileno() == -1


async def test_the_lines_of_a_life(workers: int, log: pytest.LogCaptureFixture) -> None:
    """Start and end read as with uvicorn; threads add a startup and a shutdown each, and say how many they are."""
    server = a_server(workers=workers)
    async with serving(server):
        pass
    started, *between, finished = [message for message in log.messages if "take turns" not in message]
    assert started.startswith(f"Started server process [{os.getpid()}]")
    assert ("worker threads" in started) == (workers > 1)
    assert finished == f"Finished server process [{os.getpid()}]"
    startup = ["Waiting for application startup.", "Application startup complete."] * workers
    shutdown = ["Waiting for application shutdown.", "Application shutdown complete."] * workers
    assert between[: len(startup)] == startup
    assert between[len(startup)].startswith("Pounce running on http://127.0.0.1:")
    assert between[len(startup) + 1 :] == ["Shutting down", *shutdown]


async def test_a_notification_is_called_in_time(workers: int) -> None:
    """`callback_notify`, which process managers use for their heartbeat."""
    called = asyncio.Event()

    async def notify() -> None:
        called.set()

    server = a_server(workers=workers, callback_notify=notify, timeout_notify=0)
    async with serving(server):
        await asyncio.wait_for(called.wait(), 10)


async def test_the_request_limit_ends_the_server(workers: int, log: pytest.LogCaptureFixture) -> None:
    """`limit_max_requests`, with the line that uvicorn writes."""
    server = a_server(workers=workers, limit_max_requests=2)
    async with serving(server) as task:
        await get(server)
        await get(server)
        await asyncio.wait_for(asyncio.shield(task), 10)
    assert "Maximum request limit of 2 exceeded. Terminating process." in log.messages


def test_jitter_is_drawn_once() -> None:
    """The limit lies within the jitter and does not move."""
    server = a_server(limit_max_requests=100, limit_max_requests_jitter=50)
    assert 100 <= server.limit_max_requests <= 150  # type: ignore[operator]
    assert {server.limit_max_requests for _ in range(20)} == {server.limit_max_requests}


async def test_heartbeats_are_young_while_loops_turn(workers: int) -> None:
    """One per worker, and one of the acceptor where there is one; none before the server serves."""
    server = a_server(workers=workers)
    assert server.heartbeats() == []
    async with serving(server):
        await asyncio.sleep(0.3)
        ages = dict(server.heartbeats())
        assert len(ages) == (1 if workers == 1 else workers + 1)
        assert all(age < 5 for age in ages.values())
        assert all(server.dump_stack(name) for name in ages)


@pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")
async def test_a_unix_socket_keeps_its_mode(workers: int, tmp_path: Path) -> None:
    """A new one is open to everybody; one that is there already keeps what it has."""
    path = tmp_path / "s"
    for mode in (0o666, 0o600):
        server = a_server(workers=workers, uds=str(path))
        async with serving(server):
            assert stat.S_IMODE(path.stat().st_mode) == mode
        if not path.exists():  # since Python 3.13 asyncio's own servers remove theirs
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(path))
        path.chmod(0o600)


@pytest.fixture
def no_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


async def test_signals_end_it_and_are_raised_again(workers: int, no_handlers: None) -> None:
    """SIGTERM is captured while it serves; afterwards whoever handled it before hears of it."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        server = a_server(workers=workers)
        async with serving(server) as task:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(asyncio.shield(task), 10)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_signal_during_startup_starts_no_further_worker() -> None:
    """The worker that is at its startup finishes it, is shut down again, and nobody listens."""
    app = Application()
    server = a_server(app, workers=4)
    lifespan = app.lifespan

    async def tells_to_stop(scope: Any, receive: Any, send: Any) -> None:
        server.should_exit = True
        await lifespan(scope, receive, send)

    app.lifespan = tells_to_stop  # type: ignore[method-assign]
    await asyncio.wait_for(server.serve(), 20)
    assert app.events == ["pounce-worker-0 starts", "pounce-worker-0 stops"]
    assert not server.started


class Gil:
    """Pretends to be the interpreter's switch."""

    on = False


@pytest.fixture
def gil(monkeypatch: pytest.MonkeyPatch) -> Gil:
    switch = Gil()
    monkeypatch.setattr(gil_watch, "gil_is_on", lambda: switch.on)
    return switch


class SwitchesItOn(Application):
    """Switches the GIL on with its first request, as a lazy import would."""

    def __init__(self, gil: Gil) -> None:
        super().__init__({"/": lambda _: setattr(gil, "on", True)})


@pytest.mark.parametrize("worker_class", ["auto", "thread"])
async def test_a_late_gil_is_reported_and_loses_no_request(
    worker_class: str, gil: Gil, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lazy import that brings the GIL back is named; under a supervisor `auto` asks for processes, and serves on."""
    monkeypatch.setattr(Config, "effective_worker_class", "thread")
    server = a_server(SwitchesItOn(gil), workers=2, worker_class=worker_class)
    server.is_supervised = True
    async with serving(server):
        await get(server)
        async with asyncio.timeout(10):
            while "switched the GIL back on" not in log.text:
                await asyncio.sleep(0.02)
        assert server.wants_processes == (worker_class == "auto")
        assert (await get(server)).startswith(b"HTTP/1.1 200")


async def test_an_import_that_brings_the_gil_back_is_refused_under_explicit_threads(
    gil: Gil, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--worker-class thread` exits with 3; supervised `auto` with the code that asks for processes."""
    for worker_class, code in (("thread", 3), ("auto", 4)):
        gil.on = False
        monkeypatch.setattr(Config, "effective_worker_class", "thread")
        monkeypatch.setattr(Config, "load_app", lambda _: setattr(gil, "on", True))
        server = a_server(workers=2, worker_class=worker_class)
        server.is_supervised = True
        with pytest.raises(SystemExit) as excinfo:
            await server.serve()
        assert excinfo.value.code == code
    assert log.text.count("switched the GIL back on") == 2


async def test_threads_on_an_interpreter_with_a_gil_come_with_one_warning(
    gil: Gil, log: pytest.LogCaptureFixture
) -> None:
    """They were asked for by name, so they run, and one line says that they will not run in parallel."""
    gil.on = True
    server = a_server(workers=2)
    async with serving(server):
        assert (await get(server)).startswith(b"HTTP/1.1 200")
    warnings = [record.getMessage() for record in log.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "will not run in parallel" in warnings[0]


class KeepsItsLoop(Application):
    """Puts its loop where all threads share it."""

    def __init__(self) -> None:
        super().__init__()
        self.state = type("State", (), {})()

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        self.state.pool = [asyncio.get_running_loop()]
        await super().lifespan(scope, receive, send)


async def test_embedded_auto_serves_with_one_worker_where_threads_cannot(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is there to start processes: the two workers that were up are shut down, and one serves on this loop."""
    monkeypatch.setattr(Config, "effective_worker_class", "thread")
    app = KeepsItsLoop()
    server = a_server(app, workers=4, worker_class="auto")
    async with serving(server):
        assert b"MainThread" in await get(server)
        assert server.server_state.total_requests == 1
    assert "(app.state.pool). Running one worker instead of threads." in log.text
    assert [event for event in app.events if "worker" in event] == [
        "pounce-worker-0 starts",
        "pounce-worker-1 starts",
        "pounce-worker-1 stops",
        "pounce-worker-0 stops",
    ]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pounce-worker")]


async def test_supervised_auto_shuts_its_workers_down_before_it_asks_for_processes(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4, after the shutdowns of those that had started."""
    monkeypatch.setattr(Config, "effective_worker_class", "thread")
    app = KeepsItsLoop()
    server = a_server(app, workers=4, worker_class="auto")
    server.is_supervised = True
    with pytest.raises(SystemExit) as excinfo:
        await server.serve()
    assert excinfo.value.code == 4
    assert app.events[-1] == "pounce-worker-0 stops"


class LongGoodbye:
    """An app whose lifespan shutdown waits until it is let go."""

    def __init__(self) -> None:
        self.leaving = asyncio.Event()
        self.may_go = asyncio.Event()
        self.gone = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.leaving.set()
        await self.may_go.wait()
        await send({"type": "lifespan.shutdown.complete"})
        self.gone = True


async def test_the_loop_is_alive_during_a_long_lifespan_shutdown() -> None:
    """A supervisor that looks at heartbeats must not take an app that cleans up for a stuck one."""
    app = LongGoodbye()
    server = a_server(app)
    async with serving(server):
        server.should_exit = True
        async with asyncio.timeout(5):
            await app.leaving.wait()
            for _ in range(3):
                server._worker.heartbeat -= 100  # type: ignore[union-attr]
                while server.heartbeats()[0][1] > 50:
                    await asyncio.sleep(0.01)
        app.may_go.set()
    assert app.gone


async def test_a_forced_exit_ends_a_lifespan_shutdown_that_does_not_end() -> None:
    """The second Ctrl+C means now."""
    app = LongGoodbye()
    server = a_server(app)
    async with serving(server) as task:
        server.should_exit = True
        async with asyncio.timeout(5):
            await app.leaving.wait()
            server.force_exit = True
            await asyncio.wait({task})
    assert not app.gone


async def test_web_concurrency_does_not_move_an_embedded_server_to_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """`await Server(config).serve()` runs the app on the caller's loop unless its author asked for workers."""
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(threading.current_thread().name)
        raise RuntimeError

    async with serving(a_server(app)):
        pass
    assert seen == [threading.current_thread().name]


class Streams(Application):
    """`/` streams for ever; takes note of how that ends."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.begun.set()
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0.01)


def can_bind(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        sock.listen()
        return True


@pytest.mark.parametrize("way", ["task", "anyio", "failure"])
async def test_a_server_that_is_cut_off_leaves_nothing_behind(
    workers: int, way: str, log: pytest.LogCaptureFixture
) -> None:
    """Cancelled, in a task or a cancel scope, or failed in a callback: the port is free, the app was shut down."""

    async def fails() -> None:
        if way == "failure" and app.begun.is_set():
            raise ZeroDivisionError

    app = Streams()
    server = a_server(app, workers=workers, callback_notify=fails, timeout_notify=0)
    before = asyncio.all_tasks()
    async with asyncio.timeout(20), anyio.create_task_group() as group:

        async def serve() -> None:
            with pytest.raises(ZeroDivisionError) if way == "failure" else contextlib.nullcontext():
                await server.serve()

        if way == "anyio":
            group.start_soon(serve)
        else:
            task = asyncio.create_task(serve())
        while not server.started:
            await asyncio.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.read(1)
        if way == "anyio":
            group.cancel_scope.cancel()
        elif way == "task":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task
    with contextlib.suppress(ConnectionError):
        while await reader.read(65536):
            pass
    writer.close()
    assert can_bind(port)
    assert len([event for event in app.events if event.endswith("stops")]) == workers
    assert asyncio.all_tasks() == before
    assert not [record for record in log.records if record.levelno >= logging.ERROR and way != "failure"]


async def test_a_start_that_is_cancelled_ends_the_lifespan_call() -> None:
    """The app's call is not left waiting in a loop that goes on."""
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.set()

    task = asyncio.create_task(a_server(app).serve())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_forced_exit_leaves_no_task_and_no_error(workers: int, log: pytest.LogCaptureFixture) -> None:
    """A loop that goes on has nothing left of the server, and the log nothing of how the app was cut off."""
    app = Streams()
    server = a_server(app, workers=workers)
    before = asyncio.all_tasks()
    async with serving(server) as task:
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.read(1)
        server.should_exit = server.force_exit = True
        async with asyncio.timeout(20):
            await asyncio.wait({task})
    writer.close()
    assert asyncio.all_tasks() - {task} == before
    assert not [record for record in log.records if record.levelno >= logging.ERROR], log.text
    assert not [event for event in app.events if event.endswith("stops")]
