"""Listening sockets of the real command: whose they are, how quickly they send, and a process without descriptors."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.process.serving import PATIENCE, Served, run_command, served
from tests.process.test_mistakes import the_one_error

HELLO = "examples.hello:app"

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
LOOPS = ["asyncio"] + ["uvloop"] * (importlib.util.find_spec("uvloop") is not None)

#: One worker, several of either class, a reloader.
WAYS = [
    pytest.param(["--workers", "1"], id="one"),
    pytest.param(["--workers", "2", "--worker-class", "process"], id="processes"),
    pytest.param(["--workers", "2", "--worker-class", "thread"], id="threads"),
    pytest.param(["--reload"], id="reload"),
]


@pytest.fixture
def uds() -> Iterator[Path]:
    """A path for a unix socket; these must be short."""
    with TemporaryDirectory(prefix="p-") as folder:
        yield Path(folder) / "http.sock"


# Unix sockets


@pytest.mark.parametrize("way", WAYS)
def test_a_live_unix_socket_is_refused(uds: Path, way: list[str]) -> None:
    """Whoever comes second ends with 3 and one line; the first serves on, and its socket goes with it."""
    with served(HELLO, "--uds", str(uds), *way) as first:
        assert first.get() == (200, "Hello, world!")
        code, output = run_command(HELLO, "--uds", str(uds), *way)
        assert code == 3
        error = the_one_error(output)
        assert str(uds) in error
        assert error.endswith("is in use")
        assert "application startup" not in output
        assert first.get() == (200, "Hello, world!")
    assert not uds.exists()


@pytest.mark.parametrize("way", WAYS)
def test_a_socket_that_another_server_has_made_since_stays(uds: Path, way: list[str]) -> None:
    """The end of the one does not cut off the other."""
    with served(HELLO, "--uds", str(uds), *way) as old:
        assert old.get() == (200, "Hello, world!")
        uds.unlink()
        with served(HELLO, "--uds", str(uds)) as new:
            assert old.stop(signal.SIGTERM) == 0
            assert new.get() == (200, "Hello, world!")
        assert not uds.exists()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("occupant", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(uds: Path, way: list[str], occupant: str) -> None:
    """One line that names it, exit code 3."""
    target = uds.with_name("target")
    if occupant == "file":
        uds.write_text("mine")
    elif occupant == "folder":
        uds.mkdir()
    else:
        target.write_text("mine")
        uds.symlink_to(target)
    inode = uds.lstat().st_ino
    code, output = run_command(HELLO, "--uds", str(uds), *way)
    assert code == 3
    assert str(uds) in the_one_error(output)
    assert uds.lstat().st_ino == inode


@pytest.mark.parametrize("way", WAYS)
def test_what_a_killed_server_has_left_is_taken_over(uds: Path, way: list[str]) -> None:
    """A crash does not need a human."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(uds))
    with served(HELLO, "--uds", str(uds), *way) as server:
        assert server.get() == (200, "Hello, world!")
    assert not uds.exists()


def test_a_missing_folder_is_said_before_the_app_starts() -> None:
    """The path is in the error."""
    code, output = run_command(HELLO, "--uds", "/nowhere/http.sock")
    assert code == 3
    assert "'/nowhere/http.sock'" in the_one_error(output)
    assert "application startup" not in output


# What is accepted

NODELAY = """
import os, socket

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=os.dup(int(fd)))
        except OSError:
            continue
        with sock:
            try:
                if sock.family == socket.AF_INET and sock.getpeername():
                    found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            except OSError:
                pass
    body = repr(sorted(map(bool, found))).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


@needs_proc
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", [*WAYS, pytest.param(["--fd"], id="fd")])
def test_a_connection_sends_at_once(tmp_path: Path, way: list[str], loop: str) -> None:
    """TCP_NODELAY is on, whoever has bound the socket and whoever accepts."""
    (tmp_path / "nodelay.py").write_text(NODELAY)
    with contextlib.ExitStack() as opened:
        given = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        settings = {"pass_fds": [given.fileno()], "address": given.getsockname()} if way == ["--fd"] else {}
        options = ["--fd", str(given.fileno())] if way == ["--fd"] else way
        server = opened.enter_context(served("nodelay:app", *options, "--loop", loop, cwd=tmp_path, **settings))
        assert server.get() == (200, "[True]")


# Out of descriptors

LIMIT = 64
#: Lines about it that a test waits for, once and again; one a second of each process.
LINES = 2
FULL = "Cannot accept a connection: Too many open files"


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Commands that are started meanwhile may have few descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def complaints(server: Served) -> int:
    return sum(FULL in line for line in server.log.lines)


@needs_proc
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", WAYS[:3])
def test_a_process_without_descriptors(few_descriptors: None, way: list[str], loop: str) -> None:
    """It says so once a second, does not spin, serves those that it has, and accepts those that wait afterwards."""
    # uvloop closes those that come in the first tenth of a second. Each process has its own second, and its first line
    # comes at once.
    processes = 2 if "process" in way else 1
    with (
        served(HELLO, *way, "--loop", loop, "--timeout-keep-alive", "60") as server,
        server.connect() as kept,
        contextlib.ExitStack() as last,
    ):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1024), hard))
        assert is_served(kept)
        begun = time.monotonic()
        with contextlib.ExitStack() as opened:
            more = [150, *[10] * 60]
            while complaints(server) < LINES * processes:
                for _ in range(more.pop(0) if more else 0):
                    opened.enter_context(server.connect())
                time.sleep(0.1)
            spent, noticed = cpu_of(server), time.monotonic()
            server.log.wait_for(FULL, complaints(server) + LINES)
            spent, took = cpu_of(server) - spent, time.monotonic() - noticed
            assert spent < took / 20 + 0.03  # it is counted in hundredths
            waits = last.enter_context(server.connect())
            waits.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert is_served(kept)
        assert is_answered(waits)
        assert complaints(server) <= processes * (time.monotonic() - begun + 2)
        assert server.get() == (200, "Hello, world!")


def is_served(client: socket.socket) -> bool:
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return is_answered(client)


def is_answered(client: socket.socket) -> bool:
    client.settimeout(PATIENCE)
    received = b""
    while not received.endswith(b"Hello, world!"):
        chunk = client.recv(65536)
        if not chunk:
            return False
        received += chunk
    return received.startswith(b"HTTP/1.1 200")


def cpu_of(server: Served) -> float:
    """Seconds of processor time that the processes of a server have used; all of them are in its group."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == server.process.pid:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
