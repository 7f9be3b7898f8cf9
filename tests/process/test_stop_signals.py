"""One wish to stop that arrives by two ways, two wishes, and what the exit code says of the end."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.serving import PATIENCE, Served, environment, served
from tests.process.test_orphans import APP, SUPERVISED, ask, options_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

#: Servers of which each runs one lifespan, per kind.
LIFESPANS = {"process": 2, "thread": 2, "reload": 1}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return environment(GATE=str(tmp_path / "never"))


@pytest.fixture(params=SUPERVISED)
def supervised(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(supervised: str, env: dict[str, str], tmp_path: Path) -> Iterator[Served]:
    with served(APP, *options_for(supervised, tmp_path), env=env, tracebacks=True) as server:
        server.log.wait_for("Application startup complete", count=LIFESPANS[supervised])
        yield server


def interrupt_group(server: Served) -> None:
    """What Ctrl+C in a terminal does."""
    os.killpg(server.process.pid, signal.SIGINT)


def read_nothing(client: socket.socket) -> None:
    try:
        assert client.recv(1) == b""
    except ConnectionResetError:
        pass


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.02])
def test_an_interrupt_of_parent_and_group_counts_once(server: Served, supervised: str, delay: float) -> None:
    """`timeout -s INT` signals the parent, then its group: the workers' shutdowns run, whichever way is quicker."""
    server.process.send_signal(signal.SIGINT)
    time.sleep(delay)  # what is tested: the parent has passed it on by then, or not
    interrupt_group(server)
    assert server.stop() == 0
    server.log.wait_for("lifespan ends", count=LIFESPANS[supervised])


def test_an_interrupt_of_a_parent_that_is_done_changes_nothing(server: Served, supervised: str) -> None:
    """The exit code is that of the stop, at whatever moment of the interpreter's end the group's signal arrives."""
    server.process.send_signal(signal.SIGINT)
    server.log.wait_for("Stopping reloader process" if supervised == "reload" else "Stopping parent process")
    while server.process.poll() is None:
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.0005)  # many, at all moments, and yet some time for the process itself
    assert server.process.returncode == 0, str(server.log)


def test_two_interrupts_of_a_person_count_twice(server: Served, supervised: str) -> None:
    """Ctrl+C twice in a terminal, however quickly, cuts the connections."""
    with ask(server, "/hang") as client:
        server.log.wait_for("hanging")
        interrupt_group(server)
        server.log.wait_for("Shutting down", count=2 if supervised == "process" else 1)
        interrupt_group(server)
        read_nothing(client)
        assert server.stop() == 0


def test_sigquit_to_the_parent_cuts_a_request_off(server: Served) -> None:
    """There and then, and no process stays behind that waits for it."""
    with ask(server, "/hang") as client:
        server.log.wait_for("hanging")
        server.process.send_signal(signal.SIGQUIT)
        read_nothing(client)
        assert server.stop() == 0
        assert server.log.wait_for("Received SIGQUIT, exiting without waiting for requests")


@pytest.mark.parametrize("worker_class", SUPERVISED)
def test_sigquit_ends_a_stop_that_takes_long(worker_class: str, env: dict[str, str], tmp_path: Path) -> None:
    """Also while the parent waits for its workers' requests, these are cut off, without the app's shutdown."""
    options = options_for(worker_class, tmp_path)
    with served(APP, *options, env=env, tracebacks=True) as server, ask(server, "/hang") as client:
        server.log.wait_for("hanging")
        server.process.send_signal(signal.SIGTERM)
        server.log.wait_for("Waiting for connections to close")
        server.process.send_signal(signal.SIGQUIT)
        read_nothing(client)
        assert server.stop() == 0
        assert server.log.wait_for("Received SIGQUIT, exiting without waiting for requests")


@pytest.mark.parametrize("supervised", SUPERVISED)
def test_a_worker_that_had_to_be_killed_shows_in_the_exit_code(
    supervised: str, env: dict[str, str], tmp_path: Path
) -> None:
    """Its requests were cut off and its shutdown did not run: no success for a process manager."""
    with served(APP, *options_for(supervised, tmp_path), exit_code=1, env=env) as server:
        os.kill(int(server.get()[1]), signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while server.process.poll() is None:
            assert time.monotonic() < deadline, str(server.log)
            time.sleep(0.6)  # more than what counts as an echo
            server.process.send_signal(signal.SIGTERM)
        assert server.log.wait_for("did not end in time, killing it")


def test_a_worker_that_ends_as_told_is_a_success(server: Served) -> None:
    """However its own exit code looks to the parent."""
    assert server.stop(signal.SIGTERM) == 0
