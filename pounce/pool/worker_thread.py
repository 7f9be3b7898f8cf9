"""A thread with an event loop and a `Worker` on it, and what other threads may ask of it.

Everything the worker touches is made on its own thread: config copy, app (from a factory), lifespan, protocols. What
crosses: accepted sockets, three requests (`retire`, `force`, `finish`), reads of integers, and reports to the pool's loop.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
import time
import traceback
from collections import deque
from typing import Any

from pounce.connection.state import ServerState
from pounce.connection.tasks import start_task_on
from pounce.contracts import ConfigView
from pounce.errors import STARTUP_FAILURE
from pounce.names import LOGGER_ERROR
from pounce.worker.loops import asyncio_run
from pounce.worker.worker import TICK_INTERVAL, Worker

logger = logging.getLogger(LOGGER_ERROR)


class WorkerThread:
    """One worker of a pool. Made, started and stopped by the pool on the pool's loop."""

    def __init__(self, config: ConfigView, index: int) -> None:
        self.name = f"pounce-worker-{index}"
        self.state = ServerState()
        self.worker: Worker | None = None
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
        # Counters for `load`: each has one writer, the acceptor's thread or this one.
        self._handed_over = 0
        self._adopted = 0
        self._inbox: deque[socket.socket] = deque()
        #: Told on the pool's loop.
        self.on_started = asyncio.Event()
        self.on_drained = asyncio.Event()
        self.on_ended = asyncio.Event()

    # Asked by the pool, on the pool's loop

    def start(self) -> None:
        """Start the thread; `on_started` or `on_ended` follows."""
        self._thread.start()

    def load(self) -> int:
        """Open connections, those handed over and not yet connected included."""
        return len(self.state.connections) + self._handed_over - self._adopted

    def adopt_threadsafe(self, sockets: list[socket.socket]) -> None:
        """Take over accepted connections."""
        self._handed_over += len(sockets)
        self._inbox.extend(sockets)
        if not self._call(self._adopt):
            for sock in sockets:
                sock.close()

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

    def cancel_tasks_threadsafe(self) -> None:
        """`timeout_graceful_shutdown` is over."""
        if self.worker is not None:
            self._call(self.worker.cancel_tasks)

    def finish_threadsafe(self) -> None:
        """Run the lifespan's shutdown and end the thread; `on_ended` follows."""
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
        """Wait for a thread that is about to end."""
        self._thread.join(timeout)

    def heartbeat_age(self) -> float:
        """Seconds since the loop last turned; 0 before it serves. From any thread."""
        worker = self.worker
        return time.monotonic() - worker.heartbeat if worker is not None and self.on_started.is_set() else 0.0

    def dump_stack(self) -> str:
        """Where the thread is right now, as a traceback shows it. From any thread."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame is not None else "(the thread has ended)\n"

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
            logger.error("Worker thread %s failed", self.name, exc_info=exc)
        finally:
            self._loop = None
            self._tell(self.on_ended)

    async def _serve(self, config: ConfigView) -> None:
        self._loop = asyncio.get_running_loop()
        self._start_task = start_task_on(self._loop)
        self._retire = asyncio.Event()
        self._finish = asyncio.Event()
        worker = self.worker = Worker(config, self.name, self.state)
        await worker.lifespan.startup()
        if worker.lifespan.should_exit:
            self.exit_code = STARTUP_FAILURE
            return
        worker.tick()
        ticking = self._loop.create_task(self._tick_on(worker))
        try:
            self._tell(self.on_started)
            await self._retire.wait()
            await worker.retire_connections(self._linger, self._is_drained)
            await worker.wait_drained(self._is_drained, log=False)
            self._tell(self.on_drained)
            await self._finish.wait()
            if not self._forced:
                await worker.lifespan.shutdown()
                if worker.lifespan.should_exit:
                    self.exit_code = 1
        finally:
            ticking.cancel()

    def _is_drained(self) -> bool:
        return self._drained

    async def _tick_on(self, worker: Worker) -> None:
        while True:
            await asyncio.sleep(TICK_INTERVAL)
            worker.tick()

    def _adopt(self) -> None:
        """Connect what the acceptor has handed over since the last call."""
        loop, worker, inbox = self._loop, self.worker, self._inbox
        assert loop is not None
        assert worker is not None
        while inbox:
            self._start_task(self._connect(loop, worker, inbox.popleft()), None)

    async def _connect(self, loop: asyncio.AbstractEventLoop, worker: Worker, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            await loop.connect_accepted_socket(worker.create_protocol, sock, ssl=worker.config.ssl)
        except OSError as exc:
            # A client that went away, or failed the TLS handshake. asyncio's own servers keep quiet about it, too.
            logger.debug("Connection lost before it was set up: %s", exc)
            sock.close()
        finally:
            self._adopted += 1
