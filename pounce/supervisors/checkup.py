"""One look at the health of a running server process, and what follows for this process alone.

Belongs to the supervisor's thread; never waits. Knows nothing of: the other processes, how one is replaced, and when.
Answers to: uvicorn's `--timeout-worker-healthcheck`, asked of the loops themselves.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from pounce.names import LOGGER_ERROR
from pounce.supervisors.server_process import PING_INTERVAL, Process
from pounce.supervisors.succession import TIMEOUT_STARTUP_SILENCE, Reason

logger = logging.getLogger(LOGGER_ERROR)


class Finding(NamedTuple):
    """What a look came to."""

    was_killed: bool = False
    """It was beyond help."""
    wishes: tuple[Reason, ...] = ()
    """Why it should be replaced while it goes on, the first that applies."""


def look_at(process: Process, limit: float, now: float) -> Finding:
    """Check a process; `limit` is `timeout_worker_healthcheck` (0: none). Kills it where nothing else helps."""
    interval = min(PING_INTERVAL, limit / 4) if limit else PING_INTERVAL
    health = process.observe(now, interval if process.has_served() else 0.0)
    if health is None:
        allowed = limit if process.has_served() else TIMEOUT_STARTUP_SILENCE
        if not allowed or process.silent_for(now) <= allowed:
            return Finding()
        logger.error(f"Child process [{process.pid}] has not answered for {allowed:.0f} seconds, killing it.")
        process.kill()
        return Finding(was_killed=True)

    wishes: list[Reason] = []
    if health.needs_processes:
        wishes.append(Reason.NEEDS_PROCESSES)
    if health.recycle:
        wishes.append(Reason.RECYCLE)
    # One overdue heartbeat may be the whole machine's pause; a loop that has still not turned by the next is stuck.
    was_overdue, process.is_overdue = process.is_overdue, bool(health.stuck)
    if not (health.stuck and was_overdue):
        process.is_stuck = process.is_stuck and bool(health.stuck)
        return Finding(wishes=tuple(wishes))
    if not process.is_stuck:
        process.is_stuck = True
        for worker in health.stuck:
            logger.error(
                f"Worker {worker.name} of child process [{process.pid}] is stuck: its event loop has not turned "
                f"for {worker.age:.1f} seconds. Replacing it. Its stack:\n{worker.stack.rstrip()}"
            )
    if process.worker_class == "process":
        process.kill()
        return Finding(was_killed=True)
    return Finding(wishes=(*wishes, Reason.STUCK))
