"""WebSockets on the real loops: apps that only send keep neither loop nor server, and no handshake is lost."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from tests.process.serving import Served, read_to_end, served
from tests.wire.ws_frames import handshake

APP = r"""
import asyncio, logging, sys, time

stopping = False

class Listener(logging.Handler):
    def emit(self, record):
        global stopping
        if record.getMessage() == "Shutting down":
            stopping = True

logging.getLogger("uvicorn.error").addHandler(Listener())

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})
        return
    await receive()
    if scope["path"] == "/soon":
        sys.stderr.write("/soon begins\n")
        while not stopping:
            await asyncio.sleep(0.01)
    elif scope["path"] == "/late":
        sys.stderr.write("/late begins\n")
        await receive()
        return
    await send({"type": "websocket.accept"})
    if scope["path"] == "/soon":
        await receive()
        return
    frame = {"type": "websocket.send", "bytes": bytes(65536)}
    failed = False
    while True:
        try:
            await send(frame)
        except Exception as exc:
            if not failed:
                sys.stderr.write(f"{scope['path']} {type(exc).__name__}\n")
            failed = True
        if scope["path"] == "/blocking":
            time.sleep(0.005)
"""

LOOPS = ["asyncio", "uvloop"]


def flooded(server: Served, path: bytes) -> socket.socket:
    """A client that the app floods, which has read some of it."""
    sock = server.connect()
    sock.sendall(handshake(target=path))
    left = 1_000_000
    while left > 0:
        chunk = sock.recv(65536)
        assert chunk
        left -= len(chunk)
    return sock


def leave(sock: socket.socket, how: str) -> None:
    if how == "resets":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def is_served_soon(server: Served) -> bool:
    """Whether another client is answered within a second, though the machine may be busy."""
    for _ in range(10):
        begun = time.monotonic()
        assert server.get() == (200, "served")
        if time.monotonic() - begun < 1:
            return True
    return False


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "flood.py").write_text(APP)
    return tmp_path


def options(loop: str, ws: str) -> list[str]:
    for name in (loop, ws.partition("-")[0]):
        if name != "asyncio" and importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    return ["--loop", loop, "--ws", ws, "--http", "h11"]


@pytest.mark.parametrize("workers", [["--workers", "1"], ["--workers", "2", "--worker-class", "thread"]], ids="-".join)
@pytest.mark.parametrize("ws", ["wsproto", "websockets-sansio"])
@pytest.mark.parametrize("loop", LOOPS)
def test_an_app_that_ignores_the_end_of_its_client(loop: str, ws: str, workers: list[str], project: Path) -> None:
    """Others are served at once, whether clients reset or close, and SIGTERM ends the server at once."""
    with served("flood:app", *options(loop, ws), *workers, cwd=project) as server:
        for how in ("resets", "closes"):
            for path in (b"/", b"/blocking"):
                leave(flooded(server, path), how)
        server.log.wait_for("/(blocking)? ClientDisconnected", count=4)
        assert is_served_soon(server)
        signalled = time.monotonic()
        server.stop(signal.SIGTERM)
        assert time.monotonic() - signalled < 10
        assert "socket.send() raised exception" not in server.log


@pytest.mark.parametrize("ws", ["wsproto", "websockets-sansio"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_takes_everything(loop: str, ws: str, project: Path) -> None:
    """However fast it is, others are served beside it, and SIGTERM ends its WebSocket, too."""

    def take(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while sock.recv(1 << 20):
                pass

    with (
        served("flood:app", *options(loop, ws), cwd=project) as server,
        flooded(server, b"/") as fast,
        flooded(server, b"/blocking") as other,
    ):
        takers = [threading.Thread(target=take, args=(sock,), daemon=True) for sock in (fast, other)]
        for taker in takers:
            taker.start()
        assert is_served_soon(server)
        signalled = time.monotonic()
        server.stop(signal.SIGTERM)
        assert time.monotonic() - signalled < 10
        for taker in takers:
            taker.join(10)
            assert not taker.is_alive()


@pytest.mark.parametrize("workers", [["--workers", "1"], ["--workers", "2", "--worker-class", "thread"]], ids="-".join)
@pytest.mark.parametrize("ws", ["wsproto", "websockets-sansio"])
@pytest.mark.parametrize(
    "path,answer,last", [("/soon", b" 101 ", b"\x88\x02\x03\xf4"), ("/late", b" 503 ", b"Unavailable")]
)
def test_a_handshake_in_hand_when_the_server_stops(
    path: str, answer: bytes, last: bytes, ws: str, workers: list[str], project: Path
) -> None:
    """The app has time to answer it, before the WebSocket ends with 1012; what it does not answer gets a 503."""
    with (
        served("flood:app", *options("asyncio", ws), *workers, cwd=project) as server,
        server.connect() as sock,
    ):
        sock.sendall(handshake(target=path.encode()))
        server.log.wait_for(f"{path} begins")
        server.process.send_signal(signal.SIGTERM)
        received = read_to_end(sock)
        assert received.startswith(b"HTTP/1.1" + answer)
        assert received.endswith(last)
