from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pounce.config.config import Config
from pounce.supervisors.orphan import ParentWatch
from tests.supervisors.apps import app

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and descriptors")

#: A process whose parent ends with the line that it prints first, and which never ends by itself.
ORPHAN = """
import os, signal, sys, threading
sys.path[:0] = {path!r}
from pounce.config.config import Config
from pounce.supervisors import orphan, succession

succession.TIMEOUT_RETIRE_MARGIN = {margin}
signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
read, write = os.pipe()
config = Config("x:y", timeout_graceful_shutdown=0, timeout_worker_healthcheck={healthcheck})
orphan.ParentWatch(config, [], lambda: {beats}).start(read)
os.close(write)
while True: threading.Event().wait(0.02)
"""


def run_orphan(margin: float, beats: list[tuple[str, float]], healthcheck: int = 5) -> tuple[int, bytes, bytes]:
    """Exit code and output of an orphan with these heartbeats."""
    code = ORPHAN.format(path=[str(ROOT), *sys.path], margin=margin, beats=beats, healthcheck=healthcheck)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_an_orphan_that_does_not_end_is_ended() -> None:
    """A process that turns but does not end goes away by itself once its time is up."""
    code, output, log = run_orphan(0.2, [("a", 0.0)])
    assert (code, output) == (1, b"told\n")
    assert b"The parent of this process is gone, and it does not end by itself." in log


def test_an_orphan_of_which_no_loop_turns_is_ended() -> None:
    """It does not get the time of one that turns."""
    assert run_orphan(1000.0, [("a", 5.1), ("b", 60.0)])[0] == 1


@pytest.mark.parametrize(("healthcheck", "beats"), [(5, [60.0, 4.9]), (0, [60.0]), (5, [])])
def test_an_orphan_that_may_serve_goes_on(healthcheck: int, beats: list[float]) -> None:
    """As long as one loop turns, where the health check is off, and where it has not begun to serve."""
    config = Config(app, timeout_worker_healthcheck=healthcheck)
    watch = ParentWatch(config, [], lambda: [("pounce-worker", age) for age in beats])
    assert not watch._is_blocked()


def listening(family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> socket.socket:
    sock = socket.socket(family)
    sock.bind(address)
    sock.listen()
    return sock


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_a_listener_is_taken_from_its_loop(family: int, tmp_path: Path) -> None:
    """Nobody listens any more, by no duplicate either, and the loop's descriptors stay ones that it can close."""
    at: Any = ("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "socket")
    with listening(family, at) as sock, sock.dup() as duplicate:
        address, number = sock.getsockname(), sock.fileno()
        ParentWatch(Config(app), [sock], list)._take_listeners()
        with socket.socket(family) as client, pytest.raises(ConnectionRefusedError):
            client.connect(address)
        assert sock.fileno() == number
        for one in (sock, duplicate):
            assert not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            assert not one.get_inheritable()


def test_what_has_the_number_of_a_closed_listener_is_left_alone() -> None:
    """Closed by its loop, its descriptor may be that of a client's connection by now."""
    sock = listening()
    watch = ParentWatch(Config(app), [sock], list)
    number = sock.fileno()
    sock.close()
    one, other = socket.socketpair()
    with one, other:
        assert number in (one.fileno(), other.fileno())
        watch._take_listeners()
        one.sendall(b"x")
        assert other.recv(1) == b"x"


def test_a_descriptor_that_became_another_socket_is_left_alone() -> None:
    """Also where the socket object is open still."""
    sock = listening()
    watch = ParentWatch(Config(app), [sock], list)
    number = sock.detach()
    socket.close(number)
    one, other = socket.socketpair()
    with one, other:
        assert number in (one.fileno(), other.fileno())
        held = one if one.fileno() == number else other
        watch._listeners = [(held, watch._listeners[0][1])]
        watch._take_listeners()
        one.sendall(b"x")
        assert other.recv(1) == b"x"
