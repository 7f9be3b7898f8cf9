"""A well-behaved client beside others: `python -m benchmarks.load.normal PORT [--tls] [LINE ...]`.

Each line is a request every ten milliseconds: `kept` on one connection, `new` on a connection for each (with TLS: every
fifty). A request
counts from when it was due, not from when the one before it was done: a server that stands still for a second is late
with a hundred of them. For each line on standard input there is one of JSON with what came since the last one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.load.outcome import percentile

PERIOD = 0.01  # seconds
HANDSHAKE_PERIOD = 0.05  # where each begins with a handshake of TLS
PATIENCE = 10.0  # seconds for an answer
LINES = ("kept", "new")


@dataclass
class Answers:
    """Of one line, in milliseconds; `late` is how much too late the client itself was."""

    count: int = 0
    p50: float = 0.0
    p99: float = 0.0
    worst: float = 0.0
    late: float = 0.0
    failures: list[str] = field(default_factory=list)


class Line:
    """One line, on a thread of its own."""

    def __init__(self, address: tuple[str, int] | str, keeps: bool, tls: bool = False) -> None:
        self._address = address
        self._keeps = keeps
        self._period = HANDSHAKE_PERIOD if tls and not keeps else PERIOD
        self._tls = ssl._create_unverified_context() if tls else None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._times: list[float] = []
        self._late: list[float] = []
        self._failures: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, when the request in hand is done."""
        self._over.set()
        self._thread.join()
        self._leave()

    def answers(self) -> Answers:
        """What came since the last call."""
        with self._lock:
            times, self._times = sorted(self._times), []
            late, self._late = sorted(self._late), []
            failures, self._failures = self._failures, []
        if not times:
            return Answers(failures=failures)
        p50, p99 = (1000 * percentile(times, share) for share in (0.5, 0.99))
        own = 1000 * percentile(late, 0.99) if late else 0.0
        return Answers(len(times), p50, p99, 1000 * times[-1], own, failures)

    def _run(self) -> None:
        due = time.perf_counter()
        while not self._over.is_set():
            due += self._period
            if (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
                with self._lock:
                    self._late.append(time.perf_counter() - due)
            try:
                self._ask()
                failure = ""
            except OSError as exc:
                self._leave()
                failure = str(exc) or type(exc).__name__
            with self._lock:
                self._times.append(time.perf_counter() - due)
                if failure:
                    self._failures.append(failure)

    def _ask(self) -> None:
        if self._socket is None:
            self._socket = self._connected()
        last = "" if self._keeps else "Connection: close\r\n"
        self._socket.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\n{last}\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\nHello, world!"):
            part = self._socket.recv(65536)
            if not part:
                raise OSError(f"an end behind {answer[:40]!r}" if answer else "no answer, but an end")
            answer += part
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise OSError(f"a wrong answer: {answer[:40]!r}")
        if not self._keeps:
            self._leave()

    def _connected(self) -> socket.socket:
        if isinstance(self._address, str):
            made = socket.socket(socket.AF_UNIX)
            made.settimeout(PATIENCE)
            made.connect(self._address)
        else:
            made = socket.create_connection(self._address, PATIENCE)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._tls.wrap_socket(made) if self._tls else made

    def _leave(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def go_first() -> None:
    """Let this thread, and those that it starts, run as soon as they can, whatever else is on the core."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except (AttributeError, PermissionError):
        pass  # the column `late` shows it


def main(argv: Sequence[str]) -> None:
    """See the module."""
    port, *words = argv
    go_first()
    tls = "--tls" in words
    names = [word for word in words if word in LINES] or LINES
    lines = {name: Line(("127.0.0.1", int(port)), name == "kept", tls) for name in names}
    for line in lines.values():
        line.start()
    for _ in sys.stdin:
        print(json.dumps({name: dataclasses.asdict(line.answers()) for name, line in lines.items()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
