"""Many short lives on a server with worker threads, in this process; then a count of what was lost, doubled or left.

Clients of four kinds (one request per connection, kept connections, WebSockets, and those that reset in the middle) run
against servers that are started and stopped under them, and whose loops time out idle connections and limit requests.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import gc
import logging
import os
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pounce.config import Config
from pounce.server import Server

#: Seconds that one server lives.
LIFE = 1.5


@dataclass
class Report:
    """What became of it all."""

    servers: int = 0
    answered: int = 0
    websockets: int = 0
    resets: int = 0
    problems: list[str] = field(default_factory=list)


class _Book:
    """Which requests the app has handled, and which of them clients saw answered. Ids are handed out once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.handled: collections.Counter[str] = collections.Counter()
        self.answered: collections.Counter[str] = collections.Counter()
        self.websockets = 0
        self.resets = 0
        self.problems: list[str] = []
        self._next = 0

    def new_id(self, kind: str) -> str:
        with self.lock:
            self._next += 1
            return f"{kind}{self._next}"

    def problem(self, text: str) -> None:
        with self.lock:
            self.problems.append(text)


def _app(book: _Book) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["thread"] = threading.current_thread().name
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["state"]["thread"] != threading.current_thread().name:
            book.problem("a request runs on another worker's thread")
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                with contextlib.suppress(OSError):  # gone
                    await send({"type": "websocket.send", "text": message.get("text") or ""})
            return
        name = scope["path"][1:]
        with book.lock:
            book.handled[name] += 1
        if hash(name) % 3 == 0:
            await asyncio.sleep(0.002)
        body = name.encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    return app


class _Clients:
    """Threads that ask one server until it is gone."""

    def __init__(self, address: tuple[str, int], book: _Book, seed: int) -> None:
        self._address = address
        self._book = book
        self._over = threading.Event()
        kinds = (self._short, self._short, self._kept, self._kept, self._websocket, self._resetting)
        self._threads = [
            threading.Thread(target=self._repeat, args=(kind, random.Random(seed * 100 + number)))
            for number, kind in enumerate(kinds)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)
            if thread.is_alive():
                self._book.problem("a client waits for ever")

    def _repeat(self, visit: Any, rng: random.Random) -> None:
        while not self._over.is_set():
            try:
                with socket.create_connection(self._address, 10) as sock:
                    visit(sock, rng)
            except TimeoutError:
                self._book.problem(f"{visit.__name__}: no answer for 10 s")
            except OSError:
                time.sleep(0.002)  # between two servers

    def _request(self, sock: socket.socket, name: str, *headers: str) -> bytes:
        """The head of the answer, or nothing where the connection ended first."""
        sock.sendall("\r\n".join([f"GET /{name} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode())
        received = b""
        while not (b"\r\n\r\n" in received and received.endswith(name.encode())):
            try:
                chunk = sock.recv(65536)
            except ConnectionError:
                chunk = b""
            if not chunk:
                if received:
                    self._book.problem(f"{name}: only {received!r}")
                return b""
            received += chunk
        if received.count(b"HTTP/1.1 200") != 1:
            self._book.problem(f"{name}: {received!r}")
        with self._book.lock:
            self._book.answered[name] += 1
        return received.lower()

    def _short(self, sock: socket.socket, rng: random.Random) -> None:
        self._request(sock, self._book.new_id("s"), "Connection: close")

    def _kept(self, sock: socket.socket, rng: random.Random) -> None:
        for _ in range(rng.randrange(1, 30)):
            head = self._request(sock, self._book.new_id("k"))
            if not head or b"connection: close" in head:
                return

    def _websocket(self, sock: socket.socket, rng: random.Random) -> None:
        key = base64.b64encode(rng.randbytes(16)).decode()
        upgrade = ["GET /ws HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
        upgrade += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        sock.sendall("\r\n".join(upgrade).encode())
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = sock.recv(65536)
            if not chunk:
                return
            received += chunk
        if not received.startswith(b"HTTP/1.1 101"):
            if not received.startswith((b"HTTP/1.1 403", b"HTTP/1.1 500", b"HTTP/1.1 503")):
                self._book.problem(f"websocket: {received[:60]!r}")
            return
        with self._book.lock:
            self._book.websockets += 1
        for _ in range(rng.randrange(5)):
            sock.sendall(_frame(1, b"hello"))
            if not sock.recv(65536):
                return
        match rng.randrange(3):
            case 0:
                sock.sendall(_frame(8, struct.pack("!H", 1000)))
                while sock.recv(65536):
                    pass
            case 1:
                _reset(sock)

    def _resetting(self, sock: socket.socket, rng: random.Random) -> None:
        name = self._book.new_id("r")
        request = f"GET /{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        sock.sendall(request[: rng.randrange(len(request) + 1)])
        if rng.randrange(2):
            time.sleep(0.001)
        _reset(sock)
        with self._book.lock:
            self._book.resets += 1


def _frame(opcode: int, payload: bytes) -> bytes:
    mask = b"\x01\x02\x03\x04"
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class _Watch(logging.Handler):
    """Everything that was logged as a warning or worse, or came out where nobody catches it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "will not run in parallel" in text:
            return  # this interpreter has a GIL
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        self.seen.append(text)

    def hook(self, args: Any) -> None:
        self.seen.append(f"unhandled: {args.exc_value!r}")


@contextlib.contextmanager
def _watching() -> Iterator[_Watch]:
    watch = _Watch()
    names = ("uvicorn", "asyncio")
    hooks = threading.excepthook, sys.unraisablehook
    threading.excepthook = sys.unraisablehook = watch.hook
    for name in names:
        logging.getLogger(name).addHandler(watch)
    try:
        yield watch
    finally:
        threading.excepthook, sys.unraisablehook = hooks
        for name in names:
            logging.getLogger(name).removeHandler(watch)


def stress(seconds: float, seed: int = 1, workers: int = 4) -> Report:
    """Run for about so long, and report."""
    report, book = Report(), _Book()
    rng = random.Random(seed)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads_before = set(threading.enumerate())
    files_before = 0
    loops_used: set[str] = set()
    begun = time.monotonic()
    try:
        with _watching() as watch:
            while time.monotonic() - begun < seconds:
                loop = rng.choice(("asyncio", "auto"))
                _one_life(book, rng, workers, loop)
                report.servers += 1
                gc.collect()
                left = [thread.name for thread in threading.enumerate() if thread not in threads_before]
                if left:
                    book.problem(f"threads left: {left}")
                    break
                files = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
                if loop not in loops_used:  # the first use of a loop leaves what its library keeps
                    loops_used.add(loop)
                    files_before = files
                elif files > files_before:
                    book.problem(f"{files - files_before} descriptors left")
                    files_before = files
    finally:
        sys.setswitchinterval(interval)
    book.problems += [f"log: {text}" for text in watch.seen]
    for name, count in book.handled.items():
        if count != 1:
            book.problems.append(f"{name} was handled {count} times")
        if name[0] != "r" and book.answered[name] != 1:
            book.problems.append(f"{name} was handled and answered {book.answered[name]} times")
    for name in book.answered.keys() - book.handled.keys():
        book.problems.append(f"{name} was answered and not handled")
    report.answered = sum(book.answered.values())
    report.websockets, report.resets, report.problems = book.websockets, book.resets, book.problems
    return report


def _one_life(book: _Book, rng: random.Random, workers: int, loop: str) -> None:
    config = Config(
        _app(book),
        port=0,
        workers=workers,
        worker_class="thread",
        log_config=None,
        access_log=False,
        timeout_keep_alive=1,
        timeout_graceful_shutdown=10,
        limit_max_requests=rng.choice((None, 2000)),
        loop=loop,
    )
    server = Server(config)

    def run() -> None:
        # A thread has no SIGTERM to catch; what a rolling restart gives idle connections is wanted all the same.
        server._captured_signals.append(15)
        server.run()

    runner = threading.Thread(target=run, name="runner")
    runner.start()
    while not server.started:
        if not runner.is_alive():
            book.problem("the server did not start")
            return
        time.sleep(0.005)
    clients = _Clients(server.servers[0].sockets[0].getsockname(), book, rng.randrange(1 << 30))
    clients.start()
    time.sleep(LIFE * rng.uniform(0.3, 1.0))
    server.should_exit = True
    runner.join(30)
    if runner.is_alive():
        book.problem("the server does not end")
    clients.stop()
    pool = server._pool
    if pool is not None:
        for thread in pool.threads:
            if thread.state.connections or thread.state.tasks:
                book.problem(f"{thread.name} keeps {len(thread.state.connections)} connections, {thread.state.tasks}")
            if thread.load() != 0:
                book.problem(f"{thread.name} ends with a load of {thread.load()}")
