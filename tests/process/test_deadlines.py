"""Clients that say nothing, or not all of it, are not kept: by the real command, with and without TLS."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from pathlib import Path

import pytest

from tests.beside.test_clients import tls_and_http2
from tests.process.serving import PATIENCE, Served, served

APP = "tests.process.http2_app:app"

#: The clock is the worker's, and the handshake's limit the loop's: each with what it may depend on.
SERVERS = {
    "asyncio": ("--loop", "asyncio"),
    "uvloop": ("--loop", "uvloop"),
    "processes": ("--workers", "2", "--worker-class", "process", "--loop", "uvloop"),
    "threads": ("--workers", "2", "--worker-class", "thread", "--loop", "asyncio"),
}
servers = pytest.mark.parametrize("options", SERVERS.values(), ids=SERVERS)


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


@servers
@pytest.mark.parametrize("http2", [(), ("--http2",)], ids=["HTTP/1.1", "HTTP/2, too"])
def test_a_head_that_does_not_come(http2: tuple[str, ...], options: tuple[str, ...]) -> None:
    """A silent client just ends; one with half a head is told."""
    pytest.importorskip(options[-1])
    with served(APP, *options, *http2, "--timeout-head", "0.5", "--timeout-keep-alive", "1") as server:
        assert server.get("/")[0] == 200
        assert said_to(server) == b""
        assert said_to(server, b"GET / HTTP/1.1\r\nHost: a\r\n").startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_five_hundred_heads_that_drip(loop: str) -> None:
    """A byte of each every so often keeps none of them; nobody else waits for that."""
    pytest.importorskip(loop)
    with served(APP, "--loop", loop, "--timeout-head", "1.5") as server:
        assert isinstance(server.address, tuple)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(server.address, PATIENCE)) for _ in range(500)]
            alive = set(clients)
            began = time.monotonic()
            byte = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".ljust(1000, b"x")
            for at in range(1000):
                for client in list(alive):
                    try:
                        client.sendall(byte[at : at + 1])
                    except ConnectionError:
                        alive.discard(client)
                alive -= {client for client in select.select(alive, [], [], 0.1)[0] if b"408" in client.recv(100)}
                if at == 3:
                    assert server.get("/")[0] == 200
                if not alive or time.monotonic() > began + PATIENCE:
                    break
            assert not alive


@servers
def test_a_tls_handshake_that_does_not_come(options: tuple[str, ...], tmp_path: Path) -> None:
    """It has the time of a head, not the minute that asyncio gives it."""
    pytest.importorskip(options[-1])
    tls, context = tls_and_http2(tmp_path)
    with served(APP, *options, *tls, "--timeout-head", "0.5", tls=context) as server:
        assert server.get("/")[0] == 200
        began = time.monotonic()
        assert said_to(server) == b""
        assert time.monotonic() - began < 10
