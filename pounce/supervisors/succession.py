"""The rules of replacing server processes, as values and pure functions: why, in what order, how long to wait.

Belongs to the supervisor's thread. Knows nothing of: signals, sockets, logging.
"""

from __future__ import annotations

import enum
import math

from pounce.contracts import ConfigView

#: Seconds a new process may stay silent (importing with the GIL held, say) before it counts as hung. One that answers
#: "still starting" is never killed for taking long: a model that loads for minutes is a legitimate startup.
TIMEOUT_STARTUP_SILENCE = 60.0

#: Seconds a successor may take until it serves before the attempt is given up and the old process kept. Not
#: `timeout_worker_healthcheck`: with its 5 seconds no larger app could ever be restarted.
TIMEOUT_STARTUP = 600.0

#: Seconds a process gets on top of `timeout_graceful_shutdown` before it is killed: for its lifespan's shutdown.
TIMEOUT_RETIRE_MARGIN = 10.0

#: What a process with a stuck loop (its other loops have requests to finish), one that never came up, or one whose
#: parent is gone gets where no graceful timeout is set.
TIMEOUT_RETIRE_UNFIT = 30.0

#: Seconds between "force quit" and SIGKILL. A process that can still do so ends by itself a moment before.
TIMEOUT_FORCED = 0.8

#: A repeated stop signal within this many seconds of the first is the same one: `timeout`, shells and process managers
#: signal both the process and its group. Two of a person in a terminal reach each child twice, however quick they are.
SIGNAL_ECHO = 0.5

#: A process that dies younger than this died "soon after its start".
QUICK_DEATH = 5.0
BACKOFF_FIRST = 0.5
BACKOFF_LIMIT = 30.0
#: Seconds between the starts of two processes in the same place where the first has served: a request that kills must
#: not keep the server away for longer each time. uvicorn looks every half second, and does not back off at all.
RESPAWN_INTERVAL = 0.5


class Reason(enum.Enum):
    """Why a process that works is replaced."""

    #: Somebody's command: another start, or another number of threads.
    RESTART = "restart"
    RECYCLE = "recycle"
    STUCK = "stuck"
    NEEDS_PROCESSES = "needs processes"

    @property
    def tries_again(self) -> bool:
        """Whether a failed attempt is repeated by itself; that of a command is reported."""
        return self is not Reason.RESTART


def backoff(failures: int) -> float:
    """Seconds to wait before filling the place of a process that died before it served, after `failures` such deaths
    there in a row, each soon after its start."""
    if failures == 0:
        return 0.0
    return float(min(BACKOFF_FIRST * 2 ** min(failures - 1, 16), BACKOFF_LIMIT))


def retire_limit(config: ConfigView, is_fit: bool) -> float:
    """Seconds a process may take to end after it was asked to."""
    if config.timeout_graceful_shutdown is not None:
        lifespan = config.settings.deadlines.lifespan_shutdown or 0.0
        return config.timeout_graceful_shutdown + lifespan + TIMEOUT_RETIRE_MARGIN
    return math.inf if is_fit else TIMEOUT_RETIRE_UNFIT
