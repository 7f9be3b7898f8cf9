"""All loops blocked for 40 s with `--timeout-worker-healthcheck 2`: noticed, stack logged, replaced, back within 5 s.

And: SIGHUP with streaming clients connected, then SIGTERM: the parent ends within its limits.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import time

from benchmarks.threads.running import APPS, Running, running, verdict

GRACEFUL = 3
#: On top of the graceful timeout, before the supervisor kills.
MARGIN = 10


def send(server: Running, path: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port), 10)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return sock


def main() -> None:
    options = ("--workers", "4", "--worker-class", "thread", "--timeout-worker-healthcheck", "2")
    with running(f"{APPS}:who", *options) as server, contextlib.ExitStack() as stack:
        pid = server.get().split()[0]
        begun = time.monotonic()
        for _ in range(4):
            stack.enter_context(send(server, "/block"))
        while True:
            with contextlib.suppress(OSError):
                if server.get(timeout=0.5).split()[0] != pid:
                    break
            if time.monotonic() - begun > 40:
                break
        back = time.monotonic() - begun
        is_named = "pounce-worker-" in server.log and "is stuck" in server.log and "time.sleep(40)" in server.log

    options = ("--workers", "4", "--worker-class", "thread", "--timeout-graceful-shutdown", str(GRACEFUL))
    with running(f"{APPS}:who", *options) as server, contextlib.ExitStack() as stack:
        for _ in range(8):
            assert stack.enter_context(send(server, "/stream")).recv(1000)
        server.send_signal(signal.SIGHUP)
        server.wait_for("Waiting for child process")
        took = server.stop()
        code = server.process.returncode
    verdict(
        [
            (f"back {back:.1f} s after all loops were blocked (at most 5)", back <= 5.0),
            ("the stuck workers are named, with the line they are stuck at", is_named),
            (
                f"ended {took:.1f} s after SIGTERM with streams open and a restart under way, exit code {code}",
                took <= GRACEFUL + MARGIN and code == 0,
            ),
        ]
    )


if __name__ == "__main__":
    main()
