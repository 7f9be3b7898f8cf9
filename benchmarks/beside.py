"""How long a second client waits beside one that keeps its worker busy: `python -m benchmarks.beside`.

Each case runs a server with one worker and one client that makes the app send without an end; beside it a second one
asks for a small answer, a hundred times, each on a connection of its own. Printed are its waiting times in
milliseconds, and what the server takes of a core once the first client has gone.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any

START: Any = {"type": "http.response.start", "status": 200, "headers": []}

#: Bytes of a message, and seconds that the app blocks behind each.
STREAMS = {"10 GB": (65536, 0.0), "tiny parts": (1, 0.0), "blocking camera": (50_000, 0.005)}
REQUESTS = 100


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/stream/SIZE/SECONDS` sends messages of that size without an end, blocking in between; anything else is `ok`."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    _, kind, *arguments = scope["path"].split("/")
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        message: Any = {"type": "websocket.send", "bytes": b"x" * int(arguments[0])}
    else:
        await send(START)
        if kind != "stream":
            await send({"type": "http.response.body", "body": b"ok"})
            return
        message = {"type": "http.response.body", "body": b"x" * int(arguments[0]), "more_body": True}
    seconds = float(arguments[1])
    while True:
        try:
            await send(message)
        except OSError:
            pass  # a WebSocket app that does not look
        if seconds:
            time.sleep(seconds)  # noqa: ASYNC251  # as cameras do


def request(path: str, websocket: bool) -> bytes:
    """A GET, or a handshake."""
    fields = ""
    if websocket:
        key = base64.b64encode(os.urandom(16)).decode()
        fields = (
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        )
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode()


def read_all(sock: socket.socket) -> None:
    """Take what comes, until the socket is closed."""
    buffer = bytearray(1 << 20)
    try:
        while sock.recv_into(buffer):
            pass
    except OSError:
        pass


def ask(address: tuple[str, int]) -> float:
    """Milliseconds until the second client has its answer; at most ten seconds."""
    start = time.perf_counter()
    try:
        with socket.create_connection(address, 10) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while sock.recv(4096):
                pass
    except OSError:
        pass
    return (time.perf_counter() - start) * 1000


def cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def started(command: list[str]) -> tuple[subprocess.Popen[str], int]:
    """A server that logs to standard error, and its port (0: it has ended)."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = 0
    for line in process.stderr:
        if match := re.search(r"running on http://127.0.0.1:(\d+)", line):
            port = int(match[1])
            break
    threading.Thread(target=process.stderr.read, daemon=True).start()
    return process, port


def run(server: str, loop: str, name: str, websocket: bool) -> str:
    """One case with one server."""
    command = [sys.executable, "-m", server, "benchmarks.beside:app", "--port", "0", "--loop", loop, "--no-access-log"]
    process, port = started(command)
    address = ("127.0.0.1", port)
    size, seconds = STREAMS[name]
    try:
        first = socket.create_connection(address)
        first.sendall(request(f"/stream/{size}/{seconds}", websocket))
        threading.Thread(target=read_all, args=(first,), daemon=True).start()
        times: list[float] = []
        while len(times) < REQUESTS and sum(times) < 30_000:
            times.append(ask(address))
        times.sort()
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        first.close()
        time.sleep(1.0)
        after = ask(address)
        before, start = cpu_of(process.pid), time.perf_counter()
        time.sleep(1.0)
        share = (cpu_of(process.pid) - before) / (time.perf_counter() - start)
        told = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
            end = f"{time.perf_counter() - told:.1f}"
        except subprocess.TimeoutExpired:
            end = "never"
    finally:
        process.kill()
        process.wait()
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    kind = "WebSocket" if websocket else "HTTP/1.1"
    return f"| {server}, {loop} | {kind}, {name} | {p50:.1f} | {p99:.1f} | {after:.1f} | {share:.1%} | {end} |"


def main() -> None:
    """All cases, as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", action="append", help="pounce, uvicorn (where installed); default: pounce")
    parser.add_argument("--loop", action="append", help="asyncio, uvloop; default: both")
    options = parser.parse_args()
    print("| server | beside | p50 ms | p99 ms | once the client is reset, ms | of a core | seconds to SIGTERM's end |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for server in options.server or ["pounce"]:
        for loop in options.loop or ["asyncio", "uvloop"]:
            for websocket in (False, True):
                for name in STREAMS:
                    print(run(server, loop, name, websocket), flush=True)


if __name__ == "__main__":
    main()
