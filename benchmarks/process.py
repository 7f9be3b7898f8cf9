"""A server under measurement: started on its cores, awaited, stopped, with all it left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from benchmarks import procfs
from benchmarks.load.outcome import LoadError

START_LIMIT = 30.0  # seconds until the first right answer
STOP_LIMIT = 5.0  # seconds between SIGTERM and SIGKILL
SETTLE_LIMIT = 10.0  # seconds
SETTLED = 0.02  # seconds of processor time in a look of LOOK seconds, below which a server rests
LOOK = 0.1


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def leave_politely() -> None:
    """On SIGTERM this process leaves as with Ctrl+C, so that no server stays behind."""

    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Processes started within run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class ServerProcess:
    """The running server: `with ServerProcess(...) as server`. Whatever happens within, no process is left."""

    def __init__(self, command: list[str], environ: dict[str, str], folder: Path, cores: set[int]) -> None:
        self._command = command
        self._environ = environ
        self._folder = folder
        self._cores = cores
        self.log = folder / "server.log"

    def __enter__(self) -> ServerProcess:
        with open(self.log, "wb") as log, on_cores(self._cores):
            # A session of its own: Ctrl+C reaches us alone, and we end it as a group.
            self._process = subprocess.Popen(
                self._command, env=self._environ, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.terminate()
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def await_ready(self, probe: Callable[[], None]) -> None:
        """Until `probe` succeeds, and the server rests after that. Raises LoadError if it ends or takes too long.

        `probe` raises OSError while nobody listens, LoadError for a wrong answer.
        """
        limit = time.monotonic() + START_LIMIT
        while True:
            if self._process.poll() is not None:
                raise LoadError(f"it did not start: {self.last_words()}")
            try:
                probe()
                break
            except OSError as exc:
                if time.monotonic() > limit:
                    raise LoadError(f"no answer in {START_LIMIT:g} seconds: {exc}") from None
            time.sleep(0.02)
        self._settle()

    def _settle(self) -> None:
        limit = time.monotonic() + SETTLE_LIMIT
        used = procfs.cpu_seconds(self.pid)
        while time.monotonic() < limit:
            time.sleep(LOOK)
            before, used = used, procfs.cpu_seconds(self.pid)
            if used - before <= SETTLED:
                return

    def last_words(self) -> str:
        """The last line that it wrote."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
