"""WebSocket load: `python -m benchmarks.load.websocket PORT SIZE CONNECTIONS SECONDS`, one line of JSON at the end.

A program of its own, on a core of its own. Each connection sends one masked frame, made beforehand, reads the echo,
compares every byte (RFC 6455 section 5.2: unmasked, in one frame) and sends the next. Ends by itself. One thread, no
event loop: per message one `recv`, one comparison, one `send`.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import sys
import time

from benchmarks.load.outcome import LoadError, percentile

WAIT = 10.0  # seconds without any progress after which the server has failed
MASK = b"\x37\xfa\x21\x3d"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def head(size: int, masked: bool) -> bytes:
    """The head of a final binary frame with a payload of that size."""
    mask_bit = 0x80 if masked else 0
    if size < 126:
        return struct.pack("!BB", 0x82, mask_bit | size)
    if size < 65536:
        return struct.pack("!BBH", 0x82, mask_bit | 126, size)
    return struct.pack("!BBQ", 0x82, mask_bit | 127, size)


def masked(payload: bytes) -> bytes:
    """The payload XORed with the mask."""
    pad = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    both = int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")
    return both.to_bytes(len(payload), "big")


class Echo:
    """One connection: what it has of the echo it waits for, and since when it waits."""

    def __init__(self, port: int, size: int) -> None:
        text = bytes(range(256)) * (size // 256 + 1)
        self.frame = head(size, masked=True) + MASK + masked(text[:size])
        self.expected = head(size, masked=False) + text[:size]
        self.got = bytearray(len(self.expected))
        self.view = memoryview(self.got)
        self.filled = 0
        self.since = 0.0
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT)

    def shake_hands(self) -> None:
        """Upgrade the connection."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(REQUEST)
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = self.socket.recv(4096)
            if not more:
                raise LoadError("the connection was closed during the handshake")
            answer += more
        status = answer.partition(b"\r\n")[0].decode("latin-1")
        if " 101 " not in status:
            raise LoadError(f"the handshake was answered with {status}")
        self.socket.setblocking(False)

    def send(self) -> None:
        """Send the frame, whole: the server reads while we wait."""
        self.filled = 0
        self.since = time.perf_counter()
        sent = 0
        view = memoryview(self.frame)
        while sent < len(view):
            try:
                sent += self.socket.send(view[sent:])
            except BlockingIOError:
                if not select.select([], [self.socket], [], WAIT)[1]:
                    raise LoadError("the server stopped reading") from None

    def receive(self) -> bool:
        """Read what is there. True once the echo is complete; LoadError if it is not the echo."""
        try:
            count = self.socket.recv_into(self.view[self.filled :])
        except BlockingIOError:
            return False
        if not count:
            raise LoadError("the server closed the connection")
        self.filled += count
        if self.filled < len(self.expected):
            return False
        if self.got != self.expected:
            raise LoadError("the echo is not what was sent")
        return True


def run(port: int, size: int, connections: int, seconds: float) -> dict[str, float]:
    """Echo on all connections for that long. What was counted, latencies in milliseconds.

    Raises LoadError where the server does anything but echo, OSError where nobody answers.
    """
    with contextlib.ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        echoes = {}
        for _ in range(connections):
            echo = Echo(port, size)
            stack.enter_context(echo.socket)
            echo.shake_hands()
            echoes[echo.socket.fileno()] = echo
            poll.register(echo.socket, select.EPOLLIN)
        latencies, took = exchange(echoes, poll, seconds)
    if not latencies:
        raise LoadError("no message was echoed")
    latencies.sort()
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    found = {name: percentile(latencies, share) * 1e3 for name, share in shares.items()}
    return {"requests": len(latencies), "seconds": took, **found}


def exchange(echoes: dict[int, Echo], poll: select.epoll, seconds: float) -> tuple[list[float], float]:
    """Send and receive for that long. The latency of each message and the time it took, in seconds."""
    latencies: list[float] = []
    clock = time.perf_counter
    began = clock()
    end = began + seconds
    for echo in echoes.values():
        echo.send()
    while True:
        ready = poll.poll(WAIT)
        if not ready:
            raise LoadError(f"no echo for {WAIT:g} seconds")
        now = clock()
        if now >= end:
            return latencies, now - began
        for number, _ in ready:
            echo = echoes[number]
            if echo.receive():
                latencies.append(clock() - echo.since)
                echo.send()


def main(argv: list[str]) -> int:
    """Run it; one line of JSON, exit code 1 and an `error` in it where the server failed."""
    port, size, connections = (int(word) for word in argv[:3])
    try:
        found = run(port, size, connections, float(argv[3]))
    except (LoadError, OSError) as exc:
        print(json.dumps({"error": str(exc)}))
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
