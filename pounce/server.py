"""`Server`: what users hold. Signals, startup, the main loop, shutdown; one worker here, or a pool of worker threads.

With one worker everything runs on the caller's own loop and thread. With worker threads the caller's loop accepts,
ticks and obeys signals, and the workers serve (`pool/`). Compatible with uvicorn's `Server`, whose methods and
attributes users call, override and patch.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

from pounce.binding import Bind, failing_start
from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.ending import HANDLED_SIGNALS as HANDLED_SIGNALS, SIGQUIT, Ending
from pounce.errors import NEEDS_PROCESSES, StartupFailed
from pounce.listeners import Listening, accept, listen
from pounce.logs import log_styled
from pounce.names import LOGGER_ERROR
from pounce.pool.pool import PoolState, UnfitForThreads, WorkerPool
from pounce.watchdog import stack_of_thread
from pounce.worker.loops import asyncio_run
from pounce.worker.worker import TICK_INTERVAL, Worker

#: Seconds that an idle connection gets on SIGTERM to send the request that may be under way.
SIGTERM_LINGER = 0.3

#: Seconds for the app's shutdown where `serve()` was cancelled and there is no graceful timeout.
_TIMEOUT_CANCELLED = 10.0

logger = logging.getLogger(LOGGER_ERROR)


class Server:
    """Runs one app. `run()` blocks; `serve()` runs on the caller's loop; `should_exit = True` ends either."""

    def __init__(self, config: ConfigView) -> None:
        self.config = config
        self.server_state: ServerState | PoolState = ServerState()
        self.servers: list[Any] = []
        self.started = False
        self.should_exit = False
        self.force_exit = False
        self.last_notified = 0.0
        #: Read by a supervisor: this process has served its share and should be replaced.
        self.wants_recycling = False
        #: Set by a supervisor that replaces this process: it brings up a new one before it ends this one.
        self.is_supervised = False
        #: Set by `run()`: this process is there for this server alone, also as the child of a supervisor.
        self.owns_process = False
        #: Read by a supervisor: the app turned out not to run in threads.
        self.wants_processes = False
        #: Set by a supervisor: whether others go on accepting on the same sockets when this server ends.
        self.has_successors: Callable[[], bool] = lambda: False
        #: Set by a supervisor: called once, when this server has begun to serve and nobody can have been answered.
        self.on_started: Callable[[], None] | None = None
        self._end = Ending(config)
        self._captured_signals = self._end.signals
        self._worker: Worker | None = None
        self._pool: WorkerPool | None = None
        self._thread_id = threading.get_ident()
        self._ending = False

    @functools.cached_property
    def limit_max_requests(self) -> int | None:
        """Requests until this server ends itself, jitter included; drawn once."""
        if self.config.limit_max_requests is None:
            return None
        return self.config.limit_max_requests + random.randint(0, self.config.limit_max_requests_jitter)

    @property
    def uses_threads(self) -> bool:
        """Whether `workers` are threads of this process."""
        if self.config.workers <= 1 or self.config.reload or self.config.effective_worker_class != "thread":
            return False
        # uvicorn: `Server.serve()` stays on its caller's loop, whatever $WEB_CONCURRENCY says; threads were asked for.
        return self._has_process or not self.config.workers_from_environment

    # The way of a server

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal or `should_exit`, on a new event loop."""
        loop_factory = self.config.get_loop_factory()  # First: it may raise, and then there must be no coroutine yet.
        with contextlib.ExitStack() as stack:
            if self._has_process and threading.current_thread() is threading.main_thread():
                stack.enter_context(self._end.owning_process())
                # Around the loop's end as well: signals count until it is closed, and are raised again behind it.
                stack.enter_context(self.capture_signals())
            asyncio_run(self.serve(sockets=sockets), loop_factory=loop_factory)

    @property
    def _has_process(self) -> bool:
        return self.owns_process or self.is_supervised

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal or `should_exit`, on the running loop. Captured signals are raised again at the end.

        Cancelled, it cuts its connections and runs the app's shutdown.
        """
        self._end.on_serve(asyncio.get_running_loop())
        with self.capture_signals():
            try:
                await self._serve(sockets)
            finally:
                self._end.on_finished()

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        if self.uses_threads:
            self._prepare_pool()
        if self._pool is None:
            self._prepare_worker()
        log_styled("Started server process [%d]" + self._description(), os.getpid(), fg="cyan")
        try:
            await self.startup(sockets=sockets)
            if self._has_process:
                _freeze_gc()
            if not self.should_exit:
                await self.main_loop()
            if self.started:
                await self.shutdown(sockets=sockets)
                log_styled("Finished server process [%d]", os.getpid(), fg="cyan")
        except GeneratorExit:
            raise  # thrown away with its loop: it may not wait for anything any more
        except BaseException:
            await self._end_early(sockets)
            raise
        finally:
            self._close_listeners()
            if self._pool is not None:
                self._pool.abandon()

    async def _end_early(self, sockets: list[socket.socket] | None) -> None:
        """Leave nothing behind where `serve()` was cancelled or failed: no listener, no connection, no lifespan."""
        self._ending = True
        self._close_listeners(sockets if self.started else None)
        limit = self.config.timeout_graceful_shutdown
        deadline = time.monotonic() + (_TIMEOUT_CANCELLED if limit is None else limit)
        cleanup = asyncio.ensure_future(self._clean_up())
        while not cleanup.done() and time.monotonic() < deadline:
            with contextlib.suppress(asyncio.CancelledError):  # anyio's scopes cancel again and again
                await asyncio.wait({cleanup}, timeout=TICK_INTERVAL)
        cleanup.cancel()

    async def _clean_up(self) -> None:
        if self._pool is not None:
            if self.started:
                await self._pool.stop_early()
        elif self._worker is not None:
            self._worker.retiring = True
            await self._worker.cut_short()
            if self.started and not self.force_exit:
                await self._worker.shut_lifespan_down(self._is_forced)
            await self._worker.abandon_lifespan()

    def _drain_backlog(self) -> int:
        """Accept what has connected, unless somebody else will. Returns how many connections that were."""
        if self.config.reload or self.has_successors():
            return 0
        return sum(listener.drain() for listener in self.servers if isinstance(listener, Listening))

    def _close_listeners(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()

    def _leaves_startup(self) -> bool:
        """Asked between the startups of worker threads. Where it says so, those that are up are shut down."""
        if self.should_exit:
            self._end.on_drained(is_looked_after=True)
        return self.should_exit

    def _is_forced(self) -> bool:
        return self.force_exit

    def _prepare_worker(self) -> None:
        if not self.config.loaded:
            self.config.load()
        if not isinstance(self.server_state, ServerState):
            self.server_state = ServerState()
        self._worker = Worker(self.config, state=self.server_state)
        self.lifespan = self._worker.lifespan

    def _prepare_pool(self) -> None:
        self._pool = WorkerPool(self.config, self._is_forced)
        self.server_state = self._pool.state
        try:
            self._pool.load()
        except UnfitForThreads as exc:
            self._leave_threads(exc)

    def _leave_threads(self, reason: UnfitForThreads) -> None:
        """One worker takes over. But where threads were asked for by name, or a supervisor can start processes, this
        raises StartupFailed."""
        if self.config.worker_class == "thread":
            logger.error("%s Threads were asked for with --worker-class thread.", reason)
            raise StartupFailed
        if self.is_supervised:
            logger.warning("%s Running processes instead of threads.", reason)
            self.wants_processes = True
            raise StartupFailed(NEEDS_PROCESSES)
        logger.warning("%s Running one worker instead of threads.", reason)
        self._pool = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the app's startup, then listen. Raises StartupFailed where either fails."""
        bind = Bind.of(self.config)
        if sockets is None:
            with failing_start():  # before any app has started
                bind.check()
        if self._pool is not None:
            try:
                if not await self._pool.start(self._leaves_startup):
                    return
            except UnfitForThreads as exc:
                self._leave_threads(exc)
                self._prepare_worker()
        if self._pool is None:
            await self.lifespan.startup()
            if self.lifespan.should_exit:
                raise StartupFailed
        try:
            with failing_start():
                await self._listen(bind, sockets)
        except StartupFailed:
            await (self._pool.stop_early() if self._pool is not None else self.lifespan.shutdown())
            raise
        if sockets is None:
            bind.announce(self.servers[0].sockets[0])
        if self._worker is not None:
            self._worker.heartbeat = time.monotonic()
        self.started = True
        # In the turn of the loop that has begun to listen: no connection can have been accepted yet.
        if self.on_started is not None:
            self.on_started()

    async def _listen(self, bind: Bind, sockets: list[socket.socket] | None) -> None:
        self.servers = listeners = await listen(bind, sockets)
        if self._pool is None:
            assert self._worker is not None
            is_shared = sockets is not None or not bind.is_address
            await accept(listeners, self.config, self._worker, is_shared)
            return
        self._pool.accept([sock for listening in listeners for sock in listening.sockets])
        listeners[0].on_drain = self._pool.drain_backlog  # of all of them
        for listening in listeners:
            listening.on_close.append(self._pool.stop_accepting)

    async def main_loop(self) -> None:
        """Tick until it is time to end."""
        counter = 0
        should_exit = await self.on_tick(counter)
        while not should_exit:
            counter = (counter + 1) % 864000
            await asyncio.sleep(TICK_INTERVAL)
            should_exit = await self.on_tick(counter)

    async def on_tick(self, counter: int) -> bool:
        """What is due every tenth of a second. Returns whether the server should end."""
        if self._worker is not None:
            self._worker.tick()
            for listening in self.servers:
                for caretaker in getattr(listening, "caretakers", ()):
                    await caretaker()
        elif self._pool is not None:
            self._watch_pool(self._pool)
        if counter % 10 == 0 and self.config.callback_notify is not None:
            now = time.time()
            if now - self.last_notified > self.config.timeout_notify:
                self.last_notified = now
                await self.config.callback_notify()
        if self.should_exit:
            return True
        limit = self.limit_max_requests
        if limit is not None and self.server_state.total_requests >= limit:
            if self.is_supervised:
                if not self.wants_recycling:
                    logger.info("Maximum request limit of %d exceeded. Asking for a replacement.", limit)
                    self.wants_recycling = True
                return False
            logger.info("Maximum request limit of %d exceeded. Terminating process.", limit)
            return True
        return False

    def _watch_pool(self, pool: WorkerPool) -> None:
        pool.heartbeat = time.monotonic()
        complaint = pool.gil_watch.late_complaint()
        if complaint is not None:
            # A lazy import brought the GIL back while requests are served: that is no reason to lose one.
            if self.config.worker_class == "auto" and self.is_supervised:
                logger.warning("%s Running processes instead of threads.", complaint)
                self.wants_processes = True
            else:
                logger.warning("%s From now on the worker threads take turns.", complaint)
        failed = pool.failed_thread()
        if failed is not None and not self.should_exit:
            logger.error("Worker thread %s has ended by itself. Ending the server process.", failed.name)
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let requests end within `timeout_graceful_shutdown`, run the app's shutdown."""
        if self._end.is_told_to_quit:
            logger.info("Received SIGQUIT, exiting without waiting for requests.")
        logger.info("Shutting down")
        self._ending = True
        drained = 0 if self.force_exit else self._drain_backlog()
        self._close_listeners(sockets)
        linger = SIGTERM_LINGER if drained or signal.SIGTERM in self._captured_signals else 0.0
        if self._pool is not None:
            self._end.on_drained(is_looked_after=True)
            self._end.exceeded_limit = not await self._pool.stop(linger, self._end.grace)
        elif self._worker is not None:
            self._end.on_drain()
            is_in_time = await self._worker.drain(linger, self._is_forced)
            self._end.on_drained()
            await self._worker.finish(self._is_forced)
            self._end.exceeded_limit = not is_in_time or self._worker.lifespan_was_late

    # Signals

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle SIGINT and SIGTERM meanwhile, where this is the main thread; raise what came again afterwards."""
        with self._end.capturing(self.handle_exit):
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to end: gracefully the first time, at once where SIGINT comes again, or SIGQUIT."""
        if self._end.is_for_a_fork(sig):
            return
        is_echo = self._end.is_echo(sig)
        self._end.on_signal(sig)
        if sig == SIGQUIT or (self.should_exit and sig == signal.SIGINT and not is_echo):
            self.should_exit = self.force_exit = True
            self._end.on_force()
        elif not self.should_exit:
            self.should_exit = True
            if not self._ending:
                self._end.on_drain(self.started)

    # Asked by a supervisor, from another thread

    def heartbeats(self) -> list[tuple[str, float]]:
        """Seconds since each worker's loop last turned, by the worker's name. Empty before it serves."""
        serving = self._pool or self._worker
        return serving.heartbeats() if self.started and serving is not None else []

    def dump_stack(self, name: str) -> str:
        """Where a worker's thread is right now, as a traceback shows it."""
        threads = [] if self._pool is None else self._pool.threads
        ident = next((thread.ident for thread in threads if thread.name == name), self._thread_id)
        return stack_of_thread(ident)

    def _description(self) -> str:
        if self._pool is None:
            return ""
        build = "free-threaded " if self._pool.gil_watch.was_off else ""
        version = ".".join(map(str, sys.version_info[:3]))
        return f" with {self.config.workers} worker threads ({build}CPython {version})"


def _freeze_gc() -> None:
    """Take what was made until now out of the garbage collector's way: modules and the app live as long as the process.

    A full collection then looks at requests alone (3.14t, a small app: 1.2 ms instead of 7.7 ms).
    """
    gc.collect()
    gc.freeze()
