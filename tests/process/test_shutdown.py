"""Signals: nothing that was accepted is lost, and the process ends within its limits."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.process.serving import parse_response, read_to_end, served

APP = r"""
import asyncio, sys

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        sys.stderr.write("lifespan ends\n")
        await send({"type": "lifespan.shutdown.complete"})
        return
    async def head():
        await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/begun":
        await head()
        await send({"type": "http.response.body", "body": b"first ", "more_body": True})
    sys.stderr.write("in flight\n")  # one write, so that workers do not cut into each other's lines
    await asyncio.sleep(1000 if scope["path"] == "/hangs" else 0.5)
    if scope["path"] != "/begun":
        await head()
    await send({"type": "http.response.body", "body": b"last"})
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "slow.py").write_text(APP)
    return tmp_path


def request(sock: socket.socket, path: str) -> None:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


@pytest.mark.parametrize(
    "number,workers,exit_code",
    [
        (signal.SIGTERM, 1, 0),
        (signal.SIGTERM, 2, 0),
        (signal.SIGINT, 1, 0),
        (signal.SIGINT, 2, 0),
    ],
)
@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_requests_in_flight_are_answered(
    number: signal.Signals, workers: int, exit_code: int, http: str, project: Path
) -> None:
    """Requests begun before the signal get their whole answer; idle connections are closed; lifespan shuts down."""
    options = ["--workers", str(workers), "--http", http, "--timeout-graceful-shutdown", "10"]
    with (
        served("slow:app", *options, cwd=project, exit_code=exit_code) as server,
        contextlib.ExitStack() as stack,
    ):
        idle = stack.enter_context(server.connect())
        request(idle, "/begun")
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += idle.recv(65536)

        clients = [(stack.enter_context(server.connect()), path) for path in ["/begun", "/", "/begun", "/", "/begun"]]
        for sock, path in clients:
            request(sock, path)
        server.log.wait_for("in flight", count=6)
        signalled = time.monotonic()
        server.process.send_signal(number)

        for sock, path in clients:
            assert parse_response(read_to_end(sock)) == (200, "first last" if path == "/begun" else "last")
        assert read_to_end(idle) == b""
        assert server.stop() == exit_code
        assert time.monotonic() - signalled < 10
        assert server.log.wait_for("lifespan ends", count=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_that_hangs_holds_nobody_up(workers: int, project: Path) -> None:
    """After `--timeout-graceful-shutdown` what still runs is cancelled, and the process ends."""
    options = ["--workers", str(workers), "--timeout-graceful-shutdown", "1"]
    # The cancelled request is logged as an exception of the app, as uvicorn does.
    with served("slow:app", *options, cwd=project, tracebacks=True) as server, server.connect() as sock:
        request(sock, "/hangs")
        server.log.wait_for("in flight")
        signalled = time.monotonic()
        server.stop(signal.SIGTERM)
        assert 0.9 < time.monotonic() - signalled < 10
        assert "timeout graceful shutdown exceeded" in server.log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_second_interrupt_forces_the_exit(loop: str, project: Path) -> None:
    """Ctrl+C twice ends the process although a client is still being served."""
    pytest.importorskip(loop)
    with (
        served("slow:app", "--loop", loop, cwd=project, exit_code=0, tracebacks=True) as server,
        server.connect() as sock,
    ):
        request(sock, "/hangs")
        server.log.wait_for("in flight")
        server.process.send_signal(signal.SIGINT)
        server.log.wait_for("Waiting for connections to close|Shutting down")
        server.stop(signal.SIGINT)
