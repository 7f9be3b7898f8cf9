"""Clients that say nothing, or not all of it, are not kept: by the real command, with and without TLS."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.beside.test_clients import tls_and_http2
from tests.process.serving import PATIENCE, Served, served

APP = "tests.process.http2_app:app"

WORKERS = {
    "one worker": (),
    "processes": ("--workers", "2", "--worker-class", "process"),
    "threads": ("--workers", "2", "--worker-class", "thread"),
}


def said_to(server: Served, *parts: bytes) -> bytes:
    """What a client without TLS hears until the server ends the connection."""
    assert isinstance(server.address, tuple)
    with socket.create_connection(server.address, timeout=PATIENCE) as sock:
        for part in parts:
            sock.sendall(part)
        heard = b""
        try:
            while data := sock.recv(65536):
                heard += data
        except ConnectionResetError:
            pass
        return heard


@pytest.mark.parametrize("http2", [(), ("--http2",)], ids=["HTTP/1.1", "HTTP/2, too"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
def test_a_head_that_does_not_come(workers: tuple[str, ...], loop: str, http2: tuple[str, ...]) -> None:
    """A silent client just ends; one with half a head is told."""
    pytest.importorskip(loop)
    options = ("--timeout-head", "0.5", "--timeout-keep-alive", "1", "--loop", loop, *workers, *http2)
    with served(APP, *options) as server:
        assert server.get("/")[0] == 200
        assert said_to(server) == b""
        assert said_to(server, b"GET / HTTP/1.1\r\nHost: a\r\n").startswith(b"HTTP/1.1 408 ")
        assert server.get("/")[0] == 200


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
def test_a_tls_handshake_that_does_not_come(workers: tuple[str, ...], loop: str, tmp_path: Path) -> None:
    """It has the time of a head, not the minute that asyncio gives it."""
    pytest.importorskip(loop)
    options, context = tls_and_http2(tmp_path)
    with served(APP, *options, "--timeout-head", "0.5", "--loop", loop, *workers, tls=context) as server:
        assert server.get("/")[0] == 200
        began = time.monotonic()
        assert said_to(server) == b""
        assert time.monotonic() - began < 10
        assert server.get("/")[0] == 200
