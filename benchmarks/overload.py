"""What an app answers that gets ten times the requests that it can take: `python -m benchmarks.overload`.

Three apps that can take so much and no more: four connections to a database (a query is 100 ms of waiting), four
threads (100 ms each), and 50 ms on the loop itself. First a closed loop of clients finds out how much that is. Then
requests come at ten times that rate, whatever becomes of them: with the queue (`--limit-running`), and without. A
client gives up after `PATIENCE` seconds, and asks the next time on another connection. Printed are answers a second,
how long clients waited for them, and how long for an answer or 503 at most; how long a request waited in the queue, by
the server's clock (Server-Timing); and how many clients gave up, or lost their connection.

Exit code 1: with the queue fewer than 0.9 of the closed loop's requests were answered, or one waited there for longer
than the deadline and a tenth of a second.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

from benchmarks.beside import started

#: Seconds after which a client gives up, and that a request may wait in the queue.
PATIENCE = 5.0
DEADLINE = 1.0
TIMES = 10
#: Seconds beyond the deadline that are the machine's.
LEEWAY = 0.1

REQUEST = b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: What the server says of the time before the app began, in milliseconds.
_QUEUED = re.compile(rb"\r\nserver-timing: queue;dur=([0-9.]+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Kind(NamedTuple):
    """An app: `--limit-running`, which is twice what it has in hand at a time, so that there is always a next one; and
    how long a request takes it, in seconds."""

    running: int
    seconds: float


KINDS = {"database": Kind(8, 0.1), "threads": Kind(8, 0.1), "loop": Kind(2, 0.05)}

# The app

_pool: Any = None
_threads = ThreadPoolExecutor(4)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Its path says how it works."""
    global _pool
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if _pool is None:
        _pool = asyncio.Semaphore(4)
    if scope["path"] == "/database":
        async with _pool:
            await asyncio.sleep(KINDS["database"].seconds)
    elif scope["path"] == "/threads":
        await asyncio.get_running_loop().run_in_executor(_threads, time.sleep, KINDS["threads"].seconds)
    else:
        time.sleep(KINDS["loop"].seconds)  # noqa: ASYNC251  # as an app that computes
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


# The clients


class Client(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.data = b""
        self.answer: asyncio.Future[int] | None = None
        #: Seconds that the latest request has waited in the server.
        self.queued = 0.0

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if end and length and len(body) >= int(length[1]) and self.answer is not None and not self.answer.done():
            self.answer.set_result(int(head[9:12]))
            if queued := _QUEUED.search(head):
                self.queued = float(queued[1]) / 1000
            self.data = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(0)

    async def ask(self, path: str) -> int:
        """The status of an answer; 0: the connection ended. Raises TimeoutError for a client that gives up."""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(REQUEST % path.encode())
        async with asyncio.timeout(PATIENCE):
            return await self.answer


class Result:
    """What became of requests: `waits` by status, in seconds. 0: no connection or a broken one, -1: given up."""

    def __init__(self) -> None:
        self.waits: dict[int, list[float]] = {}
        #: The longest wait of a request in the server, by its own clock.
        self.queued = 0.0

    def note(self, status: int, began: float, queued: float) -> None:
        """One request is over."""
        self.waits.setdefault(status, []).append(time.perf_counter() - began)
        self.queued = max(self.queued, queued)

    def row(self, name: str, seconds: float, best: float) -> str:
        """A line of the table."""
        answered = sorted(self.waits.get(200, [0.0]))
        refused = self.waits.get(503, [])
        lost = len(self.waits.get(0, [])) + len(self.waits.get(-1, []))
        longest = max([*answered, *refused])
        in_queue = f"{self.queued:.2f}" if self.queued else ""
        rate = len(self.waits.get(200, [])) / seconds
        return (
            f"| {name} | {rate:.0f} | {rate / best:.2f} | {answered[len(answered) // 2]:.2f} | {longest:.2f} | "
            f"{in_queue} | {len(refused)} | {lost} |"
        )


async def closed_loop(port: int, path: str, clients: int, seconds: float) -> float:
    """Answers a second where each client waits for its own before it asks again."""
    loop = asyncio.get_running_loop()
    count = 0
    end = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal count
        _, client = await loop.create_connection(Client, "127.0.0.1", port)
        while time.perf_counter() < end:
            status = await client.ask(path)
            count += status == 200
        client.transport.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    return count / seconds


async def open_loop(port: int, path: str, rate: float, seconds: float) -> Result:
    """So many requests a second, whatever becomes of them."""
    loop = asyncio.get_running_loop()
    result = Result()
    free: deque[Client] = deque()
    under_way: set[asyncio.Task[None]] = set()

    async def one() -> None:
        began = time.perf_counter()
        client = None
        try:
            while free and client is None:
                client = free.pop()
                if client.transport.is_closing():
                    client = None
            if client is None:
                async with asyncio.timeout(PATIENCE):
                    _, client = await loop.create_connection(Client, "127.0.0.1", port)
            status = await client.ask(path)
        except TimeoutError:
            status = -1
        except OSError:
            status = 0
        result.note(status, began, 0.0 if client is None else client.queued)
        if client is not None:
            if status > 0:
                free.append(client)
            else:
                client.transport.abort()

    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        delay = start + number / rate - time.perf_counter()
        if delay > 0.001:
            await asyncio.sleep(delay)
        task = loop.create_task(one())
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    while under_way:
        await asyncio.wait(under_way)
    for client in free:
        client.transport.abort()
    return result


# The servers


@contextmanager
def serving(loop: str, *options: str) -> Iterator[int]:
    """The command with this module's app. Yields its port."""
    command = [sys.executable, "-m", "pounce", "benchmarks.overload:app", "--port", "0", "--loop", loop]
    process, port = started([*command, "--no-access-log", "--timeout-keep-alive", "60", *options])
    try:
        yield port
    finally:
        process.kill()  # without the queue it has much left to do
        process.wait()


def measure(name: str, loop: str, seconds: float) -> bool:
    """The rows of one app on one loop. Whether the queue does what it promises."""
    kind = KINDS[name]
    with serving(loop) as port:
        best = asyncio.run(closed_loop(port, name, 5 * kind.running, min(seconds, 10)))
    limits = ("--limit-running", str(kind.running), "--limit-queue-timeout", str(DEADLINE))
    limits += ("--limit-queue", str(int(best * DEADLINE)), "--server-timing")
    print(f"| {name}, {loop}: closed loop | {best:.0f} | 1 | | | | | |", flush=True)
    with serving(loop, *limits) as port:
        queued = asyncio.run(open_loop(port, name, TIMES * best, seconds))
    print(queued.row(f"{name}, {loop}: ten times that, with the queue", seconds, best), flush=True)
    with serving(loop) as port:
        plain = asyncio.run(open_loop(port, name, TIMES * best, seconds))
    print(plain.row(f"{name}, {loop}: ten times that, without", seconds, best), flush=True)
    return len(queued.waits.get(200, [])) / seconds >= 0.9 * best and queued.queued <= DEADLINE + LEEWAY


def main() -> None:
    """All cases, as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--app", action="append", choices=list(KINDS), help="default: all")
    parser.add_argument("--loop", action="append", help="asyncio, uvloop; default: both")
    parser.add_argument("--seconds", type=float, default=60.0, help="of requests at ten times the rate; default: 60")
    options = parser.parse_args()
    print("| app | answers/s | of the best | median, s | longest, s | longest in the queue, s | refused | given up |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    kept = [
        measure(name, loop, options.seconds)
        for loop in options.loop or ["asyncio", "uvloop"]
        for name in options.app or KINDS
    ]
    sys.exit(not all(kept))


if __name__ == "__main__":
    main()
