"""How late events arrive: `python -m benchmarks.latency`, from the app's `send()` to the client's `recv`.

An app sends server-sent events so far apart, each with the time (`time.monotonic`, the same clock in all processes of a
machine) in its text; a client on one connection notes when it has read each. Servers take turns. Printed are p50 and
p99 in milliseconds: medians of the rounds' own. With `--delay` the client is behind a relay with so many milliseconds
one way, which are part of the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environments import CHECKOUT, environ_for
from benchmarks.load.outcome import LoadError, percentile
from benchmarks.machine import machine
from benchmarks.measure import Cores
from benchmarks.process import ServerProcess, free_port, leave_politely, on_cores
from benchmarks.servers import BY_NAME as SERVER

#: Milliseconds between two events.
SPACINGS = (0.1, 0.5, 1.0, 2.0, 10.0)

#: Seconds that one measurement takes, and events that it has at most.
DURATION = 2.0
MOST_EVENTS = 2000

#: Events of a connection that do not count: the loop's first timers, the client's first reads.
WARM_UP = 20

#: Seconds before an event for which the app turns the loop instead of sleeping: timers are exact to a millisecond.
TURNING = 0.0025

EVENT = re.compile(rb"data: (\d+\.\d+)\n\n")


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/MILLISECONDS/COUNT`: so many events, so far apart, and each with the time at which it was given to `send`."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    _, spacing, count = scope["path"].split("/")
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    due = time.monotonic()
    for _ in range(int(count)):
        due += float(spacing) / 1000
        while (left := due - time.monotonic()) > 0:
            await asyncio.sleep(left - TURNING if left > 2 * TURNING else 0)
        await send({"type": "http.response.body", "body": b"data: %.9f\n\n" % time.monotonic(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def count_for(spacing: float) -> int:
    """How many events of that spacing make a measurement."""
    return WARM_UP + min(MOST_EVENTS, int(DURATION * 1000 / spacing))


def listen(port: int, spacing: float, count: int) -> list[float]:
    """Milliseconds that each event was under way, but for the first ones. Raises LoadError where one is missing."""
    late: list[float] = []
    rest = b""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(f"GET /{spacing}/{count} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        while data := sock.recv(65536):
            now = time.monotonic()
            rest += data
            end = 0
            for event in EVENT.finditer(rest):
                late.append((now - float(event[1])) * 1000)
                end = event.end()
            rest = rest[end:]
    if len(late) != count:
        raise LoadError(f"{len(late)} of {count} events arrived")
    return late[WARM_UP:]


@dataclass(frozen=True)
class Row:
    """What is measured together: a server on a loop, events so far apart."""

    spacing: float
    loop: str
    server: str


@contextmanager
def serving(row: Row, folder: Path, delay: float) -> Iterator[int]:
    """The port of that server, or of a relay in front of it."""
    cores = Cores.available()
    environ = environ_for(SERVER[row.server], not getattr(sys, "_is_gil_enabled", lambda: True)(), {})
    environ["PYTHONPATH"] = str(CHECKOUT)
    port = free_port()
    command = [
        sys.executable, "-m", row.server, "benchmarks.latency:app", "--port", str(port), "--loop", row.loop,
        "--lifespan", "off", "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip

    def probe() -> None:
        listen(port, 0.01, WARM_UP + 1)

    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(command, environ, folder, set(cores.server)))
        server.await_ready(probe)
        stack.enter_context(on_cores(set(cores.load)))  # an app that turns its loop leaves nothing of its own
        yield stack.enter_context(relayed(port, delay)) if delay else port


@contextmanager
def relayed(port: int, delay: float) -> Iterator[int]:
    """The port of a relay, which is a process of its own."""
    command = [sys.executable, "-m", "benchmarks.relay", "--to", str(port), "--delay", str(delay)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def figures(late: list[float]) -> tuple[float, float]:
    """p50 and p99."""
    ordered = sorted(late)
    return percentile(ordered, 0.5), percentile(ordered, 0.99)


def measure(rows: list[Row], rounds: int, delay: float) -> dict[Row, list[tuple[float, float]]]:
    """p50 and p99 of each row in each round. Raises LoadError."""
    found: dict[Row, list[tuple[float, float]]] = {row: [] for row in rows}
    with tempfile.TemporaryDirectory(prefix="pounce-bench-") as folder:
        for _ in range(rounds):
            for row in rows:
                with serving(row, Path(folder), delay) as port:
                    found[row].append(figures(listen(port, row.spacing, count_for(row.spacing))))
    return found


def table(found: dict[Row, list[tuple[float, float]]]) -> str:
    """In Markdown."""
    lines = [
        "| ms apart | loop | server | p50 ms | p99 ms | p99 of each round |",
        "| ---: | --- | --- | ---: | ---: | --- |",
    ]
    for row, rounds in found.items():
        p50, p99 = (median(column) for column in zip(*rounds, strict=True))
        each = " ".join(f"{one:.2f}" for _, one in rounds)
        lines.append(f"| {row.spacing:g} | {row.loop} | {row.server} | {p50:.3f} | {p99:.3f} | {each} |")
    return "\n".join(lines)


def main() -> None:
    """All rows, as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", action="append", choices=["pounce", "uvicorn"], help="default: both")
    parser.add_argument("--loop", action="append", choices=["asyncio", "uvloop"], help="default: both")
    parser.add_argument("--apart", action="append", type=float, metavar="MS", help=f"default: {SPACINGS}")
    parser.add_argument("--delay", type=float, default=0.0, metavar="MS", help="one way, by a relay; default: none")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    servers, loops = options.server or ["pounce", "uvicorn"], options.loop or ["uvloop", "asyncio"]
    for module in [*servers, *(loop for loop in loops if loop != "asyncio")]:
        if importlib.util.find_spec(module) is None:
            parser.error(f"{module} is not installed for this interpreter")
    if options.rounds < 1 or options.delay < 0 or any(spacing <= 0 for spacing in options.apart or ()):
        parser.error("rounds and spacings are above zero, a delay is not below it")
    rows = [Row(spacing, loop, server) for spacing in options.apart or SPACINGS for loop in loops for server in servers]
    try:
        found = measure(rows, options.rounds, options.delay)
    except LoadError as exc:
        sys.exit(f"benchmarks: {exc}")
    where = f", through a relay with {options.delay:g} ms one way" if options.delay else ""
    print(f"{sys.version.partition('(')[0].strip()} · {machine()} · medians of {options.rounds} rounds{where}\n")
    print(table(found))


if __name__ == "__main__":
    leave_politely()
    main()
