"""Three ways for worker threads to come by connections, side by side. Prints the table of docs/threads.md; no bar.

The acceptor is what the server does. For the two others this script puts listeners into the workers' own loops.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.threads.apps import who
from benchmarks.threads.running import APPS, ROOT, Running, wrk
from pounce.config import Config
from pounce.pool.pool import WorkerPool
from pounce.server import Server

WAYS = ("a listener per worker (SO_REUSEPORT)", "one shared listener", "the acceptor")
WORKERS = 2
ROUNDS = 5
SECONDS = 2.0


def _reusable(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(2048)
    sock.setblocking(False)
    return sock


def serve(way: str, app: str, port: int) -> None:
    """Run the server with one of the ways. In a process of its own."""
    first = _reusable(port)

    def accept_in_workers(self: WorkerPool, listeners: Sequence[socket.socket]) -> None:
        for number, thread in enumerate(self.threads):
            listener = _reusable(port) if way == WAYS[0] and number else listeners[0].dup()
            assert thread.worker is not None
            assert thread.loop is not None
            asyncio.run_coroutine_threadsafe(
                thread.loop.create_server(thread.worker.create_protocol, sock=listener), thread.loop
            ).add_done_callback(lambda future: future.result())

    if way != WAYS[2]:
        WorkerPool.accept = accept_in_workers  # type: ignore[method-assign]
    settings: dict[str, Any] = {"log_level": "warning", "access_log": False, "worker_class": "thread"}
    Server(Config(app, workers=WORKERS, **settings)).run(sockets=[first])


@contextlib.contextmanager
def serving(way: str, app: str) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.threads.accepting", "--serve", way, "--app", app, "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    server = Running(process, port, Path(os.devnull))
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                server.get()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(20)


def spread(way: str) -> str:
    """How 64 kept connections lie on the workers."""
    with serving(way, f"{APPS}:{who.__name__}") as server, contextlib.ExitStack() as stack:
        counts: collections.Counter[str] = collections.Counter()
        for _ in range(64):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            counts[sock.recv(65536).rpartition(b"\r\n")[2].split()[1].decode()] += 1
    return "/".join(str(count) for count in sorted(counts.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=WAYS)
    parser.add_argument("--app")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.app, options.port)
        return
    kept: dict[str, list[Any]] = {way: [] for way in WAYS}
    single: dict[str, list[Any]] = {way: [] for way in WAYS}
    for number in range(ROUNDS):
        for way in WAYS:
            with serving(way, f"{APPS}:hello") as server:
                wrk(server, 32, 0.5)
                kept[way].append(wrk(server, 32, SECONDS))
                single[way].append(wrk(server, 32, SECONDS, "-H", "Connection: close"))
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
    print("| way | 32 keep-alive connections | one connection per request | 64 connections lie |")
    print("|---|---|---|---|")
    for way in WAYS:
        cells = [
            f"{statistics.median(load.per_second for load in loads):,.0f} req/s · "
            f"{statistics.median(load.cpu_microseconds for load in loads):.1f} µs"
            for loads in (kept[way], single[way])
        ]
        print(f"| {way} | {cells[0]} | {cells[1]} | {spread(way)} |")


if __name__ == "__main__":
    main()
