"""`python -m benchmarks.hostile`: each kind of hostile client, a thousand of it, beside one that behaves.

For each kind a server is started, with short deadlines. A well-behaved client (`load.normal`) asks on a kept connection
and on new ones: for a while alone, then beside the crowd (`load.hostile`), which comes in two rounds. After each round
the server has time to settle, and what it has then is compared with what it had before: descriptors, tasks and timers
of the loop, threads, connections. The server has one core, all clients the others; there the well-behaved one goes
first.

The bars: its p99 is less than twice the quiet one, or 10 ms, whichever is more, and nobody else's fault reaches it;
nothing is left; memory after the second round is within 2 MiB of that after the first, what malloc keeps free not
counted; who has to be sent away is.
Exit code 0: all within them; 1: not all; 2: it could not be run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import json
import os
import resource
import shlex
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from benchmarks import procfs
from benchmarks.environments import CHECKOUT, environ_for
from benchmarks.leftovers import COLUMNS, Reading, Result, Round, leaks, table
from benchmarks.load.hostile.client import Fates, Kind
from benchmarks.load.hostile.kinds import BY_NAME, KINDS
from benchmarks.load.normal import Answers
from benchmarks.load.outcome import LoadError
from benchmarks.machine import machine
from benchmarks.measure import Certificate, Cores
from benchmarks.process import ServerProcess, free_port, leave_politely, on_cores
from benchmarks.servers import BY_NAME as SERVER, HOST
from benchmarks.soak import settled
from conformance.cache import SetupError
from conformance.environment import Interpreter

PATIENCE = 20.0  # seconds for an answer
CROWD_LIMIT = 300.0  # seconds

LOOPS = {
    "asyncio": ("--loop", "asyncio"),
    "uvloop": ("--loop", "uvloop"),
    "threads": ("--workers", "2", "--worker-class", "thread"),
}
#: Deadlines of a second or two, so that a round has an end.
DEADLINES = (
    "--timeout-head", "1", "--timeout-keep-alive", "1", "--timeout-body", "1", "--timeout-write", "1",
    "--linger-seconds", "1", "--linger-size", "1000000", "--ws-ping-interval", "1", "--ws-ping-timeout", "1",
)  # fmt: skip


class Subject:
    """The server, and how it is asked for what it has."""

    def __init__(self, process: ServerProcess, port: int, tls: bool) -> None:
        self.process = process
        self.port = port
        self._tls = ssl._create_unverified_context() if tls else None

    def get(self, path: str) -> bytes:
        """The body, on a connection of its own."""
        if self._tls:
            connection: Any = http.client.HTTPSConnection(HOST, self.port, timeout=PATIENCE, context=self._tls)
        else:
            connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Connection": "close"})
            body: bytes = connection.getresponse().read()
        return body

    def probe(self) -> None:
        """One request."""
        self.get("/")

    def read(self) -> Reading:
        """What it has now. The connection that asks counts, and always does."""
        found = json.loads(self.get("/vitals"))
        pid = self.process.pid
        return Reading(procfs.open_files(pid), memory=procfs.usage(pid).rss, trimmed=0, **found)

    def settled(self, seconds: float, before: Reading | None = None) -> Reading:
        """What it has once nothing more is left than before, or the time is over; memory once it falls no more."""
        limit = time.monotonic() + seconds
        reading = Reading.at_rest(self.read) if before is None else self.read()
        while before is not None and reading.left(before) and time.monotonic() < limit:
            time.sleep(0.25)
            reading = self.read()
        memory = settled(functools.partial(procfs.usage, self.process.pid))
        self.get("/trim")
        return dataclasses.replace(reading, memory=memory.rss, trimmed=procfs.usage(self.process.pid).rss)


class Normal:
    """The well-behaved client, in a process of its own."""

    def __init__(self, kind: Kind, port: int) -> None:
        words = [*(["--tls"] if kind.tls else []), *(["kept"] if kind.descriptors else [])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load.normal", str(port), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT,
        )  # fmt: skip

    def answers(self) -> dict[str, Answers]:
        """By line: what it met since the last call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return {name: Answers(**found) for name, found in json.loads(self._process.stdout.readline()).items()}

    def stop(self) -> None:
        """Leave."""
        self._process.kill()
        self._process.communicate()


@dataclass(frozen=True)
class Plan:
    """What is done with each kind."""

    count: int
    rounds: int
    #: How many of a crowd come each second; the seconds each of them has; and those that the server has beyond.
    rate: float
    seconds: float
    patience: float
    #: Seconds for the server to settle behind each round.
    settle: float
    #: Seconds in which the well-behaved client is alone.
    quiet: float
    favored: bool


def one_round(kind: Kind, subject: Subject, normal: Normal, plan: Plan, before: Reading) -> Round:
    """A crowd, and what is left of it."""
    words = [kind.name, subject.port, plan.count, plan.rate, plan.seconds, plan.patience]
    pid = subject.process.pid
    normal.answers()
    used, began = procfs.cpu_seconds(pid), time.monotonic()
    crowd = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load.hostile", *map(str, words)],
        stdout=subprocess.PIPE, text=True, cwd=CHECKOUT,
    )  # fmt: skip
    try:
        if kind.descriptors:  # from when all have come to when the first ones leave
            time.sleep(1 + plan.count / plan.rate)
            used, began = procfs.cpu_seconds(pid), time.monotonic()
            time.sleep(max(1.0, plan.seconds - 1))
            cpu = (procfs.cpu_seconds(pid) - used) / (time.monotonic() - began)
        said, _ = crowd.communicate(timeout=CROWD_LIMIT)
    finally:
        crowd.kill()
        crowd.communicate()
    beside = normal.answers()
    if not kind.descriptors:
        cpu = (procfs.cpu_seconds(pid) - used) / (time.monotonic() - began)
    if not said:
        raise LoadError("the crowd did not come")
    return Round(Fates(**json.loads(said)), beside, cpu, subject.settled(plan.settle, before))


@contextlib.contextmanager
def serving(kind: Kind, options: Sequence[str], interpreter: Interpreter, folder: Path) -> Iterator[Subject]:
    """A server for that kind."""
    port = free_port()
    command = [
        os.path.abspath(interpreter.path), "-m", "pounce", "benchmarks.apps.hostile_app:app",
        "--host", HOST, "--port", str(port), "--log-level", "warning", "--no-access-log",
        *DEADLINES, *kind.options, *options,
    ]  # fmt: skip
    if kind.tls:
        certificate = Certificate.issued(folder)
        command += ["--ssl-certfile", str(certificate.chain), "--ssl-keyfile", str(certificate.key)]
    environ = environ_for(SERVER["pounce"], interpreter.free_threaded, dict(os.environ))
    with ServerProcess(command, environ, folder, set(Cores.available().server)) as process:
        subject = Subject(process, port, kind.tls)
        process.await_ready(subject.probe)
        yield subject


def favor(pid: int) -> None:
    """Give a process of a session of its own the most that Linux gives any that is not in real time.

    Not by `go_first`: who has a core for himself in real time is stopped for 50 ms of each second. Where sessions share
    cores alike, whatever is in them, a process's own priority counts within its session alone (sched(7)).
    """
    os.setpriority(os.PRIO_PROCESS, pid, -20)
    with contextlib.suppress(FileNotFoundError):
        Path(f"/proc/{pid}/autogroup").write_text("-20")


def measure(kind: Kind, options: Sequence[str], interpreter: Interpreter, plan: Plan) -> Result:
    """All rounds of one kind. Raises LoadError, OSError where the server does not serve."""
    with (
        tempfile.TemporaryDirectory(prefix="pounce-hostile-") as folder,
        serving(kind, options, interpreter, Path(folder)) as subject,
        on_cores(set(Cores.available().load)),
        contextlib.ExitStack() as stack,
    ):
        if plan.favored:
            favor(subject.process.pid)
        normal = Normal(kind, subject.port)
        stack.callback(normal.stop)
        time.sleep(0.5)
        normal.answers()
        used = procfs.cpu_seconds(subject.process.pid)
        time.sleep(plan.quiet)
        quiet_cpu = (procfs.cpu_seconds(subject.process.pid) - used) / plan.quiet
        quiet = normal.answers()
        before = subject.settled(plan.settle)
        if kind.descriptors:
            limit = before.descriptors + kind.descriptors
            resource.prlimit(subject.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        rounds = [one_round(kind, subject, normal, plan, before) for _ in range(plan.rounds)]
        log = subject.process.log.read_text(errors="replace").splitlines()
        return Result(kind, quiet, quiet_cpu, before, rounds, log)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kind", "names", multiple=True, type=click.Choice(list(BY_NAME)), help="May be repeated; default: all.")
@click.option("--server", "servers", multiple=True, type=click.Choice(list(LOOPS)), help="default: asyncio, uvloop")
@click.option("--count", type=click.IntRange(min=1), default=1000, show_default=True, help="Clients of each kind.")
@click.option("--rounds", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--rate", type=float, default=500.0, show_default=True, help="How many of them come each second.")
@click.option("--seconds", type=float, default=4.0, show_default=True, help="What each of them has.")
@click.option("--patience", type=float, default=4.0, show_default=True, help="What the server has beyond that.")
@click.option("--settle", type=float, default=20.0, show_default=True, help="What it has to get rid of what is left.")
@click.option("--quiet", type=float, default=4.0, show_default=True, help="Seconds without them, before.")
@click.option("--favored", is_flag=True, help="Give the server nearly all of its core, whatever else is there (root).")
@click.option("--python", default=sys.executable, metavar="PATH", help="Interpreter that has pounce's dependencies.")
@click.option("--server-args", default="", metavar="WORDS", help="More options of pounce.")
@click.option("--verbose", is_flag=True, help="Also the log's last lines, and the types whose objects became more.")
@click.option("--list", "listing", is_flag=True, help="List the kinds.")
def main(
    names: tuple[str, ...],
    servers: tuple[str, ...],
    count: int,
    rounds: int,
    rate: float,
    seconds: float,
    patience: float,
    settle: float,
    quiet: float,
    favored: bool,
    python: str,
    server_args: str,
    verbose: bool,
    listing: bool,
) -> None:
    """Measure a well-behaved client beside a thousand hostile ones of each kind, and what these leave behind.

    Needs Linux. Times are in milliseconds, for a kept connection and for new ones; `left over` are descriptors, tasks,
    timers and threads; MiB are after each round, as they stand and `trimmed` of what malloc keeps free; `objects` how
    many more after the last round than after the first; `log` lines at the level of warnings.
    """
    if listing:
        return click.echo("\n".join(f"{kind.name:<20}{kind.title}" for kind in KINDS))
    if sys.platform != "linux":
        fail("this needs Linux: what the server has is read from /proc")
    os.environ.pop("PYTHON_GIL", None)  # meant for us; an interpreter with a GIL would not start with it
    try:
        interpreter = Interpreter.ask(python)
    except SetupError as exc:
        fail(str(exc).partition("\n")[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * count + 200
    if soft < wanted:
        if hard < wanted:
            fail(f"{wanted} descriptors are needed, and {hard} allowed (ulimit -n)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    plan = Plan(count, rounds, rate, seconds, patience, settle, quiet, favored)
    chosen = [BY_NAME[name] for name in names] or KINDS
    failed = False
    for server in servers or ("asyncio", "uvloop"):
        options = [*LOOPS[server], *shlex.split(server_args)]
        click.echo(f"{interpreter} · {machine()} · {count} clients, {rate:g} a second · {shlex.join(options)}\n")
        rows = []
        for kind in chosen:
            try:
                result = measure(kind, options, interpreter, plan)
            except (LoadError, OSError, http.client.HTTPException) as exc:
                rows.append([kind.name, *[""] * (len(COLUMNS) - 2), f"FAILED: {exc or type(exc).__name__}"])
                failed = True
            else:
                rows.append(result.row())
                failed = failed or bool(result.faults())
                if verbose:
                    click.echo("\n".join([*result.log[-5:], *leaks(result)]), err=True)
            click.echo(" · ".join(rows[-1]), err=True)
        click.echo(table(rows) + "\n")
    sys.exit(failed)


def fail(why: str) -> NoReturn:
    """One line, exit code 2."""
    click.echo(f"hostile: {why}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    leave_politely()
    main(prog_name="python -m benchmarks.hostile")
