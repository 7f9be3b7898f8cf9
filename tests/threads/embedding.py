"""Runs a `Server` with worker threads inside the test's process, and talks to it: `serving(app, workers=4)`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from pounce.config import Config
from pounce.server import Server

#: Seconds for anything that should take far less.
PATIENCE = 20.0

_used_loops: set[str] = set()


class Embedded:
    """A server that runs on a thread of its own, as a program that embeds it would have it."""

    def __init__(self, config: Config) -> None:
        self.server = Server(config)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="embedder")

    def _run(self) -> None:
        try:
            self.server.run()
        except BaseException as exc:
            self.error = exc

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self.server.started or not self._thread.is_alive())

    def stop(self) -> None:
        self.server.should_exit = True
        self.join()

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server does not end"

    @property
    def address(self) -> Any:
        return self.server.servers[0].sockets[0].getsockname()

    @property
    def threads(self) -> list[Any]:
        pool = self.server._pool
        assert pool is not None
        return pool.threads

    def connect(self) -> socket.socket:
        address = self.address
        if isinstance(address, str):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(address)
            return sock
        return socket.create_connection(address[:2], PATIENCE)

    def get(self, path: str = "/") -> tuple[int, str]:
        """Status and body, on a connection of its own."""
        with self.connect() as sock:
            return request(sock, path, "Connection: close")


def request(sock: socket.socket, path: str = "/", *headers: str) -> tuple[int, str]:
    """Status and body of a GET on this connection, which stays usable."""
    sock.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode())
    response = http.client.HTTPResponse(sock)
    try:
        response.begin()
        return response.status, response.read().decode()
    finally:
        response.close()


def wait_until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Poll: for what no event tells of across threads."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


@contextlib.contextmanager
def serving(app: Any, **settings: Any) -> Iterator[Embedded]:
    """Serve until the end of the block. Nothing may be left behind: no thread, no socket."""
    settings = {"port": 0, "log_config": None, "access_log": False, "workers": 4, "worker_class": "thread"} | settings
    threads_before = set(threading.enumerate())
    gc.collect()
    files_before = open_files()
    embedded = Embedded(Config(app, **settings))
    embedded.start()
    try:
        if embedded.error is not None:
            raise embedded.error
        yield embedded
    finally:
        embedded.stop()
    assert embedded.error is None, embedded.error
    left = [thread for thread in threading.enumerate() if thread not in threads_before]
    assert not left, left
    gc.collect()
    loop = settings.get("loop", "auto")
    if loop in _used_loops:  # a loop's library keeps descriptors of its own from its first use on
        assert open_files() <= files_before
    _used_loops.add(loop)


def open_files() -> int:
    """How many descriptors this process has open; 0 where the system does not tell."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


class Application:
    """Answers with the thread's name by default; `handlers` by path; takes note of lifespans."""

    def __init__(self, handlers: dict[str, Callable[[Any], Any]] | None = None) -> None:
        self.handlers = handlers or {}
        self.events: list[str] = []
        self.fails_at: str | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
            return
        handler = self.handlers.get(scope["path"], lambda _: threading.current_thread().name)
        answer = handler(scope)
        if asyncio.iscoroutine(answer):
            answer = await answer
        body = str(answer).encode()
        length = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body})

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        name = threading.current_thread().name
        await receive()
        self.events.append(f"{name} starts")
        scope["state"]["worker"] = name
        if self.fails_at == name:
            await send({"type": "lifespan.startup.failed", "message": f"{name} has no database"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.events.append(f"{name} stops")
        await send({"type": "lifespan.shutdown.complete"})
