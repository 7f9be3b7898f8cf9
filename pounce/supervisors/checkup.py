"""One look at the health of a running server process, and what follows for this process alone.

Belongs to the supervisor's thread; never waits. Knows nothing of: the other processes, how one is replaced, and when.
Compatible with uvicorn's `--timeout-worker-healthcheck`, but asks the loops themselves.
"""

from __future__ import annotations

import logging

from pounce.names import LOGGER_ERROR
from pounce.supervisors.server_process import PING_INTERVAL, Process
from pounce.supervisors.succession import TIMEOUT_STARTUP_SILENCE, Reason

logger = logging.getLogger(LOGGER_ERROR)


def look_at(process: Process, limit: float, now: float) -> list[Reason] | None:
    """Why a running process should be replaced while it goes on; None for one that had to be killed.

    `limit` is `timeout_worker_healthcheck` (0: none).
    """
    interval = min(PING_INTERVAL, limit / 4) if limit else PING_INTERVAL
    health = process.observe(now, interval if process.has_served() else 0.0)
    if health is None:
        allowed = limit if process.has_served() else TIMEOUT_STARTUP_SILENCE
        if not allowed or process.silent_for(now) <= allowed:
            return []
        logger.error(f"Child process [{process.pid}] has not answered for {allowed:.0f} seconds, killing it.")
        process.kill()
        return None

    wishes = [Reason.NEEDS_PROCESSES] * health.needs_processes + [Reason.RECYCLE] * health.recycle
    # One overdue heartbeat may be the whole machine's pause; a loop that has still not turned by the next is stuck.
    was_overdue, process.is_overdue = process.is_overdue, bool(health.stuck)
    if not (health.stuck and was_overdue):
        process.is_stuck = process.is_stuck and bool(health.stuck)
        return wishes
    if not process.is_stuck:
        process.is_stuck = True
        for worker in health.stuck:
            logger.error(
                f"Worker {worker.name} of child process [{process.pid}] is stuck: its event loop has not turned "
                f"for {worker.age:.1f} seconds. Replacing it. Its stack:\n{worker.stack.rstrip()}"
            )
    if process.worker_class == "process":
        process.kill()
        return None
    return [*wishes, Reason.STUCK]
