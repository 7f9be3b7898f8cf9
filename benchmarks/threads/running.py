"""For the scripts beside it: a server under test, its log, wrk, and a verdict."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.procfs import cpu_seconds

ROOT = Path(__file__).resolve().parents[2]
APPS = "benchmarks.threads.apps"

#: Seconds for a server to come up or to end.
PATIENCE = 60.0


class Running:
    """A server process (or the parent of several) on 127.0.0.1."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_for(self, pattern: str, count: int = 1, patience: float = PATIENCE) -> float:
        """Seconds until the log has so many matches. Raises TimeoutError."""
        begun = time.monotonic()
        while len(re.findall(pattern, self.log)) < count:
            if time.monotonic() - begun > patience or self.process.poll() is not None:
                raise TimeoutError(f"no {pattern!r} in:\n{self.log}")
            time.sleep(0.05)
        return time.monotonic() - begun

    def get(self, path: str = "/", timeout: float = 5.0) -> bytes:
        """The body of a GET on a connection of its own. Raises OSError."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            received = b""
            while chunk := sock.recv(65536):
                received += chunk
        head, separator, body = received.partition(b"\r\n\r\n")
        if not separator or b" 200 " not in head.split(b"\r\n")[0] + b" ":
            raise ConnectionError(f"no good answer: {received[:200]!r}")
        return body

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Seconds from the signal to the end of the process."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        return time.monotonic() - begun


@contextlib.contextmanager
def running(
    app: str, *options: str, server: str = "pounce", python: str = sys.executable, log_level: str = "info"
) -> Iterator[Running]:
    """`python -m SERVER APP OPTIONS`, ready to be asked, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [python, "-m", server, app, "--port", str(port), "--no-access-log", "--log-level", log_level, *options]
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, start_new_session=True)
        server_process = Running(process, port, log)
        try:
            _await_ready(server_process)
            yield server_process
        finally:
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)


def _await_ready(server: Running) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            server.get()
            return
        except OSError:
            if time.monotonic() > deadline or server.process.poll() is not None:
                raise SystemExit(f"The server does not come up:\n{server.log}") from None
            time.sleep(0.1)


class Load:
    """What wrk has seen, and what the server has spent on it."""

    def __init__(self, requests: int, seconds: float, cpu: float, errors: str) -> None:
        self.per_second = requests / seconds
        self.cpu_microseconds = cpu / max(requests, 1) * 1e6
        self.errors = errors


def wrk(server: Running, connections: int, seconds: float, *options: str, path: str = "/") -> Load:
    """Load from wrk on one thread."""
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        *options,
        f"http://127.0.0.1:{server.port}{path}",
    ]
    cpu = cpu_seconds(server.pid)
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = cpu_seconds(server.pid) - cpu
    found = re.search(r"(\d+) requests in ([\d.]+)(m?s)", output)
    assert found is not None, output
    took = float(found[2]) * (0.001 if found[3] == "ms" else 1)
    errors = [line.strip() for line in output.splitlines() if "Socket errors" in line or "Non-2xx" in line]
    return Load(int(found[1]), took, cpu, "; ".join(errors))


def verdict(checks: Sequence[tuple[str, bool]]) -> None:
    """Print what was met and what was missed, and end the script."""
    for text, met in checks:
        print(f"{'ok    ' if met else 'MISSED'}  {text}", flush=True)
    sys.exit(0 if all(met for _, met in checks) else 1)
