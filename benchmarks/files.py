"""What a file of 100 MiB costs: `python -m benchmarks.files`, processor time of the server, by pathsend and without.

One app answers with the file in three ways: it reads and sends parts of 64 KiB (`bare`), Starlette's `FileResponse`
does that (`starlette`), the server sends it (`pathsend`). Without TLS a bare socket without any server does it, too, by
`sendfile`, and by reading and sending the same parts (`sendall`): what the kernel takes at least. curl reads, or what
--reads says, each way in turns; printed are medians in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environments import CHECKOUT
from benchmarks.load.outcome import LoadError
from benchmarks.measure import Cores
from benchmarks.process import ServerProcess, free_port, leave_politely, on_cores

SIZE = 100 * 1024 * 1024
PART = 64 * 1024
WAYS = ("bare", "starlette", "pathsend")
#: Those of no server.
FLOORS = ("sendall", "sendfile")


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/WAY`: the file that $BENCHMARK_FILE names."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    path, way = os.environ["BENCHMARK_FILE"], scope["path"][1:]
    if way == "starlette":
        from starlette.responses import FileResponse

        plain = {**scope, "extensions": {}}
        await FileResponse(path)(plain, receive, send)
        return
    headers = [(b"content-length", b"%d" % os.stat(path).st_size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if way == "pathsend":
        await send({"type": "http.response.pathsend", "path": path})
        return
    with open(path, "rb") as file:  # noqa: ASYNC230  # as many apps do
        while part := file.read(PART):
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


def serve(path: str, port: int) -> None:
    """Be no server: answer whatever asks, one after the other, from a blocking socket."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            sock, _ = listener.accept()
            with sock, open(path, "rb") as file:
                way = sock.recv(4096).split(b" ")[1:2]
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % SIZE)
                if way == [b"/sendfile"]:
                    sent = 0
                    while sent < SIZE:
                        sent += os.sendfile(sock.fileno(), file.fileno(), sent, SIZE - sent)
                    continue
                while part := file.read(PART):
                    sock.sendall(part)


def parse_schedstat(text: str) -> int:
    """Nanoseconds that a thread has run, from its /proc/PID/task/TID/schedstat."""
    return int(text.split()[0])


def used(pid: int) -> int:
    """Nanoseconds that the threads of a process have run."""
    return sum(parse_schedstat((task / "schedstat").read_text()) for task in Path(f"/proc/{pid}/task").iterdir())


def read(port: int, path: str, size: int) -> None:
    """Ask for a file and read it in pieces of up to so many bytes."""
    buffer = bytearray(size)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        got = 0
        while count := sock.recv_into(buffer):
            got += count
    if got < SIZE:
        raise LoadError(f"{path}: {got} bytes instead of {SIZE} and a head")


def measure(loop: str, tls: tuple[str, str] | None, rounds: int, folder: Path, reads: int = 0) -> dict[str, float]:
    """Milliseconds by way."""
    path = folder / "file"
    path.write_bytes(os.urandom(SIZE))
    port = free_port()
    command = [
        sys.executable, "-m", "pounce", "benchmarks.files:app", "--port", str(port), "--loop", loop,
        "--no-access-log", "--log-level", "warning", "--extensions", "pathsend",
    ]  # fmt: skip
    if tls:
        command += ["--ssl-certfile", tls[0], "--ssl-keyfile", tls[1]]
    address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    floor_port = free_port()

    def fetch(way: str) -> None:
        if reads and not tls:
            read(floor_port if way in FLOORS else port, f"/{way}", reads)
            return
        whom = f"http://127.0.0.1:{floor_port}" if way in FLOORS else address
        got = subprocess.run(
            ["curl", "-sk", "-o", os.devnull, "-w", "%{size_download}", f"{whom}/{way}"],
            capture_output=True, text=True,
        )  # fmt: skip
        if got.returncode == 7:
            raise ConnectionRefusedError
        if got.stdout != str(SIZE):
            raise LoadError(f"{way}: {got.stdout} bytes instead of {SIZE}")

    environ = {**os.environ, "BENCHMARK_FILE": str(path), "PYTHONPATH": str(CHECKOUT)}
    ways = WAYS if tls else WAYS + FLOORS
    taken: dict[str, list[int]] = {way: [] for way in ways}
    none = [sys.executable, "-m", "benchmarks.files", "--no-server", str(path), str(floor_port)]
    cores = Cores.available()
    with (
        ServerProcess(command, environ, folder, set(cores.server)) as server,
        ServerProcess(none, environ, folder, set(cores.server)) as floor,
        on_cores(set(cores.load)),
    ):
        server.await_ready(lambda: fetch("bare"))
        if not tls:
            floor.await_ready(lambda: fetch("sendall"))
        for way in ways:
            fetch(way)
        for _ in range(rounds):
            for way in ways:
                pid = floor.pid if way in FLOORS else server.pid
                before = used(pid)
                fetch(way)
                taken[way].append(used(pid) - before)
    return {way: median(times) / 1e6 for way, times in taken.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.files", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--loop", action="append", choices=("asyncio", "uvloop"))
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"), help="over TLS, with these files")
    parser.add_argument(
        "--reads", type=int, default=0, help="not curl, but a client that reads up to so many bytes at once"
    )
    parser.add_argument("--no-server", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    leave_politely()
    if given.no_server:
        serve(given.no_server[0], int(given.no_server[1]))
    for loop in given.loop or ("asyncio", "uvloop"):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(loop, given.tls, given.rounds, Path(folder), given.reads)
        row = "  ".join(f"{way} {taken:.1f} ms" for way, taken in found.items())
        ratios = ", ".join(f"{found['pathsend'] / found[way]:.2f} of {way}" for way in found if way != "pathsend")
        floor = "" if given.tls else f"; without a server {found['sendfile'] / found['sendall']:.2f}"
        print(f"{loop}{' TLS' if given.tls else ''}: {row} (pathsend: {ratios}{floor})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
