"""The worker threads of one server process: started one after the other, drained together, shut down in reverse.

Runs on the server's own loop. Owns the threads and the acceptor; everything else belongs to a worker. Answers to: the
ASGI lifespan specification (one lifespan per event loop) and DESIGN section 2.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.errors import STARTUP_FAILURE
from pounce.names import LOGGER_ERROR
from pounce.pool.acceptor import Acceptor
from pounce.pool.worker_thread import WorkerThread

logger = logging.getLogger(LOGGER_ERROR)

#: Seconds that a thread gets to end once its work is done.
_JOIN_TIMEOUT = 5.0


class PoolState:
    """What all workers count together, under the names that `ServerState` has. Reads only; made anew at every read."""

    def __init__(self, states: Sequence[ServerState]) -> None:
        self._states = states

    @property
    def total_requests(self) -> int:
        """Requests answered by this process."""
        return sum(state.total_requests for state in self._states)

    @property
    def connections(self) -> set[Any]:
        """Open connections of this process."""
        return set().union(*(_snapshot(state.connections) for state in self._states))

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """Running exchanges of this process."""
        return set().union(*(_snapshot(state.tasks) for state in self._states))

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The first worker's default headers."""
        return self._states[0].default_headers


def _snapshot(live: set[Any]) -> set[Any]:
    """A copy of a set that another thread changes: free-threaded CPython locks the set while it is copied."""
    return live.copy()


class StartupFailed(Exception):
    """A worker did not come up; `code` is what its process should exit with."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class WorkerPool:
    """`config.workers` threads behind one acceptor."""

    def __init__(self, config: ConfigView) -> None:
        self.config = config
        self.threads = [WorkerThread(config, index) for index in range(config.workers)]
        states = [thread.state for thread in self.threads]
        for state in states:
            state.siblings = states
        self.state = PoolState(states)
        self._acceptor: Acceptor | None = None
        self._started: list[WorkerThread] = []

    async def start(self, after_each: Callable[[WorkerThread], None]) -> None:
        """Start the threads, each when the one before has finished its lifespan's startup.

        `after_each` sees every thread once it is up. Raises StartupFailed, with every thread that was up shut down
        again; likewise where `after_each` raises.
        """
        try:
            for thread in self.threads:
                thread.start()
                await _first_of(thread.on_started, thread.on_ended)
                if not thread.on_started.is_set():
                    thread.join(_JOIN_TIMEOUT)
                    raise StartupFailed(thread.exit_code or STARTUP_FAILURE)
                self._started.append(thread)
                after_each(thread)
        except BaseException:
            await self.stop(linger=0.0, timeout=None, is_forced=lambda: False, log=False)
            raise

    def accept(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections on these sockets from now on."""
        self._acceptor = Acceptor(listeners, self._started)
        self._acceptor.start()

    def stop_accepting(self) -> None:
        """Leave what is in the backlog to whoever else listens on the same sockets."""
        if self._acceptor is not None:
            self._acceptor.stop()

    def failed_thread(self) -> WorkerThread | None:
        """A thread that ended although nobody asked it to."""
        return next((thread for thread in self._started if thread.on_ended.is_set()), None)

    async def stop(
        self, linger: float, timeout: float | None, is_forced: Callable[[], bool], log: bool = True
    ) -> None:
        """Drain all workers, then run their lifespan shutdowns in reverse order of their startups.

        `timeout` (seconds) bounds the drain; what runs then is cancelled. `is_forced()` ends every wait.
        """
        self.stop_accepting()
        for thread in self._started:
            thread.retire_threadsafe(linger)
        if log:
            await self._wait(0.1 + linger, is_forced)
            if any(thread.state.connections for thread in self._started):
                logger.info("Waiting for connections to close. (CTRL+C to force quit)")
            elif any(thread.state.tasks for thread in self._started):
                logger.info("Waiting for background tasks to complete. (CTRL+C to force quit)")
        if not await self._wait(timeout, is_forced):
            if not is_forced():
                logger.error(
                    "Cancel %s running task(s), timeout graceful shutdown exceeded",
                    sum(len(thread.state.tasks) for thread in self._started),
                )
                for thread in self._started:
                    thread.cancel_tasks_threadsafe()
            for thread in self._started:
                thread.force_drain_threadsafe()
        for thread in reversed(self._started):
            if is_forced():
                thread.force_threadsafe()
            thread.finish_threadsafe()
            while not thread.on_ended.is_set():
                if not await _set_within(thread.on_ended, 0.1) and is_forced():
                    thread.force_threadsafe()
                    await _set_within(thread.on_ended, 1.0)
                    break
            thread.join(_JOIN_TIMEOUT if thread.on_ended.is_set() else 0)
        self._started = []

    async def _wait(self, timeout: float | None, is_forced: Callable[[], bool]) -> bool:
        """Whether every worker is drained within `timeout` seconds and before `is_forced()`."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        for thread in self._started:
            while not thread.on_drained.is_set() and not thread.on_ended.is_set():
                if is_forced() or (deadline is not None and loop.time() >= deadline):
                    return False
                await _first_of(thread.on_drained, thread.on_ended, timeout=0.05)
        return True


async def _first_of(*events: asyncio.Event, timeout: float | None = None) -> None:
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiters, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()


async def _set_within(event: asyncio.Event, timeout: float) -> bool:
    await _first_of(event, timeout=timeout)
    return event.is_set()
