"""Whether a server ends within its limits, whatever its clients and its app hold on to: `python -m benchmarks.ends`.

Each run has 50 event streams (of which half listen for `http.disconnect`), 50 WebSockets, 10 uploads (half of them
without an end) and 10 requests in threads that are blocked; then comes SIGTERM, to a server that has limits, or Ctrl+C
twice, to one that has none. Printed is for each loop and kind of workers in how many runs the server ended in time, the
slowest of them, what ran of the app's shutdowns, and what the clients saw.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

KINDS = {
    "one worker": (),
    "threads": ("--workers", "2", "--worker-class", "thread"),
    "processes": ("--workers", "2", "--worker-class", "process"),
}

#: Seconds: the limits of the server that gets SIGTERM, and what it may take in all. Idle connections have 0.3, cut ones
#: half of one, whatever keeps a finished process has one, and so have the last words.
STREAMS, REQUESTS, LIFESPAN = 0.5, 2.0, 1.0
IN_ALL = REQUESTS + LIFESPAN + 3.0
LIMITS = (
    f"--timeout-graceful-streams={STREAMS}",
    f"--timeout-graceful-shutdown={REQUESTS:g}",
    f"--timeout-lifespan-shutdown={LIFESPAN}",
)

#: Seconds behind the second Ctrl+C, and what lies between the two: a parent takes what comes sooner for the same wish.
FORCED = 1.0
BETWEEN = 0.7

#: Seconds for anything that needs a fresh interpreter on a busy machine.
PATIENCE = 60.0


class Load(NamedTuple):
    """How many clients of each kind there are."""

    streams: int = 50
    websockets: int = 50
    uploads: int = 10
    blocked: int = 10


@dataclass
class Result:
    """What a run came to."""

    #: Seconds from the last signal to the end of the process; infinity where it had to be killed.
    seconds: float
    exit_code: int | None
    log: str
    #: By kind of client: what it saw.
    seen: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def shutdowns(self) -> int:
        """How many lifespans were shut down."""
        return self.log.count("lifespan ends")

    def clients(self) -> Counter[str]:
        """What clients of HTTP saw."""
        return sum((seen for kind, seen in self.seen.items() if kind != "websockets"), Counter[str]())


class Server:
    """The server process with its log."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log = ""
        self._grew = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log += line.decode(errors="replace")
            self._grew.set()
        self._grew.set()

    async def logged(self, pattern: str, count: int = 1) -> re.Match[str]:
        """The match with which there are so many. Raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE
        while len(found := list(re.finditer(pattern, self.log))) < count:
            left = deadline - time.monotonic()
            if left <= 0 or self._reading.done():
                raise TimeoutError(f"no {pattern!r} in:\n{self.log}")
            self._grew.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._grew.wait(), left)
        return found[count - 1]

    def signal(self, number: int) -> float:
        """Send it to the whole group, as a terminal does; or, SIGTERM, to the server alone. Returns when."""
        if number == signal.SIGTERM:
            self.process.send_signal(number)
        else:
            os.killpg(self.process.pid, number)
        return time.monotonic()

    async def end(self, since: float, patience: float) -> tuple[float, int | None]:
        """Wait for the end. Returns the seconds since then, and the exit code."""
        try:
            code = await asyncio.wait_for(self.process.wait(), patience)
            return time.monotonic() - since, code
        except TimeoutError:
            return float("inf"), None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()
            await self._reading


def request(path: str, *fields: str, method: str = "GET") -> bytes:
    """A request's head."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


class Clients:
    """All clients of a run."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ready: list[asyncio.Future[None]] = []
        self.tasks: dict[str, list[asyncio.Task[str]]] = {}

    async def start(self, load: Load) -> None:
        """Connect all, and wait until each is where it is to be."""
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = (
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        for kind, count in zip(load._fields, load, strict=True):
            self.tasks[kind] = []
            for number in range(count):
                ready = asyncio.get_running_loop().create_future()
                odd = number % 2
                match kind:
                    case "streams":
                        client = self._http(ready, request("/listens" if odd else "/sends"))
                    case "websockets":
                        client = self._websocket(ready, request("/", *upgrade))
                    case "uploads":
                        client = self._upload(ready, parts=sys.maxsize if odd else 10)
                    case _:
                        client = self._http(ready, request("/blocked"), is_ready=True)
                self._ready.append(ready)
                self.tasks[kind].append(asyncio.ensure_future(client))
        await asyncio.wait_for(asyncio.gather(*self._ready), PATIENCE)

    async def seen(self) -> dict[str, Counter[str]]:
        """What each saw, once all are at their end."""
        return {kind: Counter(await asyncio.gather(*tasks)) for kind, tasks in self.tasks.items()}

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", self._port)
            except ConnectionRefusedError:  # bound, announced, and not yet listening
                await asyncio.sleep(0.05)

    async def _http(self, ready: asyncio.Future[None], head: bytes, is_ready: bool = False) -> str:
        reader, writer = await self._connect()
        try:
            writer.write(head)
            if is_ready:
                ready.set_result(None)
            return await self._response(reader, ready)
        finally:
            writer.close()

    async def _response(self, reader: asyncio.StreamReader, ready: asyncio.Future[None]) -> str:
        received = b""
        try:
            while part := await reader.read(65536):
                received += part
                if not ready.done() and b"event" in received:
                    ready.set_result(None)
        except OSError:
            return "reset"
        return "whole" if is_complete(received) else "end"

    async def _upload(self, ready: asyncio.Future[None], parts: int) -> str:
        """Ten parts a second. Whoever uploads looks whether there is an answer already."""
        reader, writer = await self._connect()
        writer.write(request("/upload", "Transfer-Encoding: chunked", method="POST"))
        reading = asyncio.ensure_future(self._response(reader, ready))
        try:
            for number in range(parts):
                writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                if number == 1:
                    ready.set_result(None)
                await asyncio.wait({reading}, timeout=0.1)
                if reading.done() or reader.at_eof():
                    break
            else:
                writer.write(b"0\r\n\r\n")
            return await reading
        finally:
            writer.close()

    async def _websocket(self, ready: asyncio.Future[None], head: bytes) -> str:
        reader, writer = await self._connect()
        try:
            writer.write(head)
            await reader.readuntil(b"\r\n\r\n")
            ready.set_result(None)
            first, size = await reader.readexactly(2)
            payload = await reader.readexactly(size)
            if first != 0x88:
                return f"frame {first:#x}"
            mask = os.urandom(4)
            writer.write(
                bytes([0x88, 0x80 | size]) + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
            )
            await reader.read()
            return str(int.from_bytes(payload[:2], "big"))
        except asyncio.IncompleteReadError:
            return "end"
        except OSError:
            return "reset"
        finally:
            writer.close()


def is_complete(received: bytes) -> bool:
    """Whether this is a whole response."""
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return len(body) == int(length[1]) if length else body.endswith(b"0\r\n\r\n")


@contextlib.asynccontextmanager
async def serving(options: tuple[str, ...], workers: int, python: str) -> Iterator[tuple[Server, int]]:  # type: ignore[misc]
    """A server that is up, and its port."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("POUNCE_", "UVICORN_"))}
    path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH", "")]))
    process = await asyncio.create_subprocess_exec(
        python, "-m", "pounce", "benchmarks.apps.ends_app:app", "--port", "0", "--no-access-log", *options,
        env={**environment, "PYTHONPATH": path}, cwd=ROOT, start_new_session=True,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    server = Server(process)
    try:
        port = int((await server.logged(r"running on http://127\.0\.0\.1:(\d+)"))[1])
        await server.logged("Application startup complete", workers)
        yield server, port  # type: ignore[misc]
    finally:
        await server.end(0.0, 0.0)


async def run(kind: str, loop: str, forced: bool, load: Load, python: str = sys.executable) -> Result:
    """One run: SIGTERM to a server with limits, or Ctrl+C twice to one without."""
    options = (*KINDS[kind], "--loop", loop, *(() if forced else LIMITS))
    async with serving(options, 2 if KINDS[kind] else 1, python) as (server, port):
        clients = Clients(port)
        await clients.start(load)
        await server.logged("blocked\n", load.blocked)
        if forced:
            server.signal(signal.SIGINT)
            await server.logged("Waiting for connections to close")
            await asyncio.sleep(BETWEEN)
        since = server.signal(signal.SIGINT if forced else signal.SIGTERM)
        seconds, code = await server.end(since, PATIENCE)
        return Result(seconds, code, server.log, await clients.seen())


def row(kind: str, loop: str, forced: bool, results: list[Result]) -> str:
    """A line of the table."""
    limit = FORCED if forced else IN_ALL
    in_time = sum(result.seconds <= limit for result in results)
    times = sorted(result.seconds for result in results)
    sockets = sum((result.seen["websockets"] for result in results), Counter[str]())
    clients = sum((result.clients() for result in results), Counter[str]())
    seen = ", ".join(f"{word} {clients[word]}" for word in ("whole", "end", "reset"))
    workers = len(results) * (2 if KINDS[kind] else 1)
    shutdowns = sum(result.shutdowns for result in results)
    told_by = "Ctrl+C twice" if forced else "SIGTERM"
    return (
        f"| {told_by} | {kind}, {loop} | {in_time} of {len(results)} within {limit:g} s "
        f"| {times[len(times) // 2]:.2f} | {times[-1]:.2f} | {shutdowns} of {workers} "
        f"| {', '.join(f'{word} {count}' for word, count in sorted(sockets.items()))} | {seen} |"
    )


def is_good(forced: bool, result: Result, kind: str) -> bool:
    """Whether a run showed what it is to show."""
    return (
        result.seconds <= (FORCED if forced else IN_ALL)
        and (forced or result.shutdowns == (2 if KINDS[kind] else 1))
        and set(result.seen["websockets"]) <= {"1012", "1001"}
        and not result.clients()["reset"]
    )


def main() -> None:
    """All kinds, as a table. Exit code 1 where a run did not show what it is to show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of each; default: 3")
    parser.add_argument("--python", default=sys.executable, help="the server's interpreter; default: this one")
    parser.add_argument("--kind", action="append", choices=KINDS, help="default: all")
    parser.add_argument("--loop", action="append", help="asyncio, uvloop; default: both")
    parser.add_argument("--log", action="store_true", help="show the log of a run that was not good")
    options = parser.parse_args()
    print("| told by | server | ended | median s | slowest s | shutdowns | WebSockets | HTTP |")
    print("|---|---|---|---:|---:|---|---|---|")
    failed = False
    for forced in (False, True):
        for kind in options.kind or KINDS:
            for loop in options.loop or ("asyncio", "uvloop"):
                results = [asyncio.run(run(kind, loop, forced, Load(), options.python)) for _ in range(options.runs)]
                print(row(kind, loop, forced, results), flush=True)
                for result in results:
                    if not is_good(forced, result, kind):
                        failed = True
                        if options.log:
                            print(result.seconds, result.exit_code, result.seen, result.log, file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
