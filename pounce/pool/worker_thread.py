"""A thread with an event loop and a `Worker` on it, and what other threads may ask of it.

Everything the worker touches is made on its own thread, since free-threaded CPython counts references cheaply only for
the thread that made the object: config copy, app (from a factory), state, lifespan, protocols. What crosses: accepted
sockets, requests to end (`retire`, `hurry`, `finish`), reads of integers, and reports to the pool's loop.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.errors import STARTUP_FAILURE, explanation
from pounce.names import LOGGER_ERROR
from pounce.worker.loops import asyncio_run
from pounce.worker.worker import TICK_INTERVAL, Accepted, Worker

logger = logging.getLogger(LOGGER_ERROR)


class Phase(enum.IntEnum):
    """How far a worker thread has come."""

    STARTING = 0
    SERVING = 1
    #: No connection and no task is left, or nobody waits for them.
    DRAINED = 2
    #: The app's shutdown is over.
    FINISHED = 3
    #: Its loop is closed.
    ENDED = 4


class Haste(enum.IntEnum):
    """What a worker that ends does not wait for."""

    NONE = 0
    REQUESTS = 1
    #: Requests are cut off, unheard.
    CUT = 2
    #: Nor for the app's shutdown.
    ALL = 3


class WorkerThread(threading.Thread):
    """One worker of a pool. Made, started and stopped by the pool, on the thread of the pool's loop."""

    def __init__(self, config: ConfigView, index: int, report: Callable[[], object]) -> None:
        """`report` is called, from this thread, whenever `phase` has changed."""
        super().__init__(name=f"pounce-worker-{index}", daemon=True)
        #: Replaced by one of the thread's own before it serves.
        self.state = ServerState()
        self.worker: Worker | None = None
        #: The thread's event loop, while it runs.
        self.loop: asyncio.AbstractEventLoop | None = None
        self.phase = Phase.STARTING
        #: What this process should exit with where the thread ended before it served.
        self.exit_code = STARTUP_FAILURE
        self._config = config
        self._report = report
        self._retire = asyncio.Event()
        self._finish = asyncio.Event()
        self._linger = 0.0
        self.haste = Haste.NONE
        self._handed_over = 0  # written by the acceptor's thread alone, as `Worker.adopted` is by this one
        self._inbox: deque[Accepted] = deque()
        self._is_called = False
        # While another thread calls, the loop is not closed: uvloop's crashes the process then.
        self._calling = threading.Lock()
        self._is_closing = False

    # Asked by the pool and the acceptor, on the pool's thread

    def load(self) -> int:
        """Open connections, those handed over and not yet connected included."""
        worker = self.worker
        return len(self.state.connections) + self._handed_over - (worker.adopted if worker is not None else 0)

    def adopt_threadsafe(self, accepted: list[Accepted]) -> None:
        """Take over accepted connections."""
        self._handed_over += len(accepted)
        self._inbox.extend(accepted)
        # One wake-up for all that arrives before the loop gets to it. Should the two threads ever miss each other here,
        # the next tick finds the inbox.
        if not self._is_called:
            self._is_called = True
            if not self._call(self._adopt):
                self._close_inbox()

    def retire_threadsafe(self, linger: float) -> None:
        """End every connection when its request is answered, until it is drained."""
        self._linger = linger
        self._call(self._retire.set)

    def hurry_threadsafe(self, haste: Haste) -> None:
        """Wait for so much no longer."""
        self.haste = max(self.haste, haste)
        if haste is Haste.ALL:
            self.have_worker_threadsafe(Worker.abort_connections)

    def have_worker_threadsafe(self, do: Callable[[Worker], object]) -> None:
        """Have the worker do this on its loop, once it turns."""
        if self.worker is not None:
            self._call(functools.partial(do, self.worker))

    def finish_threadsafe(self) -> None:
        """Once it is drained, run the lifespan's shutdown and end the thread."""
        self._call(self._finish.set)

    def heartbeat_age(self) -> float:
        """Seconds since the loop last turned; 0 before it serves and after it has ended. From any thread."""
        worker = self.worker
        if worker is None or self.phase in (Phase.STARTING, Phase.ENDED):
            return 0.0
        return time.monotonic() - worker.heartbeat

    def _call(self, function: Callable[[], object]) -> bool:
        with self._calling:
            if self.loop is None or self._is_closing:
                return False
            try:
                self.loop.call_soon_threadsafe(function)
            except RuntimeError:  # the loop is closed
                return False
            return True

    # On the worker's own thread

    def run(self) -> None:
        """The life of this thread."""
        try:
            config = self._config.for_worker()
            asyncio_run(self._serve(config), loop_factory=config.get_loop_factory())
        except SystemExit as exc:
            self.exit_code = exc.code if isinstance(exc.code, int) and exc.code else STARTUP_FAILURE
        except BaseException as exc:
            if self.worker is not None:
                self.exit_code = 1
            found = explanation(exc)
            if found is None:
                logger.error("Worker thread %s failed", self.name, exc_info=exc)
            else:
                logger.error(found[0])
        finally:
            self.loop = None
            self._close_inbox()
            self._reach(Phase.ENDED)

    async def _serve(self, config: ConfigView) -> None:
        self.loop = asyncio.get_running_loop()
        try:
            await self._serve_on(self.loop, config)
        finally:
            with self._calling:
                self._is_closing = True

    async def _serve_on(self, loop: asyncio.AbstractEventLoop, config: ConfigView) -> None:
        self.state = ServerState()
        worker = self.worker = Worker(config, self.name, self.state)
        await worker.lifespan.startup()
        if worker.lifespan.should_exit:
            return
        worker.tick()
        ticking = loop.create_task(self._tick_on(worker))
        try:
            self._reach(Phase.SERVING)
            await self._retire.wait()
            worker.retiring = True
            self._adopt()
            await worker.retire_connections(self._linger, self._is_drained)
            while not worker.is_drained() and not self._is_drained():
                await worker.pause()
            if self.haste >= Haste.CUT:
                await worker.cut_short()
            self._reach(Phase.DRAINED)
            await self._finish.wait()
            await worker.finish(self._is_forced)
            worker.abort_connections()
            await asyncio.sleep(0)
        finally:
            ticking.cancel()
            self._reach(Phase.FINISHED)

    def _reach(self, phase: Phase) -> None:
        self.phase = phase
        self._report()

    def _is_drained(self) -> bool:
        return self.haste >= Haste.REQUESTS

    def _is_forced(self) -> bool:
        return self.haste is Haste.ALL

    async def _tick_on(self, worker: Worker) -> None:
        while True:
            await asyncio.sleep(TICK_INTERVAL)
            worker.tick()
            if self._inbox:
                self._adopt()

    def _adopt(self) -> None:
        """Connect what the acceptor has handed over since the last call."""
        worker, inbox = self.worker, self._inbox
        self._is_called = False
        while inbox:
            accepted = inbox.popleft()
            if worker is None or self.loop is None:
                drop(accepted)
            else:
                worker.take(accepted)

    def _close_inbox(self) -> None:
        while self._inbox:
            drop(self._inbox.popleft())


def drop(accepted: Accepted) -> None:
    """Close a connection that nobody takes."""
    fd, *_, seat = accepted
    socket.close(fd)
    if seat is not None:
        seat.leave()
