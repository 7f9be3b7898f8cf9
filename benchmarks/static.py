"""What a small file costs: `python -m benchmarks.static`, beside Starlette's StaticFiles and granian's static files.

Each server serves the same file of 10 KiB to wrk on kept connections; servers take turns. Printed are requests per
second and processor time per request, medians of the rounds, and what pounce has of each as a ratio. Starlette's runs
on uvicorn and, to tell the server from the framework, on pounce. Needs wrk, and the peers installed for this
interpreter.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import procfs
from benchmarks.environments import CHECKOUT, environ_for
from benchmarks.load import wrk
from benchmarks.load.outcome import LoadError
from benchmarks.machine import machine, missing_tool
from benchmarks.measure import Cores
from benchmarks.process import ServerProcess, free_port, leave_politely, on_cores
from benchmarks.servers import BY_NAME as SERVER

SIZE = 10 * 1024
DATA = bytes(range(256)) * (SIZE // 256)
NAME = "file.bin"
PREFIX = "/files"

#: Where the Starlette app below finds its directory.
VARIABLE = "BENCHMARK_DIRECTORY"

CONNECTIONS = 32
WARM_UP = 1.0  # seconds

COMMON = ("--no-access-log", "--log-level", "warning")


def make_starlette() -> Any:
    """An app that serves the directory by Starlette's StaticFiles."""
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    return Starlette(routes=[Mount(PREFIX, StaticFiles(directory=os.environ[VARIABLE]))])


@dataclass(frozen=True)
class Row:
    """A way to serve files: what it needs installed, and its command."""

    name: str
    server: str
    needs: tuple[str, ...]
    words: Callable[[Path, int], list[str]]


def _on(module: str) -> Callable[[Path, int], list[str]]:
    words = ["-m", module, "benchmarks.static:make_starlette", "--factory", "--loop", "uvloop", *COMMON, "--port"]
    return lambda _folder, port: [*words, str(port)]


ROWS = {
    row.name: row
    for row in (
        Row(
            "pounce",
            "pounce",
            ("uvloop", "httptools"),
            lambda folder, port: [
                "-m", "pounce", "benchmarks.latency:app", "--static", f"{PREFIX}={folder}", "--loop", "uvloop", *COMMON,
                "--port", str(port),
            ],
        ),
        Row("starlette-uvicorn", "uvicorn", ("uvicorn", "starlette", "uvloop", "httptools"), _on("uvicorn")),
        Row("starlette-pounce", "pounce", ("starlette", "uvloop", "httptools"), _on("pounce")),
        Row(
            "granian",
            "granian",
            ("granian", "uvloop"),
            lambda folder, port: [
                "-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--http", "1", "--no-ws", "--log-level",
                "warning", "--static-path-route", PREFIX, "--static-path-mount", str(folder), "--port", str(port),
                "benchmarks.latency:app",
            ],
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Of one round."""

    requests_per_second: float
    cpu_us: float


def probe(url: str) -> None:
    """Raise LoadError where the answer is not the file."""
    with urllib.request.urlopen(url, timeout=5) as response:
        if response.read() != DATA:
            raise LoadError("it did not answer with the file")


def measure(row: Row, seconds: float) -> Cost:
    """One round. Raises LoadError."""
    cores = Cores.available()
    port = free_port()
    url = f"http://127.0.0.1:{port}{PREFIX}/{NAME}"
    with tempfile.TemporaryDirectory(prefix="pounce-bench-") as made:
        folder = Path(made, "files")
        folder.mkdir()
        (folder / NAME).write_bytes(DATA)
        environ = environ_for(SERVER[row.server], not getattr(sys, "_is_gil_enabled", lambda: True)(), {})
        environ |= {VARIABLE: str(folder), "PYTHONPATH": str(CHECKOUT)}
        command = [sys.executable, *row.words(folder, port)]
        with ServerProcess(command, environ, Path(made), set(cores.server)) as server:
            server.await_ready(lambda: probe(url))
            _load(url, WARM_UP, cores)
            before = procfs.cpu_seconds(server.pid)
            requests, took = _load(url, seconds, cores)
            used = procfs.cpu_seconds(server.pid) - before
    return Cost(requests / took, used / requests * 1e6)


def _load(url: str, seconds: float, cores: Cores) -> tuple[int, float]:
    """Requests and seconds."""
    command = wrk.command(url, ("keepalive",), CONNECTIONS, 1, seconds)
    with on_cores(set(cores.load)):
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    found = wrk.parse(done.stdout, 200, SIZE, CONNECTIONS)
    return found.requests, found.seconds


def table(found: dict[str, list[Cost]]) -> str:
    """In Markdown."""
    lines = [
        "| served by | requests/s | µs of CPU each | ratio of pounce: requests/s | CPU | µs of each round |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    medians = {
        name: Cost(median(one.requests_per_second for one in rounds), median(one.cpu_us for one in rounds))
        for name, rounds in found.items()
    }
    ours = medians.get("pounce")
    for name, cost in medians.items():
        each = " ".join(f"{one.cpu_us:.1f}" for one in found[name])
        cells = [name, f"{cost.requests_per_second:,.0f}", f"{cost.cpu_us:.1f}", "", "", each]
        if ours is not None:
            cells[3] = f"{ours.requests_per_second / cost.requests_per_second:.2f}"
            cells[4] = f"{ours.cpu_us / cost.cpu_us:.2f}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """All rows, as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--by", action="append", choices=list(ROWS), help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement; default: 2")
    options = parser.parse_args()
    rows = [ROWS[name] for name in options.by or ROWS]
    for package in dict.fromkeys(package for row in rows for package in row.needs):
        if importlib.util.find_spec(package) is None:
            parser.error(f"{package} is not installed for this interpreter")
    if missing := missing_tool({"wrk"}):
        parser.error(missing)
    if options.rounds < 1 or options.seconds < 1:
        parser.error("at least one round of one second")
    found: dict[str, list[Cost]] = {row.name: [] for row in rows}
    begun = time.perf_counter()
    try:
        for _ in range(options.rounds):
            for row in rows:
                found[row.name].append(measure(row, options.seconds))
    except LoadError as exc:
        sys.exit(f"benchmarks: {exc}")
    took = time.perf_counter() - begun
    print(f"{sys.version.partition('(')[0].strip()} · {machine()} · medians of {options.rounds} rounds, {took:.0f} s\n")
    print(table(found))


if __name__ == "__main__":
    leave_politely()
    main()
