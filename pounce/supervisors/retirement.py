"""`Retirement`: server processes that were told to end, until they have. Nobody waits for one; each has its limit.

Belongs to the supervisor's thread. Knows nothing of: why a process has to end, and who takes its place.
"""

from __future__ import annotations

import logging
import math
import signal
import time

from pounce.contracts import ConfigView
from pounce.names import LOGGER_ERROR
from pounce.supervisors.server_process import Process, Pulse
from pounce.supervisors.succession import retire_limit

#: The signals that tell a process to end: SIGQUIT only where it is sent to the whole group (Ctrl+\\ in a terminal).
_STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGQUIT") if hasattr(signal, name)]

#: Exit codes of a process that ended as it was told: by itself, or by the signal that it raises again when all is done
#: (a process that cannot do that says the same as a shell would).
_AS_TOLD = frozenset({0, *(code for sig in _STOPS for code in (-sig, 128 + sig))})

logger = logging.getLogger(LOGGER_ERROR)


class Retirement:
    """The processes that are on their way out."""

    def __init__(self, config: ConfigView) -> None:
        self.config = config
        #: Those that had not ended at the last `reap`, with the time (monotonic) at which they are killed: never, where
        #: they may take as long as their clients like, or have been killed.
        self.leaving: dict[Process, float] = {}

    def send(self, process: Process) -> None:
        """Let a process finish what it has accepted and end, without waiting for it here."""
        process.terminate()
        self.expect(process)

    def expect(self, process: Process) -> None:
        """Watch the end of a process that has been told."""
        if process.exitcode is None and process not in self.leaving:
            logger.info(f"Waiting for child process [{process.pid}]")
            is_fit = process.was_ready and process.pulse is not Pulse.STUCK
            self.leaving[process] = time.monotonic() + retire_limit(self.config, is_fit)

    def hurry(self, kill_at: float) -> None:
        """Kill at that time (monotonic clock) whoever has not ended by then."""
        self.leaving = dict.fromkeys(self.leaving, kill_at)

    def next_kill_at(self) -> float:
        """When `reap` has to be called again (monotonic clock); infinity where nobody's time runs out."""
        return min(self.leaving.values(), default=math.inf)

    def reap(self) -> None:
        """Forget those that have ended, kill those that should have."""
        now = time.monotonic()
        self.leaving = {process: kill_at for process, kill_at in self.leaving.items() if process.exitcode is None}
        for process, kill_at in self.leaving.items():
            if now >= kill_at:
                logger.warning(f"Child process [{process.pid}] did not end in time, killing it.")
                process.kill()
                self.leaving[process] = math.inf


def ended_as_told(exitcode: int | None) -> bool:
    """Whether a process that was told to end did so by itself, and well: not by being killed, nor by an error."""
    return exitcode in _AS_TOLD
