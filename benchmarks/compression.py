"""What compression costs and saves: `python -m benchmarks.compression`, beside Starlette's GZipMiddleware on uvicorn.

A bare app answers with JSON of 1 KiB, 16 KiB and 1 MiB, made once, of which zstd leaves a fifth to a seventh. A client
on one kept connection asks for it again and again. Printed are milliseconds of the server's processor time for each
answer and the bytes that came, both with all servers in turns, medians of the rounds; then the same 1 MiB through a
link of 100 Mbit/s and 20 ms one way (`benchmarks.relay`): milliseconds from request to last byte.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import procfs
from benchmarks.environments import CHECKOUT, environ_for
from benchmarks.load.outcome import LoadError
from benchmarks.machine import machine
from benchmarks.measure import Cores
from benchmarks.process import ServerProcess, free_port, leave_politely, on_cores
from benchmarks.relay import Link, Relay
from benchmarks.servers import BY_NAME as SERVER

SIZES = (1024, 16 * 1024, 1024 * 1024)

#: The level of both gzips.
LEVEL = 6

LINK = Link(delay=20, bandwidth=100)

#: Answers of one measurement over the link.
OVER_LINK = 8

COLOURS = ["red", "green", "blue", "cyan", "black", "white", "amber", "violet"]


@functools.cache
def records(size: int) -> bytes:
    """JSON of so many bytes, the same in each process."""
    dice = random.Random(7)
    made: list[Any] = []
    length = 2
    while length < size:
        made.append({
            "id": len(made), "name": f"item number {dice.randrange(10**5):05}", "price": dice.randrange(10**4) / 4,
            "tags": dice.sample(COLOURS, 3), "stock": dice.random() < 0.5,
            "owner": f"user{dice.randrange(5000)}@example.org",
        })  # fmt: skip
        length += len(json.dumps(made[-1])) + 2
    return json.dumps(made).encode()[:size]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/SIZE`: so many bytes of JSON."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    body = records(int(scope["path"][1:]))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def with_middleware() -> Any:
    """The same app behind Starlette's middleware."""
    from starlette.middleware.gzip import GZipMiddleware

    return GZipMiddleware(app, compresslevel=LEVEL)


class Row(NamedTuple):
    """A server, and what it is asked for."""

    title: str
    server: str
    app: str
    coding: str
    options: tuple[str, ...] = ()


ROWS = (
    Row("pounce, uncompressed", "pounce", "app", "identity"),
    Row("pounce, zstd", "pounce", "app", "zstd", ("--compression", "zstd")),
    Row("pounce, gzip", "pounce", "app", "gzip", ("--compression", "gzip", "--compression-level", f"gzip={LEVEL}")),
    Row("pounce, br", "pounce", "app", "br", ("--compression", "br")),
    Row("uvicorn, GZipMiddleware", "uvicorn", "with_middleware", "gzip", ("--factory",)),
)


class Client:
    """One connection."""

    def __init__(self, port: int, coding: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), 30)
        self._coding = coding

    def ask(self, size: int) -> int:
        """The bytes of one answer, head included. Raises LoadError where it is not coded as it should be."""
        request = f"GET /{size} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {self._coding}\r\n\r\n"
        self._sock.sendall(request.encode())
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._read()
        fields = dict(line.split(": ", 1) for line in data[:end].decode().lower().split("\r\n")[1:])
        if fields.get("content-encoding", "identity") != self._coding:
            raise LoadError(f"{fields.get('content-encoding')} instead of {self._coding}")
        total = got = len(data)
        total = end + 4 + int(fields["content-length"])
        while got < total:
            got += len(self._read())
        return total

    def _read(self) -> bytes:
        data = self._sock.recv(1 << 18)
        if not data:
            raise LoadError("the connection ended within an answer")
        return data

    def close(self) -> None:
        self._sock.close()


@contextmanager
def serving(row: Row, folder: Path) -> Iterator[tuple[int, int]]:
    """The process and the port of a server."""
    cores = Cores.available()
    environ = environ_for(SERVER[row.server], not getattr(sys, "_is_gil_enabled", lambda: True)(), {})
    environ["PYTHONPATH"] = str(CHECKOUT)
    port = free_port()
    command = [
        sys.executable, "-m", row.server, f"benchmarks.compression:{row.app}", "--port", str(port), *row.options,
        "--lifespan", "off", "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip

    def probe() -> None:
        client = Client(port, row.coding)
        client.ask(SIZES[0])
        client.close()

    with ServerProcess(command, environ, folder, set(cores.server)) as server:
        server.await_ready(probe)
        with on_cores(set(cores.load)):
            yield server.pid, port


class Figures(NamedTuple):
    """Milliseconds of the server, or of the clock, and bytes, for one answer."""

    milliseconds: float
    size: int


def spent(row: Row, size: int, seconds: float, folder: Path) -> Figures:
    """Processor time for one answer."""
    with serving(row, folder) as (pid, port):
        client = Client(port, row.coding)
        for _ in range(3):
            length = client.ask(size)
        before, count, end = procfs.cpu_seconds(pid), 0, time.monotonic() + seconds
        while time.monotonic() < end:
            client.ask(size)
            count += 1
        used = procfs.cpu_seconds(pid) - before
        client.close()
        return Figures(used / count * 1000, length)


def over_link(row: Row, size: int, folder: Path) -> Figures:
    """From request to last byte, on a kept connection of a slow link."""
    with serving(row, folder) as (_, port), Relay(port, LINK) as relay:
        client = Client(relay.port, row.coding)
        client.ask(size)
        taken = []
        for _ in range(OVER_LINK):
            begun = time.monotonic()
            length = client.ask(size)
            taken.append((time.monotonic() - begun) * 1000)
        client.close()
        return Figures(median(taken), length)


def line(title: str, found: list[Figures], base: float) -> str:
    """One row of a table."""
    middle = median(one.milliseconds for one in found)
    return f"| {title} | {middle:.3f} | {middle / base:.2f} x | {found[0].size:,} |"


def available(row: Row) -> bool:
    """Whether this interpreter has what it needs."""
    import importlib.util

    from pounce.exchange.content_codings import MODULES

    def there(module: str) -> bool:
        try:
            __import__(module)
        except ImportError:
            return False
        return True

    if row.server == "uvicorn":
        return all(importlib.util.find_spec(name) is not None for name in ("uvicorn", "starlette"))
    return row.coding == "identity" or any(there(module) for module in MODULES[row.coding])


def main() -> None:
    """Measure, and print a table for each size, and one for the link."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    options = parser.parse_args()
    leave_politely()
    rows = [row for row in ROWS if available(row)]
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in SIZES:
            found: dict[Row, list[Figures]] = {row: [] for row in rows}
            for _ in range(options.rounds):
                for row in rows:
                    found[row].append(spent(row, size, options.seconds, folder))
            base = median(one.milliseconds for one in found[rows[-1]])
            print(f"\n{size:,} bytes\n\n| | CPU ms | to {rows[-1].title} | bytes |\n|---|---|---|---|")
            print("\n".join(line(row.title, found[row], base) for row in rows), flush=True)
        found = {row: [] for row in rows}
        for _ in range(options.rounds):
            for row in rows:
                found[row].append(over_link(row, SIZES[-1], folder))
        base = median(one.milliseconds for one in found[rows[0]])
        print(f"\n{SIZES[-1]:,} bytes, {LINK.bandwidth:g} Mbit/s, {LINK.delay:g} ms one way\n")
        print(f"| | ms | to {rows[0].title} | bytes |\n|---|---|---|---|")
        print("\n".join(line(row.title, found[row], base) for row in rows))


if __name__ == "__main__":
    main()
