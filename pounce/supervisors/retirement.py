"""`Retirement`: server processes that were told to end, until they have. Nobody waits for one; each has its limit.

Belongs to the supervisor's thread. Knows nothing of: why a process has to end, and who takes its place.
"""

from __future__ import annotations

import logging
import signal
import time
from dataclasses import dataclass

from pounce.contracts import ConfigView
from pounce.names import LOGGER_ERROR
from pounce.supervisors.server_process import Process
from pounce.supervisors.succession import retire_limit

#: The signals that tell a process to end: SIGQUIT only where it is sent to the whole group (Ctrl+\\ in a terminal).
_STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGQUIT") if hasattr(signal, name)]

#: Exit codes of a process that ended as it was told: by itself, or by the signal that it raises again when all is done
#: (a process that cannot do that says the same as a shell would).
_AS_TOLD = frozenset({0, *(code for sig in _STOPS for code in (-sig, 128 + sig))})

logger = logging.getLogger(LOGGER_ERROR)


@dataclass
class _Leaving:
    process: Process
    kill_at: float | None
    """On the monotonic clock; None: it may take as long as its clients like."""


class Retirement:
    """The processes that are on their way out."""

    def __init__(self, config: ConfigView) -> None:
        self.config = config
        self._leaving: list[_Leaving] = []

    @property
    def processes(self) -> list[Process]:
        """Those that had not ended at the last `reap`."""
        return [entry.process for entry in self._leaving]

    def send(self, process: Process) -> None:
        """Let a process finish what it has accepted and end, without waiting for it here."""
        process.terminate()
        self.expect(process)

    def expect(self, process: Process) -> None:
        """Watch the end of a process that has been told."""
        if process.exitcode is None and process not in self.processes:
            logger.info(f"Waiting for child process [{process.pid}]")
            limit = retire_limit(
                self.config.timeout_graceful_shutdown, is_fit=process.was_ready and not process.is_stuck
            )
            self._leaving.append(_Leaving(process, None if limit is None else time.monotonic() + limit))

    def expect_killed(self, process: Process) -> None:
        """Watch the end of a process that was killed a moment ago."""
        self._leaving.append(_Leaving(process, None))

    def hurry(self, kill_at: float) -> None:
        """Kill at that time (monotonic clock) whoever has not ended by then."""
        for entry in self._leaving:
            entry.kill_at = kill_at

    def reap(self) -> None:
        """Forget those that have ended, kill those that should have."""
        now = time.monotonic()
        self._leaving = [entry for entry in self._leaving if entry.process.exitcode is None]
        for entry in self._leaving:
            if entry.kill_at is not None and now >= entry.kill_at:
                logger.warning(f"Child process [{entry.process.pid}] did not end in time, killing it.")
                entry.process.kill()
                entry.kill_at = None


def ended_as_told(exitcode: int | None) -> bool:
    """Whether a process that was told to end did so by itself, and well: not by being killed, nor by an error."""
    return exitcode in _AS_TOLD
