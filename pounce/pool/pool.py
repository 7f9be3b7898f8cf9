"""The worker threads of one server process: started one after the other, drained together, shut down in reverse.

Runs on the server's own loop. Owns the threads, the acceptor and the checks whether threads are safe for this app;
everything else belongs to a worker. Implements the ASGI lifespan specification: one lifespan per event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.errors import StartupFailed
from pounce.names import LOGGER_ERROR
from pounce.pool.acceptor import Acceptor
from pounce.pool.gil_watch import GilWatch
from pounce.pool.shared_state import SharedStateCheck
from pounce.pool.worker_thread import Haste, Phase, WorkerThread
from pounce.watchdog import stack_of_thread, who_is_alive
from pounce.worker.connection_limits import ConnectionLimits
from pounce.worker.drain import DrainLimits, InHand, drain
from pounce.worker.worker import Worker

logger = logging.getLogger(LOGGER_ERROR)

#: Seconds that a thread gets to end once its work is done.
_JOIN_TIMEOUT = 5.0

#: Seconds between two looks at whether a wait is still wanted.
_LOOK_INTERVAL = 0.05

#: What the loop that accepts for the workers is called among them.
_ACCEPTOR = "pounce-acceptor"

#: Seconds that a stuck or ending thread gets once nobody waits for requests any more.
_FORCED_TIMEOUT = 0.3

#: Seconds that a loop gets to turn once its requests were cancelled, before it counts as blocked; and where the user
#: has asked twice.
_TIMEOUT_TURN = 2.0
_TIMEOUT_TURN_FORCED = 0.3


class PoolState:
    """What all workers count together, under the names that `ServerState` has. Read-only, computed on access."""

    def __init__(self, threads: Sequence[WorkerThread]) -> None:
        self._threads = threads

    @property
    def total_requests(self) -> int:
        """Requests answered by this process."""
        return sum(thread.state.total_requests for thread in self._threads)

    @property
    def connections(self) -> set[Any]:
        """Open connections of this process."""
        # Free-threaded CPython locks a set while it is copied: its thread may be changing it.
        return set().union(*(thread.state.connections.copy() for thread in self._threads))

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """Running exchanges of this process."""
        return set().union(*(thread.state.tasks.copy() for thread in self._threads))

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The first worker's default headers."""
        return self._threads[0].state.default_headers


class UnfitForThreads(Exception):
    """Threads are not safe for this app on this interpreter; the message is the reason, a sentence."""


class WorkerPool:
    """`config.workers` threads behind one acceptor."""

    def __init__(self, config: ConfigView, is_forced: Callable[[], bool]) -> None:
        """`is_forced` ends every wait once it says so."""
        self.config = config
        self.gil_watch = GilWatch()
        self.threads = [WorkerThread(config, index, self._report) for index in range(config.workers)]
        self.state = PoolState(self.threads)
        #: When the loop that accepts last turned.
        self.heartbeat = time.monotonic()
        self._is_forced = is_forced
        self._loop = asyncio.get_running_loop()
        self._phase_has_changed = asyncio.Event()
        self._acceptor: Acceptor | None = None
        self._started: list[WorkerThread] = []

    def load(self) -> None:
        """Import the app, once, before any thread does. Raises UnfitForThreads where that has switched the GIL on."""
        with self.gil_watch:
            self.config.load_app()
        complaint = self.gil_watch.complaint()
        if complaint is not None:
            raise UnfitForThreads(complaint)
        if self.config.worker_class == "thread" and not self.gil_watch.was_off:
            logger.warning("Worker threads on an interpreter with a GIL take turns: they will not run in parallel.")
        self.config.preload()

    async def start(self, should_exit: Callable[[], bool]) -> bool:
        """Start the threads, each when the one before has finished its lifespan's startup.

        False where `should_exit()` came in between. Then, and where this raises (StartupFailed; UnfitForThreads for an
        app that shares what belongs to one loop), every thread that was up is shut down again.
        """
        check = SharedStateCheck(self.config)
        try:
            for thread in self.threads:
                thread.start()
                await self._reached(Phase.SERVING, [thread])
                if thread.phase is Phase.ENDED:
                    thread.join(_JOIN_TIMEOUT)
                    raise StartupFailed(thread.exit_code)
                self._started.append(thread)
                is_unfit = check.after_startup(thread)
                if should_exit():
                    await self.stop_early()
                    return False
                if is_unfit:
                    raise UnfitForThreads(check.complaint())
        except BaseException:
            await self.stop_early()
            raise
        states: list[ServerState] = [thread.state for thread in self.threads]
        for state in states:
            state.siblings = states
        return True

    def accept(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections on these sockets from now on. They are closed by whoever opened them."""
        self._acceptor = Acceptor(
            listeners, self._started, ConnectionLimits.of(self.config), hears_first=self.config.is_ssl
        )
        self._acceptor.start()
        self.heartbeat = time.monotonic()

    def drain_backlog(self) -> int:
        """Accept what waits in the backlog, for nobody else will. Returns how many connections that were."""
        return 0 if self._acceptor is None else self._acceptor.drain()

    def stop_accepting(self) -> None:
        """Leave what is in the backlog to whoever else listens on the same sockets."""
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor = None

    def failed_thread(self) -> WorkerThread | None:
        """A thread that ended although nobody asked it to."""
        return next((thread for thread in self._started if thread.phase is Phase.ENDED), None)

    def heartbeats(self) -> list[tuple[str, float]]:
        """Seconds since each loop last turned, by its name. From any thread."""
        ages = [(thread.name, thread.heartbeat_age()) for thread in self.threads if thread.is_alive()]
        # Where this loop stands still nobody accepts. While it waits for the workers to end, it does not tick.
        return ages if self._acceptor is None else [*ages, (_ACCEPTOR, time.monotonic() - self.heartbeat)]

    # The end

    async def stop(self, linger: float, grace: Callable[[], float | None]) -> bool:
        """Drain all workers, then run their lifespan shutdowns in reverse order of their startups.

        `linger` (seconds) is what an idle connection gets to send the request that may be under way. `grace()` is asked
        for the seconds that finished workers get to close their loops (None: no limit). A thread cannot be killed: one
        that does not end is named and left behind, and as a daemon it ends with the process. Returns whether all limits
        were kept.
        """
        self._retire(linger)
        await self._reached(Phase.DRAINED, self._started, 0.1 + linger, self._is_forced)
        is_in_time = await drain(self, DrainLimits.of(self.config), self._is_forced)
        workers = [thread.worker for thread in self._started]
        await self._finish_all(Haste.REQUESTS, grace)
        return is_in_time and not any(worker is not None and worker.lifespan_was_late for worker in workers)

    # See `drain.Draining`

    def is_drained(self) -> bool:
        """Whether there is nothing to wait for."""
        return all(thread.phase >= Phase.DRAINED for thread in self._started)

    def left(self) -> tuple[int, int]:
        """How many connections and tasks there are."""
        states = [thread.state for thread in self._started]
        return sum(len(state.connections) for state in states), sum(len(state.tasks) for state in states)

    async def in_hand(self) -> InHand:
        """What the connections are at; those of loops that do not turn are not known."""
        found: list[InHand] = []  # appended to by any thread
        for thread in self._started:
            thread.have_worker_threadsafe(lambda worker: found.append(InHand.on(worker.state.connections)))
        deadline = time.monotonic() + _LOOK_INTERVAL
        while len(found) < len(self._started) and time.monotonic() < deadline:
            await asyncio.sleep(0.001)
        return functools.reduce(InHand.plus, found, InHand())

    async def pause(self) -> None:
        """Wait for a moment, or until a thread has come so far."""
        await self._reached(Phase.DRAINED, self._started, _LOOK_INTERVAL, self._is_forced)

    def tell_streams(self) -> None:
        """Tell the apps of responses that have begun to end."""
        self._have_workers(Worker.tell_streams)

    def cancel_tasks(self) -> None:
        """Cancel the apps."""
        self._have_workers(Worker.cancel_tasks)

    def abort_connections(self) -> None:
        """Cut the connections."""
        self._have_workers(Worker.abort_connections)

    def _have_workers(self, do: Callable[[Worker], object]) -> None:
        for thread in self._started:
            thread.have_worker_threadsafe(do)

    async def stop_early(self) -> None:
        """End where nobody can have been answered: connections are cut, the lifespans' shutdowns run."""
        self._retire(0.0)
        await self._finish_all(Haste.CUT, lambda: None)

    def _retire(self, linger: float) -> None:
        self.stop_accepting()
        for thread in self._started:
            thread.retire_threadsafe(linger)

    async def _finish_all(self, haste: Haste, grace: Callable[[], float | None]) -> None:
        """Wait for requests no longer, only for loops to turn; then end the threads that do."""
        is_forced = self._is_forced()
        for thread in self._started:
            thread.hurry_threadsafe(Haste.CUT if is_forced else haste)
        await self._reached(Phase.DRAINED, self._started, _TIMEOUT_TURN_FORCED if is_forced else _TIMEOUT_TURN)
        drained = [thread for thread in reversed(self._started) if thread.phase >= Phase.DRAINED]
        for thread in self._started:
            if thread not in drained:
                self._leave_behind(thread)
            elif is_forced:  # none of them waits for another one's app
                thread.hurry_threadsafe(Haste.ALL)
                thread.finish_threadsafe()
        await self._join([thread for thread in drained if await self._finish(thread)], grace)
        self._started = []

    async def _finish(self, thread: WorkerThread) -> bool:
        """Have its app shut down, for as long as that takes, or until that is forced. Whether it has got there."""
        if self._is_forced():
            thread.hurry_threadsafe(Haste.ALL)
        thread.finish_threadsafe()
        limit = self.config.settings.deadlines.lifespan_shutdown
        if limit is not None:  # which the worker keeps itself, unless its loop is blocked
            limit += _TIMEOUT_TURN
        if not await self._reached(Phase.FINISHED, [thread], limit, self._is_forced):
            thread.hurry_threadsafe(Haste.ALL)
            if not await self._reached(Phase.FINISHED, [thread], _FORCED_TIMEOUT):
                self._leave_behind(thread)
                return False
        return True

    async def _join(self, threads: list[WorkerThread], grace: Callable[[], float | None]) -> None:
        """Wait for the ends of threads that have finished: their loops wait for executors, as `asyncio.run` does."""
        begun, limit = time.monotonic(), grace()
        while left := [thread for thread in threads if thread.phase is not Phase.ENDED]:
            if self._is_forced():
                limit = _FORCED_TIMEOUT
            if limit is not None and time.monotonic() - begun >= limit:
                for thread in left:
                    thread.hurry_threadsafe(Haste.ALL)
                names = ", ".join(thread.name for thread in left)
                alive = who_is_alive(*(thread.loop for thread in left))
                logger.error("Worker thread %s does not end. What keeps it:\n%s", names, alive)
                return
            await self._reached(Phase.ENDED, left, _LOOK_INTERVAL)
        for thread in threads:
            thread.join(_JOIN_TIMEOUT)

    def _leave_behind(self, thread: WorkerThread) -> None:
        thread.hurry_threadsafe(Haste.ALL)
        thread.finish_threadsafe()
        stack = stack_of_thread(thread.ident)
        logger.error("Worker thread %s does not end. It is stuck at:\n%s", thread.name, stack)

    def abandon(self) -> None:
        """End at once whatever still runs: for a server that was cancelled or failed. After `stop` there is nothing."""
        self.stop_accepting()
        left = [thread for thread in self.threads if thread.is_alive() and thread.haste is not Haste.ALL]
        for thread in left:
            thread.hurry_threadsafe(Haste.ALL)
            thread.retire_threadsafe(0.0)
            thread.finish_threadsafe()
        for thread in left:
            thread.join(_FORCED_TIMEOUT)

    # Waiting

    def _report(self) -> None:
        """Told by a thread that its phase has changed, on that thread."""
        with contextlib.suppress(RuntimeError):  # this loop is gone, and with it whoever waited
            self._loop.call_soon_threadsafe(self._phase_has_changed.set)

    async def _reached(
        self,
        phase: Phase,
        threads: Sequence[WorkerThread],
        limit: float | None = None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Whether all these come so far within `limit` seconds and before `is_over()`."""
        deadline = None if limit is None else time.monotonic() + limit
        while any(thread.phase < phase for thread in threads):
            if is_over() or (deadline is not None and time.monotonic() >= deadline):
                return False
            self._phase_has_changed.clear()
            # Not by `wait_for`: it asks for the current task, which nest_asyncio hides from it on 3.14.
            change = asyncio.ensure_future(self._phase_has_changed.wait())
            try:
                await asyncio.wait({change}, timeout=_LOOK_INTERVAL)
            finally:
                change.cancel()
        return True
