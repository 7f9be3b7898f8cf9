"""Server processes that die: what a request kills is replaced, however soon after the start that is."""

from __future__ import annotations

import time

import pytest

from tests.process.serving import PATIENCE, Served, served

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
