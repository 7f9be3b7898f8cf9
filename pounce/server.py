"""`Server`: what users hold. Signals, startup, the main loop, shutdown; one worker here, or a pool of worker threads.

With one worker everything runs on the caller's own loop and thread. With worker threads the caller's loop accepts,
ticks and obeys signals, and the workers serve (`pool/`). Answers to: uvicorn's `Server`, whose methods and attributes
users call, override and patch.
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
import traceback
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.ending import HANDLED_SIGNALS as HANDLED_SIGNALS, Ending
from pounce.errors import NEEDS_PROCESSES, StartupFailed
from pounce.listeners import announce, caretakers, create_listeners, exit_if_unusable, listening
from pounce.logs import style
from pounce.names import LOGGER_ERROR
from pounce.pool.gil_watch import GilWatch
from pounce.pool.pool import PoolState, WorkerPool
from pounce.pool.shared_state import SharedStateCheck
from pounce.worker.loops import asyncio_run
from pounce.worker.worker import TICK_INTERVAL, Worker

#: Seconds that an idle connection gets on SIGTERM to send the request that may be under way.
SIGTERM_LINGER = 0.3

#: Seconds for the callback of a listener's `wait_closed`, which since Python 3.12.1 waits for every connection.
_CLOSE_TIMEOUT = 1.0

#: Seconds for the app's shutdown where `serve()` was cancelled and there is no graceful timeout.
_TIMEOUT_CANCELLED = 10.0

#: What the loop that accepts for worker threads is called among them.
_ACCEPTOR = "pounce-acceptor"

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
        #: Set by a supervisor: called once, when this server has begun to serve and nobody can have been answered.
        self.on_started: Callable[[], None] | None = None
        self._end = Ending(config)
        self._captured_signals = self._end.signals
        self._worker: Worker | None = None
        self._caretakers: list[Any] = []
        self._pool: WorkerPool | None = None
        self._thread_id = threading.get_ident()
        self._heartbeat = time.monotonic()
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
        self._thread_id = threading.get_ident()
        if self.uses_threads:
            self._prepare_pool()
        if self._pool is None:
            self._prepare_worker()
        self._log_process("Started server process [%d]", self._description())
        try:
            await self.startup(sockets=sockets)
            if self._has_process:
                _spare_the_collector()
            if not self.should_exit:
                await self.main_loop()
            if self.started:
                await self.shutdown(sockets=sockets)
                self._log_process("Finished server process [%d]")
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
        self._close_listeners()
        if self.started:
            for sock in sockets or []:
                sock.close()
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
                await self._pool.stop(linger=0.0, limit=0.0, is_forced=lambda: self.force_exit, log=False)
        elif self._worker is not None:
            self._worker.retiring = True
            await self._worker.cut_short()
            if self.started and not self.force_exit:
                await self._worker.shut_lifespan_down(lambda: self.force_exit)
            await self._worker.abandon_lifespan()

    def _close_listeners(self) -> None:
        for caretaker in self._caretakers:
            caretaker.close()
        for server in self.servers:
            server.close()

    def _prepare_worker(self) -> None:
        if not self.config.loaded:
            self.config.load()
        assert isinstance(self.server_state, ServerState)
        self._worker = Worker(self.config, state=self.server_state)
        self.lifespan = self._worker.lifespan

    def _prepare_pool(self) -> None:
        """Import the app here, once, before any thread does, and see what that did to the GIL."""
        self._gil_watch = GilWatch()
        with self._gil_watch:
            self.config.load_app()
        if not self._allows_threads(self._gil_watch.complaint()):
            return
        if self.config.worker_class == "thread" and not self._gil_watch.was_off:
            logger.warning("Worker threads on an interpreter with a GIL take turns: they will not run in parallel.")
        self.config.preload()
        self._pool = WorkerPool(self.config)
        self.server_state = self._pool.state

    def _allows_threads(self, complaint: str | None) -> bool:
        """Whether threads go on, given what speaks against them. Exits where threads were asked for by name, or where
        a supervisor can start processes; else one worker takes over."""
        if complaint is None:
            return True
        if self.config.worker_class == "thread":
            logger.error("%s Threads were asked for with --worker-class thread.", complaint)
            raise StartupFailed
        if self.is_supervised:
            logger.warning("%s Running processes instead of threads.", complaint)
            self.wants_processes = True
            raise StartupFailed(NEEDS_PROCESSES)
        logger.warning("%s Running one worker instead of threads.", complaint)
        return False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the app's startup, then listen. Exits with code 3 where either fails."""
        if sockets is None:
            exit_if_unusable(self.config)
        if self._pool is not None:
            await self._start_pool(sockets)
        else:
            await self._start_worker(sockets)

    async def _start_worker(self, sockets: list[socket.socket] | None) -> None:
        assert self._worker is not None
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise StartupFailed
        factory = self._worker.create_protocol
        try:
            self.servers = await create_listeners(self.config, self._worker, sockets)
        except OSError as exc:
            logger.error(exc)
            await self.lifespan.shutdown()
            raise StartupFailed
        if sockets is None:
            announce(self.config, self.servers[0].sockets)
        self._caretakers = caretakers(self.config, factory, sockets, self.servers)
        self._worker.heartbeat = time.monotonic()
        self._report_start()

    def _report_start(self) -> None:
        self.started = True
        # In the turn of the loop that has begun to listen: no connection can have been accepted yet.
        if self.on_started is not None:
            self.on_started()

    async def _start_pool(self, sockets: list[socket.socket] | None) -> None:
        pool = self._pool
        assert pool is not None
        check = SharedStateCheck(self.config)
        # A signal meanwhile ends the start after the worker that is at it.
        is_up = await pool.start(
            lambda thread: not check.after_startup(thread) and not self.should_exit, lambda: self.force_exit
        )
        if not is_up:
            await pool.stop(linger=0.0, limit=None, is_forced=lambda: self.force_exit, log=False)
            if self.should_exit or self._allows_threads(check.complaint()):
                return
            self._pool = None
            self.server_state = ServerState()
            self._prepare_worker()
            await self._start_worker(sockets)
            return
        try:
            listeners = await listening(self.config, sockets)
        except OSError as exc:
            logger.error(exc)
            await pool.stop(linger=0.0, limit=None, is_forced=lambda: self.force_exit, log=False)
            raise StartupFailed
        pool.accept(listeners.sockets)
        listeners.on_close = pool.stop_accepting
        self.servers = [listeners]
        if sockets is None:
            announce(self.config, listeners.sockets)
        self._heartbeat = time.monotonic()
        self._report_start()

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
            for caretaker in self._caretakers:
                await caretaker.review()
        else:
            self._heartbeat = time.monotonic()
        if counter % 10 == 0:
            if self.config.callback_notify is not None:
                now = time.time()
                if now - self.last_notified > self.config.timeout_notify:
                    self.last_notified = now
                    await self.config.callback_notify()
            if self._pool is not None:
                self._watch_pool(self._pool)
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
        complaint = self._gil_watch.late_complaint()
        if complaint is not None:
            self._on_late_gil(complaint)
        failed = pool.failed_thread()
        if failed is not None and not self.should_exit:
            logger.error("Worker thread %s has ended by itself. Ending the server process.", failed.name)
            self.should_exit = True

    def _on_late_gil(self, complaint: str) -> None:
        """A lazy import brought the GIL back while requests are served: that is no reason to lose one."""
        if self.config.worker_class == "auto" and self.is_supervised:
            logger.warning("%s Running processes instead of threads.", complaint)
            self.wants_processes = True
        else:
            logger.warning("%s From now on the worker threads take turns.", complaint)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let requests end within `timeout_graceful_shutdown`, run the app's shutdown."""
        logger.info("Shutting down")
        self._ending = True
        self._close_listeners()
        linger = SIGTERM_LINGER if signal.SIGTERM in self._captured_signals else 0.0
        for sock in sockets or []:
            sock.close()
        if self._pool is not None:
            self._end.on_drained()  # each worker is looked after by itself
            limit = self.config.timeout_graceful_shutdown
            await self._pool.stop(linger, limit, lambda: self.force_exit, grace=self._end.grace)
            self._end.exceeded_limit = self._pool.exceeded_limit
            return
        worker = self._worker
        assert worker is not None
        self._end.on_drain()
        await worker.retire_connections(linger, lambda: self.force_exit)
        await asyncio.sleep(0.1)
        try:
            await asyncio.wait_for(self._wait_tasks_to_complete(), timeout=self.config.timeout_graceful_shutdown)
        except TimeoutError:
            logger.error("Cancel %s running task(s), timeout graceful shutdown exceeded", len(self.server_state.tasks))
            worker.cancel_tasks()
            self._end.exceeded_limit = True
        self._end.on_drained()
        if not self.force_exit:
            await worker.shut_lifespan_down(lambda: self.force_exit)
        if self.force_exit:
            await worker.cut_short()
            await worker.abandon_lifespan()

    async def _wait_tasks_to_complete(self) -> None:
        assert self._worker is not None
        await self._worker.wait_drained(lambda: self.force_exit)
        if self.force_exit:
            await self._worker.cut_short()
        for server in self.servers:
            # Bounded: a connection that was cut may take its time to be gone.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), _CLOSE_TIMEOUT)

    # Signals

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle SIGINT and SIGTERM meanwhile, where this is the main thread; raise what came again afterwards."""
        with self._end.capturing(self.handle_exit):
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to end: gracefully the first time, at once where SIGINT comes again."""
        if self._end.is_for_a_fork(sig):
            return
        is_echo = self._end.is_echo(sig)
        self._end.on_signal(sig)
        if self.should_exit and sig == signal.SIGINT and not is_echo:
            self.force_exit = True
            self._end.on_force()
        elif not self.should_exit:
            self.should_exit = True
            if self.started and not self._ending:
                self._end.on_drain()

    # Asked by a supervisor, from another thread

    def heartbeats(self) -> list[tuple[str, float]]:
        """Seconds since each worker's loop last turned, by the worker's name. Empty before it serves."""
        if not self.started:
            return []
        if self._pool is not None:
            ages = [(thread.name, thread.heartbeat_age()) for thread in self._pool.threads if thread.is_alive()]
            # Where this loop stands still nobody accepts. While it waits for the workers to end, it does not tick.
            return ages if self._ending else [*ages, (_ACCEPTOR, time.monotonic() - self._heartbeat)]
        if self._worker is not None:
            return [(self._worker.name, time.monotonic() - self._worker.heartbeat)]
        return []

    def dump_stack(self, name: str) -> str:
        """Where a worker's thread is right now, as a traceback shows it."""
        if self._pool is not None:
            for thread in self._pool.threads:
                if thread.name == name:
                    return thread.dump_stack()
        frame = sys._current_frames().get(self._thread_id)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""

    def _description(self) -> str:
        if self._pool is None:
            return ""
        build = "free-threaded " if self._gil_watch.was_off else ""
        version = ".".join(map(str, sys.version_info[:3]))
        return f" with {self.config.workers} worker threads ({build}CPython {version})"

    def _log_process(self, message: str, suffix: str = "") -> None:
        color_message = message.replace("%d", style("%d", fg="cyan")) + suffix
        logger.info(message + suffix, os.getpid(), extra={"color_message": color_message})


def _spare_the_collector() -> None:
    """Take what was made until now out of the garbage collector's way: modules and the app live as long as the process.

    A full collection then looks at requests alone (3.14t, a small app: 1.2 ms instead of 7.7 ms).
    """
    gc.collect()
    gc.freeze()
