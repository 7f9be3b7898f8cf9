"""Starts the real command and talks to it: `served(...)` for tests that need a running server, `run_command` for
those that expect it to give up by itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Seconds for anything that needs a fresh interpreter on a busy machine.
PATIENCE = 30.0

_RUNNING_ON = re.compile(
    r"running on (?:https?://(?P<host>\S+):(?P<port>\d+)|unix socket (?P<path>\S+)|socket (?P<fd>.+?)) \("
)
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would configure the server, and with the checkout importable."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("POUNCE_", "UVICORN_")) and name not in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")
    }
    path = os.pathsep.join(filter(None, [changes.pop("PYTHONPATH", ""), str(ROOT), kept.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **changes}


PROGRAM = (sys.executable, "-m", "pounce")


def command(*arguments: str, program: Sequence[str] = PROGRAM) -> list[str]:
    return [*program, *arguments]


class Log:
    """What a process has written so far, line by line; lets a test wait for a line."""

    def __init__(self, stream: Iterator[str]) -> None:
        self.lines: list[str] = []
        self.ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Iterator[str]) -> None:
        for line in stream:
            with self._changed:
                self.lines.append(_COLOR.sub("", line.rstrip("\n")))
                self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait_for(self, pattern: str, count: int = 1, timeout: float = PATIENCE) -> re.Match[str]:
        """The `count`-th line that contains the regular expression. Fails with all lines if it does not come."""
        found: list[re.Match[str]] = []

        def there() -> bool:
            found[:] = [match for line in self.lines if (match := re.search(pattern, line))]
            return len(found) >= count or self.ended

        with self._changed:
            self._changed.wait_for(there, timeout)
        assert len(found) >= count, f"{pattern!r} is {len(found)} times, not {count} times, in:\n{self}"
        return found[count - 1]

    def finish(self) -> None:
        self._thread.join(PATIENCE)

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Served:
    """A running server: its process, its log, its address, and ways to reach it."""

    def __init__(self, process: subprocess.Popen[str], tls: ssl.SSLContext | None) -> None:
        assert process.stderr is not None
        self.process = process
        self.tls = tls
        self.log = Log(process.stderr)
        self.address: tuple[str, int] | str = ""

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """A connected socket, through TLS where the server speaks it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                sock = self._connect(timeout)
                break
            except (ConnectionRefusedError, FileNotFoundError):
                # Bound, announced, and not yet listening: there is no line in the log for what comes then.
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.02)
        return self.tls.wrap_socket(sock, server_hostname="localhost") if self.tls else sock

    def _connect(self, timeout: float) -> socket.socket:
        if not isinstance(self.address, str):
            return socket.create_connection(self.address, timeout)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        try:
            sock.connect(self.address)
        except OSError:
            sock.close()
            raise
        return sock

    def exchange(self, request: bytes) -> bytes:
        """Everything that comes back until the server closes the connection."""
        with self.connect() as sock:
            sock.sendall(request)
            return read_to_end(sock)

    def get(self, path: str = "/", *headers: str) -> tuple[int, str]:
        """Status and body of a GET on a connection of its own."""
        head = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
        return parse_response(self.exchange("\r\n".join([*head, "", ""]).encode()))

    def stop(self, *signals: signal.Signals) -> int:
        """Send the signals, wait for the end, return the exit code (negative: ended by that signal)."""
        for number in signals:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self.log.finish()
        return code


def read_to_end(sock: socket.socket) -> bytes:
    received = b""
    while True:
        try:
            chunk = sock.recv(65536)
        except ConnectionResetError:
            if received:
                return received  # an answer and then a reset is what a client sees whose request was not read whole
            raise
        if not chunk:
            return received
        received += chunk


def parse_response(response: bytes) -> tuple[int, str]:
    """Status and body of one response that ended with its connection; chunked bodies are put together."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert head, "the connection was closed without an answer"
    if b"transfer-encoding: chunked" in head.lower():
        chunks, rest = [], body
        while True:
            size, _, rest = rest.partition(b"\r\n")
            if int(size, 16) == 0:
                break
            chunks.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        body = b"".join(chunks)
    return int(head.split(b" ", 2)[1]), body.decode()


@contextlib.contextmanager
def served(
    app: str,
    *options: str,
    exit_code: int | None = 0,
    cwd: Path = ROOT,
    env: dict[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    address: tuple[str, int] | str | None = None,
    tls: ssl.SSLContext | None = None,
    tracebacks: bool = False,
    program: Sequence[str] = PROGRAM,
) -> Iterator[Served]:
    """Run `pounce APP OPTIONS` until the end of the block, then SIGTERM it, unless the test has stopped it already.

    The port is a free one. `exit_code` is the expected one: a graceful stop is a success (None: the test asks). No
    traceback may have been printed unless `tracebacks`. `address` is needed where the log does not say it (`--fd`).
    `program` is the command.
    """
    process = subprocess.Popen(
        command(app, "--port", "0", *options, program=program),
        cwd=cwd,
        env=env or environment(),
        pass_fds=pass_fds,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that what is left behind by a failure can be ended below
    )
    server = Served(process, tls)
    try:
        announced = server.log.wait_for(_RUNNING_ON)
        server.address = address or announced["path"] or (announced["host"].strip("[]"), int(announced["port"]))
        server.log.wait_for("Application startup complete")
        yield server
        code = process.returncode if process.poll() is not None else server.stop(signal.SIGTERM)
        assert exit_code in (code, None), f"exit code {code}, not {exit_code}:\n{server.log}"
        assert tracebacks or "Traceback" not in server.log, str(server.log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        server.log.finish()
        assert process.stderr is not None
        process.stderr.close()


def run_command(
    *arguments: str, cwd: Path = ROOT, env: dict[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> tuple[int, str]:
    """Exit code and error output (colours removed) of a command that is expected to end by itself."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=env or environment(),
        pass_fds=pass_fds,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, _COLOR.sub("", done.stderr)
