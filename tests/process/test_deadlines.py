"""Clients that say nothing, or not all of it, are not kept: by the real command, with and without TLS."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pounce.wire.http2_frames import GOAWAY, HEADERS, PREFACE, SETTINGS, frame_head, settings_frame
from tests.beside.test_clients import tls_and_http2
from tests.process.serving import PATIENCE, Served, served
from tests.wire.http2_peer import split

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


def said_over_tls(server: Served, *clients: tuple[bytes, ...]) -> list[bytes]:
    """The same of some with TLS, at the same time."""

    def listen(parts: tuple[bytes, ...]) -> bytes:
        with server.connect(PATIENCE) as sock:
            for part in parts:
                sock.sendall(part)
            heard = b""
            with contextlib.suppress(ConnectionError):
                while data := sock.recv(65536):
                    heard += data
            return heard

    with ThreadPoolExecutor(len(clients)) as threads:
        return list(threads.map(listen, clients))


@servers
@pytest.mark.parametrize("http2", [(), ("--http2",)], ids=["HTTP/1.1", "HTTP/2, too"])
def test_a_head_that_does_not_come(http2: tuple[str, ...], options: tuple[str, ...]) -> None:
    """A silent client just ends; one with half a head is told."""
    pytest.importorskip(options[-1])
    with served(APP, *options, *http2, "--timeout-head", "0.5", "--timeout-keep-alive", "1") as server:
        assert server.get("/")[0] == 200
        assert said_to(server) == b""
        assert said_to(server, b"GET / HTTP/1.1\r\nHost: a\r\n").startswith(b"HTTP/1.1 408 ")


def test_five_hundred_heads_that_drip() -> None:
    """A byte of each every so often keeps none of them; nobody else waits for that."""
    with served(APP, "--timeout-head", "1.5") as server:
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


@pytest.mark.parametrize(("loop", "wire"), [("asyncio", "native"), ("uvloop", "h2")])
def test_what_should_come_behind_a_tls_handshake(loop: str, wire: str, tmp_path: Path) -> None:
    """Nothing, a part of a head or preface, a preface alone, a part of a header block."""
    pytest.importorskip(loop)
    tls, context = tls_and_http2(tmp_path)
    limits = ("--timeout-head", "1", "--timeout-keep-alive", "1")
    with served(APP, "--loop", loop, "--http2-wire", wire, *tls, *limits, tls=context) as server:
        settings, headers = settings_frame({}), frame_head(100, HEADERS, 0, 1)
        http1 = (), (b"GET / HTTP/1.1\r\nHo",)
        http2 = (), (PREFACE[:9],), (PREFACE,), (PREFACE + settings,), (PREFACE + settings, headers, b"x")
        context.set_alpn_protocols(["http/1.1"])
        assert [heard[:13] for heard in said_over_tls(server, *http1)] == [b"", b"HTTP/1.1 408 "]
        context.set_alpn_protocols(["h2"])
        for heard in said_over_tls(server, *http2):
            kinds = [kind for kind, *_ in split(heard)]
            assert (kinds[0], kinds[-1]) == (SETTINGS, GOAWAY)


def test_bodies_that_stop_and_responses_that_are_not_taken() -> None:
    """Where there are limits for them."""
    with served(APP, "--timeout-body", "1", "--timeout-write", "1") as server:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
        assert said_to(server, head, b"1").startswith(b"HTTP/1.1 408 ")
        for seconds in (2, 4, 8, 16):  # for the server to find that nothing is taken: a busy machine takes longer
            with server.connect() as sock:
                sock.sendall(b"GET /size/20000000 HTTP/1.1\r\nHost: a\r\n\r\n")
                time.sleep(seconds)
                size = 0
                sock.settimeout(1)
                with contextlib.suppress(ConnectionError, TimeoutError):
                    while data := sock.recv(1 << 20):
                        size += len(data)
            if size < 20000000:
                return
        pytest.fail("all of it was sent")
