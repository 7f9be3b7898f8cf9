"""Server processes that die or are stopped: what a request kills is replaced, however soon after the start that is; one
wish to stop counts once, by however many ways it comes.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.process.serving import PATIENCE, Served, read_to_end, served

APP = "tests.process.deadly_app:app"


def die(server: Served) -> None:
    """Have the process that takes this request end, as soon as there is one."""
    with server.connect() as sock:
        sock.sendall(b"GET /die HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass


def answered(server: Served) -> float:
    """Seconds until a request is answered."""
    start = time.monotonic()
    while True:
        try:
            assert server.get()[0] == 200
        except (OSError, AssertionError):
            assert time.monotonic() - start < PATIENCE, str(server.log)
            time.sleep(0.01)
        else:
            return time.monotonic() - start


@pytest.mark.parametrize("worker_class", ["process", "thread"])
def test_a_process_that_dies_of_its_first_request_is_replaced(worker_class: str) -> None:
    """Again and again, without an end of the server, and without a growing wait."""
    with served(APP, "--workers", "2", "--worker-class", worker_class, "--no-access-log") as server:
        for _ in range(8):
            die(server)  # connected to the listening socket, it waits in the backlog where nobody accepts yet
        assert answered(server) < 10
        assert "failed to start" not in server.log
        assert server.log.wait_for("died")


CLASSES = pytest.mark.parametrize("worker_class", ["process", "thread"])


@CLASSES
def test_sigquit_stops_at_once(worker_class: str) -> None:
    """A request in hand is not waited for."""
    with served(APP, "--workers", "2", "--worker-class", worker_class) as server, server.connect() as sock:
        sock.sendall(b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert server.get()[0] == 200  # by then the other one is in hand
        start = time.monotonic()
        assert server.stop(signal.SIGQUIT) == 0
        assert time.monotonic() - start < 10
        server.log.wait_for("Received SIGQUIT, exiting without waiting for requests.")


@CLASSES
@pytest.mark.parametrize("later", [0.001, 0.02])
def test_a_signal_to_the_parent_and_then_to_its_group_is_one(worker_class: str, later: float) -> None:
    """As `timeout -s INT` sends it: every lifespan's shutdown runs, with a request in hand that is answered."""
    with (
        served("tests.process.deadly_app:with_lifespan", "--workers", "2", "--worker-class", worker_class) as server,
        server.connect() as sock,
    ):
        server.log.wait_for("Application startup complete", count=2)
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert server.get()[0] == 200
        server.process.send_signal(signal.SIGINT)
        time.sleep(later)
        os.killpg(server.process.pid, signal.SIGINT)
        assert read_to_end(sock).startswith(b"HTTP/1.1 200 ")
        assert server.stop() == 0
        server.log.wait_for("Application shutdown complete", count=2)
