"""`BaseReload`: the parent of the one child that `--reload` restarts; subclasses know when.

Runs on the main thread. Every wait obeys signals: SIGINT and SIGTERM end it, a second one kills a child that does not
end (it may wait for a client for ever), SIGQUIT waits for no request, SIGHUP restarts the child. Knows nothing of: how
changes are found.
Compatible with uvicorn's `supervisors.basereload`.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection
from pathlib import Path
from socket import socket
from types import FrameType

from pounce.contracts import ConfigView
from pounce.logs import log_styled
from pounce.names import LOGGER_ERROR
from pounce.supervisors.child import SpawnProcess, get_subprocess
from pounce.supervisors.retirement import ended_as_told
from pounce.supervisors.signals import give_back
from pounce.supervisors.succession import SIGNAL_ECHO, TIMEOUT_FORCED, retire_limit

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Seconds after which a child that still has not ended is mentioned in the log, where nothing bounds the wait.
SLOW_END = 5.0

logger = logging.getLogger(LOGGER_ERROR)

Target = Callable[[list[socket] | None], None]


class BaseReload:
    """Runs `target(sockets=sockets)` in a child process, and again whenever `should_restart` names changed files."""

    reloader_name: str | None = None

    def __init__(self, config: ConfigView, target: Target, sockets: list[socket]) -> None:
        self.config = config
        self.target = target
        self.sockets = sockets
        self.should_exit = threading.Event()
        self.pid = os.getpid()
        self.is_restarting = False
        self.process: SpawnProcess
        #: Whether the last child did not end as it was told: its requests were cut off, its shutdown did not run.
        self.has_cut_off = False

        self._told_to_restart = self._told_to_quit = False
        self._told_at: float | None = None
        self._kill_at = math.inf

    def signal_handler(self, sig: int, frame: FrameType | None) -> None:
        """Take note of SIGINT or SIGTERM. Runs on the main thread."""
        if sys.platform == "win32" and self.is_restarting:
            # The CTRL+C that `restart` sends to the child arrives here as well.
            self.is_restarting = False
            return
        now = time.monotonic()
        if self._told_at is None:
            self._told_at = now
        elif now - self._told_at >= SIGNAL_ECHO and self._kill_at == math.inf:
            # The child has had the second Ctrl+C too, where it came from a terminal, and may be ending by it.
            self._kill_at = now + TIMEOUT_FORCED
        self.should_exit.set()

    def _on_quit(self, sig: int, frame: FrameType | None) -> None:
        self._told_to_quit = True
        self.should_exit.set()

    def _on_hangup(self, sig: int, frame: FrameType | None) -> None:
        self._told_to_restart = True

    def run(self) -> None:
        """Start the child, restart it on changes, and return once told to stop and the child has ended."""
        self.startup()
        for changes in self:
            if self._told_to_restart:
                self._told_to_restart = False
                logger.warning("Received SIGHUP. Reloading...")
            elif changes:
                paths = ", ".join(map(_display_path, changes))
                logger.warning("%s detected changes in %s. Reloading...", self.reloader_name, paths)
            else:
                continue
            self.restart()
        self.shutdown()

    def pause(self) -> None:
        """Wait for `reload_delay` seconds. Raises StopIteration when told to stop."""
        if self.should_exit.wait(self.config.reload_delay):
            raise StopIteration

    def __iter__(self) -> Iterator[list[Path] | None]:
        return self

    def __next__(self) -> list[Path] | None:
        return self.should_restart()

    def startup(self) -> None:
        """Take over the signals and start the child."""
        log_styled("Started reloader process [%s] using %s", self.pid, self.reloader_name, fg="cyan", bold=True)
        for sig in HANDLED_SIGNALS:
            signal.signal(sig, self.signal_handler)
        if sys.platform != "win32":
            signal.signal(signal.SIGHUP, self._on_hangup)
            if signal.getsignal(signal.SIGQUIT) is signal.SIG_DFL:
                signal.signal(signal.SIGQUIT, self._on_quit)
        self._start_child()

    def restart(self) -> None:
        """End the child, and start another one unless told to stop meanwhile."""
        if sys.platform == "win32":
            self.is_restarting = True
            assert self.process.pid is not None
            os.kill(self.process.pid, signal.CTRL_C_EVENT)
            # Console programs look at the event when they next write; a write of nothing does not count.
            sys.stdout.write(" ")
            sys.stdout.flush()
        else:
            self.process.terminate()
        if self._wait_for_child(or_exit=True):
            self._start_child()

    def shutdown(self) -> None:
        """End the child, close the sockets."""
        was_running = self.process.exitcode is None
        if sys.platform == "win32":
            self.should_exit.set()
        else:
            self.process.terminate()
        self._wait_for_child()
        if was_running and sys.platform != "win32":
            self.has_cut_off = not ended_as_told(self.process.exitcode)
        for sock in self.sockets:
            sock.close()
        give_back({signal.SIGINT: self.signal_handler})
        log_styled("Stopping reloader process [%s]", self.pid, fg="cyan", bold=True)

    def should_restart(self) -> list[Path] | None:
        """The files that have changed, or None. Waits a moment; raises StopIteration when told to stop."""
        raise NotImplementedError("Reload strategies should override should_restart()")

    def _start_child(self) -> None:
        self.process = get_subprocess(config=self.config, target=self.target, sockets=self.sockets)
        self.process.start()

    def _wait_for_child(self, or_exit: bool = False) -> bool:
        """Wait until the child has ended, killing it when its time is up; False when told to stop first (`or_exit`)."""
        now = time.monotonic()
        kill_at = now + retire_limit(self.config, is_fit=True)
        slow_at = now + SLOW_END if kill_at == math.inf else math.inf
        while self.process.exitcode is None:
            if or_exit and self.should_exit.is_set():
                return False
            now = time.monotonic()
            if self._told_to_quit:
                self._told_to_quit = False
                logger.info("Received SIGQUIT, exiting without waiting for requests.")
                self._kill_at = now + TIMEOUT_FORCED
                os.kill(self.process.pid, signal.SIGQUIT)  # type: ignore[arg-type]
            if now >= min(kill_at, self._kill_at):
                logger.warning(f"Child process [{self.process.pid}] did not end in time, killing it.")
                self.process.kill()
                kill_at = self._kill_at = math.inf
            elif now >= slow_at:
                slow_at = math.inf
                logger.warning(
                    f"Child process [{self.process.pid}] is still busy with requests. CTRL+C to stop waiting; "
                    "--timeout-graceful-shutdown bounds the wait."
                )
            if connection.wait([self.process.sentinel], 0.1) and self.process.exitcode is None:
                time.sleep(0.02)
        return True


def _display_path(path: Path) -> str:
    """The path in quotes, relative to the working directory where it lies below that."""
    try:
        return f"'{path.relative_to(Path.cwd())}'"
    except ValueError:
        return f"'{path}'"
