"""A thread with an event loop and a `Worker` on it, and what other threads may ask of it.

Everything the worker touches is made on its own thread, since free-threaded CPython counts references cheaply only for
the thread that made the object: config copy, app (from a factory), state, lifespan, protocols. What crosses: accepted
sockets, requests to end (`retire`, `force`, `finish`), reads of integers, and reports to the pool's loop.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
import time
from collections import deque
from typing import Any

from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.errors import STARTUP_FAILURE, explanation
from pounce.names import LOGGER_ERROR
from pounce.pool.acceptor import Accepted
from pounce.watchdog import stack_of
from pounce.worker.loops import asyncio_run
from pounce.worker.worker import TICK_INTERVAL, Worker

logger = logging.getLogger(LOGGER_ERROR)


class WorkerThread:
    """One worker of a pool. Made, started and stopped by the pool, on the thread of the pool's loop."""

    def __init__(self, config: ConfigView, index: int) -> None:
        self.name = f"pounce-worker-{index}"
        #: Replaced by one of the thread's own before `on_started`.
        self.state = ServerState()
        self.worker: Worker | None = None
        #: What this process should exit with where the thread ended by itself; None after an orderly end.
        self.exit_code: int | None = None
        self._shared_config = config
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._pool_loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._retire: asyncio.Event | None = None
        self._finish: asyncio.Event | None = None
        self._linger = 0.0
        self._drained = False
        self._forced = False
        self._is_cut_off = False
        self._handed_over = 0  # written by the acceptor's thread alone, as `Worker.adopted` is by this one
        self._inbox: deque[Accepted] = deque()
        self._is_called = False
        #: Told on the pool's loop.
        self.on_started = asyncio.Event()
        self.on_drained = asyncio.Event()
        self.on_finished = asyncio.Event()
        self.on_ended = asyncio.Event()

    # Asked by the pool and the acceptor, on the pool's thread

    def start(self) -> None:
        """Start the thread; `on_started` or `on_ended` follows."""
        self._thread.start()

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
        """End every connection when its request is answered; `on_drained` follows."""
        self._linger = linger
        if self._retire is not None:
            self._call(self._retire.set)

    def force_drain_threadsafe(self) -> None:
        """Wait for connections and tasks no longer. The lifespan's shutdown still runs."""
        self._drained = True

    def force_threadsafe(self) -> None:
        """Wait for nobody any more, cut what is left, skip the lifespan's shutdown."""
        self._drained = self._forced = True
        if self.worker is not None:
            self._call(self.worker.abort_connections)

    def cut_off_threadsafe(self) -> None:
        """Cut connections and end requests, unheard. The lifespan's shutdown still runs."""
        self._drained = self._is_cut_off = True

    def cancel_tasks_threadsafe(self) -> None:
        """`timeout_graceful_shutdown` is over."""
        if self.worker is not None:
            self._call(self.worker.cancel_tasks)

    def finish_threadsafe(self) -> None:
        """Run the lifespan's shutdown and end the thread: `on_finished`, and `on_ended` once the loop is closed."""
        if self._finish is not None:
            self._call(self._finish.set)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The thread's event loop, while it runs."""
        return self._loop

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for a thread that is about to end."""
        self._thread.join(timeout)

    def heartbeat_age(self) -> float:
        """Seconds since the loop last turned; 0 before it serves and after it has ended. From any thread."""
        worker = self.worker
        if worker is None or not self.on_started.is_set() or self.on_ended.is_set():
            return 0.0
        return time.monotonic() - worker.heartbeat

    def dump_stack(self) -> str:
        """Where the thread is right now, as a traceback shows it. From any thread."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return stack_of(frame) if frame is not None else "(the thread has ended)"

    def _call(self, function: Any) -> bool:
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def _tell(self, event: asyncio.Event) -> None:
        try:
            self._pool_loop.call_soon_threadsafe(event.set)
        except RuntimeError:
            pass  # the pool's loop is gone, and with it whoever waited

    # On the worker's own thread

    def _run(self) -> None:
        try:
            config = self._shared_config.for_worker()
            asyncio_run(self._serve(config), loop_factory=config.get_loop_factory())
        except SystemExit as exc:
            self.exit_code = exc.code if isinstance(exc.code, int) else STARTUP_FAILURE
        except BaseException as exc:
            self.exit_code = STARTUP_FAILURE if self.worker is None else 1
            found = explanation(exc)
            if found is None:
                logger.error("Worker thread %s failed", self.name, exc_info=exc)
            else:
                logger.error(found[0])
        finally:
            self._loop = None
            self._close_inbox()
            self._tell(self.on_ended)

    async def _serve(self, config: ConfigView) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._retire = asyncio.Event()
        self._finish = asyncio.Event()
        self.state = ServerState()
        worker = self.worker = Worker(config, self.name, self.state)
        await worker.lifespan.startup()
        if _has_failed(worker):
            self.exit_code = STARTUP_FAILURE
            return
        worker.tick()
        ticking = loop.create_task(self._tick_on(worker))
        try:
            self._tell(self.on_started)
            await self._retire.wait()
            worker.retiring = True
            self._adopt()
            await worker.retire_connections(self._linger, self._is_drained)
            await worker.wait_drained(self._is_drained, log=False)
            if self._is_cut_off:
                await worker.cut_short()
            self._tell(self.on_drained)
            await self._finish.wait()
            if not self._forced:
                await worker.shut_lifespan_down(self._is_forced)
                self.exit_code = 1 if _has_failed(worker) else None
            if self._forced:
                await worker.cut_short()
                await worker.abandon_lifespan()
            worker.abort_connections()
            await asyncio.sleep(0)
        finally:
            ticking.cancel()
            self._tell(self.on_finished)

    def _is_drained(self) -> bool:
        return self._drained

    def _is_forced(self) -> bool:
        return self._forced

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
            fd, family, kind, proto = inbox.popleft()
            sock = socket.socket(family, kind, proto, fileno=fd)
            if worker is None or self._loop is None:
                sock.close()
            else:
                worker.adopt(sock)

    def _close_inbox(self) -> None:
        while self._inbox:
            socket.close(self._inbox.popleft()[0])


def _has_failed(worker: Worker) -> bool:
    return worker.lifespan.should_exit
