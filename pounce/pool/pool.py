"""The worker threads of one server process: started one after the other, drained together, shut down in reverse.

Runs on the server's own loop. Owns the threads and the acceptor; everything else belongs to a worker. Answers to: the
ASGI lifespan specification (one lifespan per event loop) and DESIGN section 2.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.errors import STARTUP_FAILURE, StartupFailed
from pounce.names import LOGGER_ERROR
from pounce.pool.acceptor import Acceptor
from pounce.pool.worker_thread import WorkerThread
from pounce.watchdog import who_is_alive

logger = logging.getLogger(LOGGER_ERROR)

#: Seconds that a thread gets to end once its work is done.
_JOIN_TIMEOUT = 5.0

#: Seconds that a stuck or ending thread gets once nobody waits for requests any more.
_FORCED_TIMEOUT = 1.0

#: Seconds that a loop gets to turn once its requests were cancelled, before it counts as blocked; and where the user
#: has asked twice.
_TIMEOUT_TURN = 2.0
_TIMEOUT_TURN_FORCED = 0.5


class PoolState:
    """What all workers count together, under the names that `ServerState` has. Reads only; made anew at every read."""

    def __init__(self, threads: Sequence[WorkerThread]) -> None:
        self._threads = threads

    @property
    def total_requests(self) -> int:
        """Requests answered by this process."""
        return sum(thread.state.total_requests for thread in self._threads)

    @property
    def connections(self) -> set[Any]:
        """Open connections of this process."""
        return set().union(*(_snapshot(thread.state.connections) for thread in self._threads))

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """Running exchanges of this process."""
        return set().union(*(_snapshot(thread.state.tasks) for thread in self._threads))

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The first worker's default headers."""
        return self._threads[0].state.default_headers


def _snapshot(live: set[Any]) -> set[Any]:
    """A copy of a set that another thread changes: free-threaded CPython locks the set while it is copied."""
    return live.copy()


class WorkerPool:
    """`config.workers` threads behind one acceptor."""

    def __init__(self, config: ConfigView) -> None:
        self.config = config
        self.threads = [WorkerThread(config, index) for index in range(config.workers)]
        self.state = PoolState(self.threads)
        self._acceptor: Acceptor | None = None
        self._started: list[WorkerThread] = []
        self._left_behind: list[WorkerThread] = []
        #: Whether requests had to be cancelled because the graceful limit was over.
        self.exceeded_limit = False

    async def start(self, goes_on: Callable[[WorkerThread], bool], is_forced: Callable[[], bool]) -> bool:
        """Start the threads, each when the one before has finished its lifespan's startup. Whether all are up.

        `goes_on` sees every thread once it is up, and says whether the next may start. `is_forced()` ends the waits for
        those that are shut down because a later one failed. Raises StartupFailed, with
        every thread that was up shut down again; likewise where `goes_on` raises.
        """
        try:
            for thread in self.threads:
                thread.start()
                await _first_of(thread.on_started, thread.on_ended)
                if not thread.on_started.is_set():
                    thread.join(_JOIN_TIMEOUT)
                    raise StartupFailed(thread.exit_code or STARTUP_FAILURE)
                self._started.append(thread)
                if not goes_on(thread):
                    return False
        except BaseException:
            await self.stop(linger=0.0, limit=None, is_forced=is_forced, log=False)
            raise
        states: list[ServerState] = [thread.state for thread in self.threads]
        for state in states:
            state.siblings = states
        return True

    def accept(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections on these sockets from now on. They are closed by whoever opened them."""
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
        self,
        linger: float,
        limit: float | None,
        is_forced: Callable[[], bool],
        log: bool = True,
        grace: Callable[[], float | None] = lambda: None,
    ) -> None:
        """Drain all workers, then run their lifespan shutdowns in reverse order of their startups.

        `linger` (seconds) is what an idle connection gets to send the request that may be under way. `limit`
        (seconds) bounds the drain; what runs then is cancelled. `is_forced()` ends every wait. `grace()` is asked for
        the seconds that finished workers get to close their loops (None: no limit). A thread cannot be killed: one that
        does not end is named and left behind, and as a daemon it ends with the process.
        """
        self.stop_accepting()
        for thread in self._started:
            thread.retire_threadsafe(linger)
        if log and not await self._drained(0.1 + linger, is_forced):
            self._say_what_runs()
        if not await self._drained(limit, is_forced):
            if not log:
                for thread in self._started:
                    thread.cut_off_threadsafe()
            elif not is_forced():
                self.exceeded_limit = True
                logger.error(
                    "Cancel %s running task(s), timeout graceful shutdown exceeded",
                    sum(len(thread.state.tasks) for thread in self._started),
                )
                for thread in self._started:
                    thread.cancel_tasks_threadsafe()
            for thread in self._started:
                thread.force_drain_threadsafe()
            await self._drained(_TIMEOUT_TURN_FORCED if is_forced() else _TIMEOUT_TURN, lambda: False)
            for thread in self._started:
                if not (thread.on_drained.is_set() or thread.on_ended.is_set()):
                    self._leave_behind(thread)
        finishing = [thread for thread in reversed(self._started) if thread not in self._left_behind]
        for thread in finishing:
            await self._finish(thread, is_forced)
        await self._join([thread for thread in finishing if thread not in self._left_behind], is_forced, grace)
        self._started = []

    async def _finish(self, thread: WorkerThread, is_forced: Callable[[], bool]) -> None:
        if is_forced():
            thread.force_threadsafe()
        thread.finish_threadsafe()
        while not thread.on_finished.is_set() and not thread.on_ended.is_set():
            await _first_of(thread.on_finished, thread.on_ended, within=0.1)
            if is_forced():
                thread.force_threadsafe()
                await _first_of(thread.on_finished, thread.on_ended, within=_FORCED_TIMEOUT)
                if not thread.on_finished.is_set() and not thread.on_ended.is_set():
                    self._leave_behind(thread)
                    return

    async def _join(
        self, threads: list[WorkerThread], is_forced: Callable[[], bool], grace: Callable[[], float | None]
    ) -> None:
        """Wait for the ends of threads that have finished: their loops wait for executors, as `asyncio.run` does."""
        begun, limit = time.monotonic(), grace()
        while left := [thread for thread in threads if not thread.on_ended.is_set()]:
            if is_forced():
                limit = _FORCED_TIMEOUT
            if limit is not None and time.monotonic() - begun >= limit:
                self._left_behind += left
                names = ", ".join(thread.name for thread in left)
                alive = who_is_alive(*(thread.loop for thread in left))
                logger.error("Worker thread %s does not end. What keeps it:\n%s", names, alive)
                return
            await _first_of(left[0].on_ended, within=0.05)
        for thread in threads:
            thread.join(_JOIN_TIMEOUT)

    def _leave_behind(self, thread: WorkerThread) -> None:
        thread.force_threadsafe()
        thread.finish_threadsafe()
        self._left_behind.append(thread)
        logger.error("Worker thread %s does not end. It is stuck at:\n%s", thread.name, thread.dump_stack())

    def abandon(self) -> None:
        """End at once whatever still runs: for a server that was cancelled or failed. After `stop` there is nothing."""
        self.stop_accepting()
        left = [thread for thread in self.threads if thread.is_alive() and thread not in self._left_behind]
        for thread in left:
            thread.force_threadsafe()
            thread.retire_threadsafe(0.0)
            thread.finish_threadsafe()
        for thread in left:
            thread.join(_FORCED_TIMEOUT)

    def _say_what_runs(self) -> None:
        if any(thread.state.connections for thread in self._started):
            logger.info("Waiting for connections to close. (CTRL+C to force quit)")
        elif any(thread.state.tasks for thread in self._started):
            logger.info("Waiting for background tasks to complete. (CTRL+C to force quit)")

    async def _drained(self, limit: float | None, is_forced: Callable[[], bool]) -> bool:
        """Whether every worker is drained within `limit` seconds and before `is_forced()`."""
        loop = asyncio.get_running_loop()
        deadline = None if limit is None else loop.time() + limit
        for thread in self._started:
            while not thread.on_drained.is_set() and not thread.on_ended.is_set():
                if is_forced() or (deadline is not None and loop.time() >= deadline):
                    return False
                await _first_of(thread.on_drained, thread.on_ended, within=0.05)
        return True


async def _first_of(*events: asyncio.Event, within: float | None = None) -> None:
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiters, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
