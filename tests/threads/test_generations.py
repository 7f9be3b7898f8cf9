"""The command with worker threads under its supervisor: generations, crashes, stuck loops, fallbacks.

Short versions; `benchmarks/threads` has the full lengths.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from pounce.pool.gil_watch import gil_is_on
from pounce.server import SIGTERM_LINGER
from tests.process.serving import Served, environment, served

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")

THREADS = ("--workers", "2", "--worker-class", "thread")

APP = r"""
import asyncio, os, threading, time

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/block":
        block_the_loop()
    if scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
            await asyncio.sleep(0.05)
    body = f"{os.getpid()} {threading.current_thread().name}".encode()
    headers = [(b"content-length", b"%d" % len(body)), (b"x-answered-at", b"%a" % time.monotonic())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

def block_the_loop():
    time.sleep(40)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "served_app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def env(project: Path) -> dict[str, str]:
    return environment()


class Load:
    """Clients that ask again and again, on kept connections and on new ones, and count what fails.

    A server that ends grants an idle connection `SIGTERM_LINGER` for the request that may be under way: one that a
    machine with more to do has sent later may find it closed (RFC 9112, 9.5), and is counted for itself.
    """

    def __init__(self, server: Served) -> None:
        self.server = server
        self.answered = 0
        self.pids: set[str] = set()
        self.failures: list[str] = []
        self.late = 0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(4)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)

    def check(self, changes: int) -> None:
        """Nobody has missed an answer; each of the clients may have been late, at each change of generations."""
        assert self.failures == []
        assert self.late <= changes * len(self._threads)
        assert self.answered > 20

    def _ask(self, keeps_alive: bool) -> None:
        sock: socket.socket | None = None
        idle_since = 0.0
        while not self._over.is_set():
            received, asked_at = b"", 0.0
            try:
                if sock is None:
                    idle_since = time.monotonic()
                    sock = self.server.connect()
                fields = b"Host: x\r\n" + (b"" if keeps_alive else b"Connection: close\r\n")
                try:
                    sock.sendall(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")
                finally:
                    asked_at = time.monotonic()
                while not (b"\r\n\r\n" in received and received.endswith((b"worker-0", b"worker-1", b"worker-2"))):
                    chunk = sock.recv(65536)
                    if not chunk:
                        raise ConnectionError(f"no answer, but {received!r}")
                    received += chunk
            except OSError as exc:
                is_late = isinstance(exc, ConnectionError) and not received and asked_at - idle_since >= SIGTERM_LINGER
                with self._lock:
                    self.late += is_late
                    if not is_late:
                        self.failures.append(repr(exc))
                if sock is not None:
                    sock.close()
                sock = None
                continue
            head, _, body = received.partition(b"\r\n\r\n")
            idle_since = float(head.partition(b"x-answered-at: ")[2].split()[0])
            with self._lock:
                self.answered += 1
                self.pids.add(body.split()[0].decode())
            if not keeps_alive or b"connection: close" in received.lower():
                sock.close()
                sock = None
        if sock is not None:
            sock.close()


def pid_of(server: Served) -> int:
    return int(server.get()[1].split()[0])


def test_no_request_is_lost_when_generations_change(project: Path, env: dict[str, str]) -> None:
    """SIGHUP, SIGTTIN and SIGTTOU under load: new processes take over, and every request gets its answer."""
    with served("served_app:app", *THREADS, cwd=project, env=env) as server, Load(server) as load:
        for count, number in enumerate((signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU), 2):
            server.process.send_signal(number)
            server.log.wait_for("Finished server process", count - 1)
            server.log.wait_for("Started server process", count)
    load.check(changes=3)
    assert len(load.pids) >= 3, "nobody has seen a new generation"


def test_resizing_changes_the_number_of_threads(project: Path, env: dict[str, str]) -> None:
    """SIGTTIN is a new generation with one thread more."""
    with served("served_app:app", *THREADS, cwd=project, env=env) as server:
        server.process.send_signal(signal.SIGTTIN)
        server.log.wait_for("with 3 worker threads")
        server.log.wait_for("Finished server process")
        assert {server.get()[1].split()[1] for _ in range(6)} == {f"pounce-worker-{index}" for index in range(3)}


def test_a_killed_server_process_is_back_within_two_seconds(project: Path, env: dict[str, str]) -> None:
    """kill -9 of the server process: a new one serves on the same port."""
    with served("served_app:app", *THREADS, cwd=project, env=env) as server:
        pid = pid_of(server)
        os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        assert pid_of(server) != pid
        assert time.monotonic() - begun < 2 * slowness()


def slowness() -> float:
    """What to grant a machine that does other things at the same time."""
    return max(1.0, (os.getloadavg()[0] + 1) / (os.cpu_count() or 1) * 1.5)


def test_a_generation_with_a_stuck_loop_is_replaced(project: Path, env: dict[str, str]) -> None:
    """Both loops blocked for 40 s: noticed, the stack logged, and the service is back at once from a new process."""
    options = (*THREADS, "--timeout-worker-healthcheck", "2", "--timeout-graceful-shutdown", "1")
    with served("served_app:app", *options, cwd=project, env=env) as server:
        pid = pid_of(server)
        blocked = [server.connect() for _ in range(2)]
        for sock in blocked:
            sock.sendall(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        server.log.wait_for(r"Worker pounce-worker-\d of child process \[\d+\] is stuck")
        server.log.wait_for("block_the_loop")
        server.log.wait_for("Started server process", 2)
        server.log.wait_for("Application startup complete", 4)
        server.log.wait_for(rf"Terminated child process \[{pid}\]")  # by now only the new one accepts
        assert pid_of(server) != pid
        for sock in blocked:
            sock.close()


def test_a_stream_does_not_hold_the_end(project: Path, env: dict[str, str]) -> None:
    """SIGHUP with a streaming client, then SIGTERM: the parent ends within its limits."""
    options = (*THREADS, "--timeout-graceful-shutdown", "2")
    with (
        served("served_app:app", *options, cwd=project, env=env, tracebacks=True) as server,
        server.connect() as stream,
    ):
        stream.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stream.recv(1000)
        server.process.send_signal(signal.SIGHUP)
        server.log.wait_for("Waiting for child process")
        begun = time.monotonic()
        assert server.stop(signal.SIGTERM) == 0
        assert time.monotonic() - begun < 8


def test_recycling_loses_nothing(project: Path, env: dict[str, str]) -> None:
    """`--limit-max-requests` counts the process, and means a new generation before the old one drains."""
    options = (*THREADS, "--limit-max-requests", "50")
    with served("served_app:app", *options, cwd=project, env=env) as server, Load(server) as load:
        server.log.wait_for("Finished server process", 2)
    load.check(changes=2)
    assert len(load.pids) >= 2


SHARED = r"""
import asyncio, os, threading
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

class Pool:
    def __init__(self):
        self.loop = asyncio.get_running_loop()

@asynccontextmanager
async def in_app_state(app):
    app.state.pool = Pool()
    yield

@asynccontextmanager
async def in_lifespan_state(app):
    yield {"pool": Pool()}

async def home(request):
    pool = getattr(request.app.state, "pool", None) or request.state.pool
    assert pool.loop is asyncio.get_running_loop(), "another worker's pool"
    return PlainTextResponse(f"{os.getpid()} {threading.current_thread().name}")

def make(lifespan):
    return Starlette(routes=[Route("/", home)], lifespan=lifespan)

with_app_state = make(in_app_state)
with_lifespan_state = make(in_lifespan_state)

def factory():
    return make(in_app_state)
"""


def answers(server: Served) -> list[str]:
    received = [server.get() for _ in range(8)]
    assert {status for status, _ in received} == {200}
    return [body for _, body in received]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    (tmp_path / "shared_app.py").write_text(SHARED)
    return tmp_path


needs_no_gil = pytest.mark.skipif(gil_is_on(), reason="`auto` means processes on an interpreter with a GIL")


@needs_no_gil
def test_auto_falls_back_to_processes_for_shared_state(shared: Path) -> None:
    """`app.state.pool = ...` in the lifespan: processes instead of threads, and the log says why."""
    with served("shared_app:with_app_state", "--workers", "3", cwd=shared, env=environment()) as server:
        server.log.wait_for("Running processes instead of threads")
        server.log.wait_for(r"\(app\.state\.pool\)")
        server.log.wait_for("Application startup complete", 5)  # two threads, then three processes
        assert all(re.fullmatch(r"\d+ MainThread", body) for body in answers(server))


@needs_no_gil
@pytest.mark.parametrize("app", [("shared_app:with_lifespan_state",), ("shared_app:factory", "--factory")])
def test_auto_runs_threads_where_nothing_is_shared(app: tuple[str, ...], shared: Path) -> None:
    """State that the lifespan yields, or an app per worker: threads, each with its own pool."""
    with served(*app, "--workers", "2", cwd=shared, env=environment()) as server:
        bodies = answers(server)
        assert {body.split()[1] for body in bodies} == {"pounce-worker-0", "pounce-worker-1"}
        assert len({body.split()[0] for body in bodies}) == 1
        assert "instead of threads" not in server.log
