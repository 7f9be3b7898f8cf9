"""How long a client waits beside three that flood its worker with what costs little: `python -m benchmarks.floods`.

Each case runs a server with one worker. Three clients, in a process of their own, send the same frames or heads again
and again, as fast as they are taken, and connect anew where they are cut off. Beside them one asks for a small answer,
a hundred times, each on a connection of its own. Printed are its waiting times in milliseconds, and how far the
server's memory went up.
"""

from __future__ import annotations

import argparse
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

from benchmarks.beside import ask, read_all, request, started

CLIENTS = 3
REQUESTS = 100

#: Bytes that a client hands to the kernel at once.
BLOCK_SIZE = 256 * 1024

MASK = b"\x01\x02\x03\x04"
HTTP2_BEGIN = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """A WebSocket takes what comes; `/wait` never answers; `/large` sends a MiB of its own; anything else is `ok`."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            pass
        return
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"x" * 2**20 if scope["path"] == "/large" else b"ok"})


def masked(first: int, payload: bytes = b"") -> bytes:
    """A client's frame; the mask is zero, which RFC 6455 does not forbid."""
    size = len(payload)
    head = struct.pack("!BB", first, 0x80 | size) if size < 126 else struct.pack("!BBH", first, 0xFE, size)
    return head + bytes(4) + payload


def bombs() -> bytes:
    """A compressed message of 15,000,000 bytes."""
    deflate = zlib.compressobj(9, wbits=-12)
    payload = (deflate.compress(bytes(15_000_000)) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return masked(0xC2, payload)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">L", len(payload))[1:] + struct.pack(">BBL", kind, flags, stream_id) + payload


def filled(piece: bytes) -> Callable[[int], bytes]:
    """The same piece again and again."""
    block = piece * (BLOCK_SIZE // len(piece))
    return lambda _: block


def heads(block: bytes) -> Callable[[int], bytes]:
    """Requests, a stream each."""
    count = BLOCK_SIZE // (len(block) + 9)

    def make(turn: int) -> bytes:
        first = 1 + turn * count * 2
        return b"".join([frame(1, 0x5, number, block) for number in range(first, first + count * 2, 2)])

    return make


HANDSHAKE = request("/", True)
COMPRESSED = HANDSHAKE[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n\r\n"
FRAGMENTS = masked(0x02) + masked(0x00, b"x") * 1000 + masked(0x80)


def head(path: str, method: bytes = b"\x82") -> bytes:
    """A header block: GET or another method, http, the path, an authority."""
    return b"%b\x86\x04%c%b\x41\x01a" % (method, len(path), path.encode())


def begun(*requests: bytes) -> bytes:
    """A connection over HTTP/2, and what is asked for on its first streams."""
    return HTTP2_BEGIN + b"".join(requests)


#: What is sent first, and what makes that which is sent again and again.
FLOODS: dict[str, tuple[bytes, Callable[[], Callable[[int], bytes]]]] = {
    "ws: empty pings": (HANDSHAKE, lambda: filled(masked(0x89))),
    "ws: empty messages": (HANDSHAKE, lambda: filled(masked(0x81))),
    "ws: fragments of a byte": (HANDSHAKE, lambda: filled(FRAGMENTS)),
    "ws: 15 MB in 15 KB": (COMPRESSED, lambda: filled(bombs())),
    "http/1.1: pipelined": (b"", lambda: filled(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")),
    "http/2: DATA of a byte": (begun(frame(1, 0x4, 1, head("/wait", b"\x83"))), lambda: filled(frame(0, 0, 1, b"x"))),
    "http/2: requests": (begun(), lambda: heads(head("/"))),
    "http/2: 2,000 fields": (begun(), lambda: heads(head("/") + b"\x90" * 2000)),
    "http/2: PING": (begun(), lambda: filled(frame(6, 0, 0, b"12345678"))),
    "http/2: 1 MiB, no window": (
        begun(*(frame(1, 0x5, number, head("/large")) for number in range(1, 251, 2))),
        lambda: lambda _: b"",
    ),
}


def flood(name: str, port: int) -> None:
    """Be three clients, until killed."""
    first, make = FLOODS[name]
    more = make()

    def one() -> None:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as sock:
                    sock.sendall(first)
                    threading.Thread(target=read_all, args=(sock,), daemon=True).start()
                    turn = 0
                    while True:
                        block = more(turn)
                        if not block:
                            time.sleep(1000)
                        sock.sendall(block)
                        turn += 1
            except OSError:
                time.sleep(0.01)

    for _ in range(CLIENTS):
        threading.Thread(target=one, daemon=True).start()
    time.sleep(1000)


def peak_of(pid: int) -> float:
    """The most memory that a process has had, in MiB."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


def run(name: str, options: list[str]) -> str:
    """One case with one server."""
    if name.startswith("http/2"):
        options = ["--http2", *options]
    command = [sys.executable, "-m", "pounce", "benchmarks.floods:app", "--port", "0", "--no-access-log", *options]
    process, port = started(command)
    attacker = None
    try:
        for _ in range(10):
            ask(("127.0.0.1", port))
        before = peak_of(process.pid)
        attacker = subprocess.Popen([sys.executable, "-m", "benchmarks.floods", "--flood", name, "--port", str(port)])
        time.sleep(1.5)
        times: list[float] = []
        while len(times) < REQUESTS and sum(times) < 20_000:
            times.append(ask(("127.0.0.1", port)))
        times.sort()
        grown = peak_of(process.pid) - before
    finally:
        for child in (attacker, process):
            if child is not None:
                child.kill()
                child.wait()
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    return f"| {name} | {' '.join(options)} | {p50:.1f} | {p99:.1f} | {times[-1]:.1f} | {grown:.0f} |"


def main() -> None:
    """The cases, as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", help=f"part of a name; default: all of {', '.join(FLOODS)}")
    parser.add_argument("--options", action="append", help="options of the server, as one string; may be repeated")
    parser.add_argument("--flood", help="be the clients of a case")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if options.flood:
        flood(options.flood, options.port)
        return
    print("| beside | options | p50 ms | p99 ms | longest ms | memory, MiB more |")
    print("|---|---|---:|---:|---:|---:|")
    for name in FLOODS:
        if not options.case or any(part in name for part in options.case):
            for given in options.options or ["--loop asyncio", "--loop uvloop"]:
                print(run(name, given.split()), flush=True)


if __name__ == "__main__":
    main()
