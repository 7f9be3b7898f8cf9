"""Nothing of one request reaches another, whichever thread and connection it is on: four loops, threads that switch."""

from __future__ import annotations

import asyncio
import contextvars
import http.client
import importlib.util
import itertools
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from benchmarks.load.hostile.http2 import OPENING, ask
from benchmarks.load.hostile.websocket import BINARY, frame, handshake
from benchmarks.load.visits import DATA, END_STREAM, SETTINGS, frame as http2_frame
from tests.threads.embedding import serving

marker: contextvars.ContextVar[str] = contextvars.ContextVar("marker")

CLIENTS = 8
CONNECTIONS = 4  # of each client, one after the other
REQUESTS = 6  # of each connection


class Application:
    """Leaves its name wherever it can, and answers with what it finds of others: `ok` and its own name, if nothing."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        self.threads.add(threading.current_thread().name)
        name = scope["path"][1:]
        found = [where for where, value in self.names(scope) if value is not None]
        for place in self.places(scope):
            place["left"] = name
        # An extension's own dict is the connection's: the names in it may be those of its other requests.
        peer = str(scope["client"][1])
        for what in scope["extensions"].values():
            if isinstance(what, dict) and what.setdefault("peer", peer) != peer:
                found.append("an extension")
        scope["headers"].append((b"left", name.encode()))
        marker.set(name)
        for _ in range(3):
            await asyncio.sleep(0)
            found += [f"{where}, later" for where, value in self.names(scope) if value != name]
        if (b"name", name.encode()) not in scope["headers"] and scope["http_version"] != "2":
            found.append("other fields")
        text = f"{found or 'ok'} {name} {peer}".encode()
        await (self.echo if scope["type"] == "websocket" else self.answer)(receive, send, name.encode(), text)

    async def answer(self, receive: Any, send: Any, name: bytes, text: bytes) -> None:
        headers = [(b"name", name), (b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        headers.append((b"left", name))
        await send({"type": "http.response.body", "body": text})
        headers.append((b"left", name))

    async def echo(self, receive: Any, send: Any, name: bytes, text: bytes) -> None:
        await receive()
        headers = [(b"name", name)]
        await send({"type": "websocket.accept", "headers": headers})
        headers.append((b"left", name))
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": text + b" " + message["bytes"]})

    def places(self, scope: Any) -> list[dict[str, Any]]:
        return [scope, scope["state"], scope["extensions"], scope["asgi"]]

    def names(self, scope: Any) -> Iterator[tuple[str, Any]]:
        """Where somebody may have left a name, and that name."""
        for where, place in zip(("scope", "state", "extensions", "asgi"), self.places(scope), strict=True):
            yield where, place.get("left")
        fields = [value.decode() for name, value in scope["headers"] if name == b"left"]
        yield "headers", fields[0] if len(fields) == 1 else (fields or None)
        yield "context", marker.get(None)


def name_of(number: int) -> str:
    return f"request-{number}"


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def read_response(sock: socket.socket) -> tuple[list[tuple[str, str]], bytes]:
    response = http.client.HTTPResponse(sock)
    try:
        response.begin()
        assert response.status in (101, 200)
        return response.getheaders(), b"" if response.status == 101 else response.read()
    finally:
        response.close()


def check_fields(fields: list[tuple[str, str]], name: str) -> None:
    """A response has its own name once, and what nobody sent is not there."""
    assert [value for field, value in fields if field.lower() == "name"] == [name]
    assert not [value for field, value in fields if field.lower() == "left"]


def http1(sock: socket.socket, numbers: Iterator[int]) -> None:
    """One request after the other."""
    for number in itertools.islice(numbers, REQUESTS):
        name = name_of(number)
        sock.sendall(f"GET /{name} HTTP/1.1\r\nHost: localhost\r\nName: {name}\r\n\r\n".encode())
        fields, body = read_response(sock)
        check_fields(fields, name)
        assert body == f"ok {name} {port_of(sock)}".encode()


def websocket(sock: socket.socket, numbers: Iterator[int]) -> None:
    """A handshake, and messages."""
    name = name_of(next(numbers))
    sock.sendall(handshake(f"/{name}", f"Name: {name}"))
    with sock.makefile("rb") as stream:
        head = b"".join(iter(stream.readline, b"\r\n"))
        assert head.startswith(b"HTTP/1.1 101 ")
        check_fields([tuple(line.split(": ", 1)) for line in head.decode().splitlines()[1:]], name)  # type: ignore[misc]
        for number in range(REQUESTS):
            sock.sendall(frame(BINARY, b"%d" % number))
            _, size = stream.read(2)
            assert stream.read(size) == f"ok {name} {port_of(sock)} {number}".encode()


def http2(sock: socket.socket, numbers: Iterator[int]) -> None:
    """All requests at once."""
    names = {2 * place + 1: name_of(number) for place, number in enumerate(itertools.islice(numbers, REQUESTS))}
    sock.sendall(OPENING + b"".join(ask(stream, f"/{name}") for stream, name in names.items()))
    bodies = dict.fromkeys(names, b"")
    with sock.makefile("rb") as source:
        open_streams = set(names)
        while open_streams:
            size_and_kind, flags, stream = struct.unpack("!IBI", source.read(9))
            payload = source.read(size_and_kind >> 8)
            if size_and_kind & 0xFF == SETTINGS and not flags:
                sock.sendall(http2_frame(SETTINGS, 1, 0))
            elif size_and_kind & 0xFF == DATA:
                bodies[stream] += payload
            if stream and flags & END_STREAM and size_and_kind & 0xFF <= 1:
                open_streams.discard(stream)
    assert bodies == {stream: f"ok {name} {port_of(sock)}".encode() for stream, name in names.items()}


Talk = Callable[[socket.socket, Iterator[int]], None]
WAYS: dict[str, tuple[Talk, dict[str, Any], str]] = {
    "h11": (http1, {"http": "h11"}, "h11"),
    "httptools": (http1, {"http": "httptools"}, "httptools"),
    "zttp": (http1, {"http": "zttp"}, "zttp"),
    "http2": (http2, {"http2": True}, "h2"),
    "websockets": (websocket, {"ws": "websockets-sansio"}, "websockets"),
    "wsproto": (websocket, {"ws": "wsproto"}, "wsproto"),
}


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads that have the GIL give it up as often as can be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_one_request_reaches_another(way: str, loop: str, quick_switches: None) -> None:
    """Scope, state, extensions, headers, context variables, and the fields and bodies of responses."""
    talk, settings, package = WAYS[way]
    for needed in (package, loop):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    numbers = _Numbers()
    app = Application()
    with serving(app, lifespan="off", loop=loop, **settings) as embedded:

        def visit(_: int) -> None:
            for _ in range(CONNECTIONS):
                with embedded.connect() as sock:
                    talk(sock, numbers)

        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(visit, range(CLIENTS)))
    assert len(app.threads) == 4


class _Numbers(Iterator[int]):
    """Each is handed out once, to whichever thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers)
