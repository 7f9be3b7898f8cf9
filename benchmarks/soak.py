"""`python -m benchmarks.soak`: does memory stay where it is over a million requests and 10,000 connections?

One server, warmed up with the first 10,000 requests and 200 connections. Then the rest of the requests in steps, over
keep-alive connections that each batch opens anew: several kinds of answers, targets and field values that come once.
Then connections for one request each, half of them broken off (`load.visits`). After each step the memory is read,
before and after it all once it no longer falls.

What counts is the difference in resident memory: proportional memory moves when another process of the same
interpreter starts or ends. Exit code 0: within the bound; 1: beyond it, or a wrong answer; 2: it could not be run.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from benchmarks import procfs
from benchmarks.cases import Case
from benchmarks.environments import environ_for
from benchmarks.load import counted, http
from benchmarks.load.counted import BODY, Batch
from benchmarks.load.outcome import LoadError
from benchmarks.load.visits import visits
from benchmarks.machine import missing_tool
from benchmarks.measure import Cores
from benchmarks.process import ServerProcess, free_port, leave_politely, on_cores
from benchmarks.servers import BY_NAME, HOST
from conformance.cache import SetupError
from conformance.environment import Interpreter

MIB = 2**20
WARM_REQUESTS, WARM_CONNECTIONS = 10_000, 200
STEPS = 10  # of the requests; of the connections, half as many
POSTS = 5  # every so manieth request is one
BATCH = 10_000  # requests at most: every batch has new connections, targets and field values

LOOK = 0.5  # seconds between two looks at memory that settles
STEADY = 4  # looks in which it does not fall
FALLING = 64 * 1024  # bytes; less is none
SETTLE_LIMIT = 30.0  # seconds


@dataclass(frozen=True)
class Plan:
    """The load: `connections` of h2load with `streams` each (0: HTTP/1.1), and how much of it in all."""

    requests: int
    visits: int
    http2: bool

    @property
    def connections(self) -> int:
        return 10 if self.http2 else 32

    @property
    def streams(self) -> int:
        return 100 if self.http2 else 0

    @property
    def warm_requests(self) -> int:
        return min(WARM_REQUESTS, self.requests // 2)

    @property
    def warm_visits(self) -> int:
        return min(WARM_CONNECTIONS, self.visits // 2)


@dataclass(frozen=True)
class Reading:
    """What the server has after so many requests and connections of `visits`."""

    when: str
    requests: int
    visits: int
    memory: procfs.Memory
    files: int


class Soak:
    """The load as it goes on, and the readings."""

    def __init__(self, plan: Plan, pid: int, port: int, folder: Path, say: Callable[[str], None]) -> None:
        self.readings: list[Reading] = []
        self._plan = plan
        self._pid = pid
        self._port = port
        self._folder = folder
        self._say = say
        self._requests = self._visits = self._batches = 0

    def run(self) -> None:
        """Load and read. Raises LoadError where the server fails."""
        plan = self._plan
        self._say(f"{'':<12}{'requests':>10}{'connections':>13}{'RSS':>9}{'PSS':>9}{'anonymous':>11}{'files':>7}")
        self._ask(plan.warm_requests)
        self._visit(plan.warm_visits)
        self._read("warm", settled(functools.partial(procfs.usage, self._pid)))
        for count in shares(plan.requests - plan.warm_requests, STEPS):
            self._ask(count)
            self._read("")
        for count in shares(plan.visits - plan.warm_visits, STEPS // 2):
            self._visit(count)
            self._read("")
        self._read("at the end", settled(functools.partial(procfs.usage, self._pid)))

    def _ask(self, count: int) -> None:
        plan = self._plan
        for size in batches(count):
            posts = size // POSTS
            for number, is_post in ((size - posts, False), (posts, True)):
                if number:
                    self._batches += 1
                    connections = min(plan.connections, number)
                    batch = Batch(self._batches, number, connections, plan.streams, is_post)
                    counted.send(batch, self._port, self._folder)
        self._requests += count

    def _visit(self, count: int) -> None:
        visits(self._port, self._visits, count, self._plan.http2)
        self._visits += count

    def _read(self, when: str, memory: procfs.Memory | None = None) -> None:
        found = memory or procfs.usage(self._pid)
        reading = Reading(when, self._requests, self._visits, found, procfs.open_files(self._pid))
        self.readings.append(reading)
        self._say(line(reading))

    @property
    def growth(self) -> procfs.Memory:
        """From the first reading to the last, in bytes."""
        first, last = (dataclasses.astuple(self.readings[place].memory) for place in (0, -1))
        return procfs.Memory(*(after - before for before, after in zip(first, last, strict=True)))


def line(reading: Reading) -> str:
    """Of the table; memory in MiB."""
    rss, pss, anonymous = (getattr(reading.memory, name) / MIB for name in ("rss", "pss", "anonymous"))
    return (
        f"{reading.when:<12}{reading.requests:>10,}{reading.visits:>13,}"
        f"{rss:>9.2f}{pss:>9.2f}{anonymous:>11.2f}{reading.files:>7}"
    )


def shares(total: int, parts: int) -> Iterator[int]:
    """The total in so many parts as even as can be, without the empty ones."""
    for number in range(parts):
        if share := total * (number + 1) // parts - total * number // parts:
            yield share


def batches(count: int) -> Iterator[int]:
    """The count in parts of at most BATCH."""
    return shares(count, -(-count // BATCH))


def settled(
    read: Callable[[], procfs.Memory],
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> procfs.Memory:
    """The memory once it has not fallen for some looks, or after SETTLE_LIMIT."""
    limit = clock() + SETTLE_LIMIT
    found, steady = read(), 0
    while steady < STEADY and clock() < limit:
        pause(LOOK)
        before, found = found, read()
        steady = 0 if found.rss < before.rss - FALLING else steady + 1
    return found


_PROBES = (
    Case("hello", "", "soak_app:app", path="/hello"),
    Case("fields", "", "soak_app:app", path="/fields?n=0"),
    Case("cookie", "", "soak_app:app", path="/cookie?n=0"),
    Case("missing", "", "soak_app:app", lambda body: body == b"Not Found", path="/nowhere", status=404),
    Case("chunked", "", "soak_app:app", lambda body: body == b"one two three", path="/chunked"),
    Case("echo", "", "soak_app:app", lambda body: body == BODY, path="/echo", upload=BODY),
)


def probe(port: int) -> None:
    """One request of each kind, the whole answer compared."""
    for case in _PROBES:
        http.probe(case, port)


def soak(
    plan: Plan, python: Path, free_threaded: bool, options: list[str], say: Callable[[str], None]
) -> procfs.Memory:
    """Start pounce with these options and do it all: by how much memory grew. Raises LoadError."""
    port = free_port()
    command = [
        str(python), "-m", "pounce", "soak_app:app", "--host", HOST, "--port", str(port),
        "--log-level", "warning", "--no-access-log", *(["--http2"] if plan.http2 else []), *options,
    ]  # fmt: skip
    cores = Cores.available()
    environ = environ_for(BY_NAME["pounce"], free_threaded, dict(os.environ))
    with (
        tempfile.TemporaryDirectory(prefix="pounce-soak-") as folder,
        ServerProcess(command, environ, Path(folder), set(cores.server | cores.load)) as server,
        on_cores(set(cores.load)),
    ):
        server.await_ready(functools.partial(probe, port))
        work = Soak(plan, server.pid, port, Path(folder), say)
        try:
            work.run()
            probe(port)
        except OSError as exc:
            raise LoadError(f"it does not answer: {exc}") from None
        if said := server.log.read_text(errors="replace").strip():
            raise LoadError(f"it logged: {server.last_words()} ({len(said.splitlines())} lines)")
    return work.growth


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--python", default=sys.executable, metavar="PATH", help="Interpreter that has pounce's dependencies.")
@click.option("--requests", type=click.IntRange(min=100), default=1_000_000, show_default=True)
@click.option("--connections", type=click.IntRange(min=20), default=10_000, show_default=True)
@click.option("--bound-mib", type=float, default=2.0, show_default=True, help="How much memory may grow or shrink.")
@click.option("--http2", is_flag=True, help="All of it over HTTP/2 in the clear: 10 connections x 100 streams.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--loop", help="pounce's --loop.")
@click.option("--http", "parser", help="pounce's --http.")
@click.argument("options", nargs=-1)
def main(
    python: str,
    requests: int,
    connections: int,
    bound_mib: float,
    http2: bool,
    workers: int,
    loop: str | None,
    parser: str | None,
    options: tuple[str, ...],
) -> None:
    """Soak pounce, and compare its memory with what it was after the first 10,000 requests.

    OPTIONS, after `--`, are pounce's own. Needs Linux and h2load.
    """
    if sys.platform != "linux":
        fail("this needs Linux: memory is read from /proc")
    if missing := missing_tool({"h2load"}):
        fail(missing)
    os.environ.pop("PYTHON_GIL", None)  # meant for us; an interpreter with a GIL would not start with it
    try:
        interpreter = Interpreter.ask(python)
    except SetupError as exc:
        fail(str(exc).partition("\n")[0])
    words = ["--workers", str(workers)]
    for flag, value in (("--loop", loop), ("--http", parser)):
        words += [flag, value] if value else []
    click.echo(f"{interpreter}: pounce {' '.join([*words, *(['--http2'] if http2 else []), *options])}; memory in MiB")
    plan = Plan(requests, connections, http2)
    began = time.monotonic()
    try:
        growth = soak(plan, Path(interpreter.path), interpreter.free_threaded, [*words, *options], click.echo)
    except LoadError as exc:
        click.echo(f"FAILED: {exc}")
        sys.exit(1)
    within = abs(growth.rss) <= bound_mib * MIB
    click.echo(
        f"{'ok' if within else 'BEYOND'}: RSS {growth.rss / MIB:+.2f} MiB (bound {bound_mib:g}), "
        f"PSS {growth.pss / MIB:+.2f}, anonymous {growth.anonymous / MIB:+.2f}; {time.monotonic() - began:.0f} s"
    )
    sys.exit(0 if within else 1)


def fail(why: str) -> NoReturn:
    """One line, exit code 2."""
    click.echo(f"soak: {why}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    leave_politely()
    main(prog_name="python -m benchmarks.soak")
