"""One server process, seen from both of its ends: the handle in the parent, and the answers to its health checks.

The parent side runs on the supervisor's thread and never blocks longer than it is asked to. In the child, `target` is
the main thread and `always_pong` a daemon thread: it answers while the app is imported and while every loop is stuck,
which is why an answer carries what the loops themselves say of their health. Knows nothing of: when a process is
replaced (`processes`).
Compatible with uvicorn's `supervisors.multiprocess.Process`.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from socket import socket
from types import SimpleNamespace
from typing import Any, NamedTuple

from pounce.contracts import ConfigView, EffectiveWorkerClass
from pounce.errors import StartupFailed
from pounce.names import LOGGER_ERROR
from pounce.supervisors.child import get_subprocess
from pounce.supervisors.deferred_server import make_server
from pounce.supervisors.succession import TIMEOUT_STARTUP_SILENCE, Reason

logger = logging.getLogger(LOGGER_ERROR)

#: Seconds between two questions after the health of a process that serves, at most.
PING_INTERVAL = 0.5

#: Characters of one stack in an answer: far below what a pipe buffers, so that reading an answer never waits.
STACK_SIZE = 6_000


class Pulse(enum.Enum):
    """How the loops of a process turn."""

    REGULAR = enum.auto()
    #: One has missed its time, which may be the whole machine's pause.
    OVERDUE = enum.auto()
    #: It has still not turned by the next look.
    STUCK = enum.auto()


class StuckWorker(NamedTuple):
    """A worker whose event loop has not turned for longer than `timeout_worker_healthcheck`."""

    name: str
    age: float
    """Seconds since its loop last turned."""
    stack: str


class Health(NamedTuple):
    """What a server process says of itself. Crosses the pipe."""

    started: bool
    stuck: tuple[StuckWorker, ...] = ()
    recycle: bool = False
    """It has served its share of requests and wants a successor."""
    needs_processes: bool = False
    """Its app turned out not to run in threads (`--worker-class auto`)."""


class Process:
    """A server process and the pipe to it.

    `target` is for callers of uvicorn's older signature: `server.run` of a server, or any function of `sockets`.
    """

    def __init__(
        self,
        config: ConfigView,
        sockets: list[socket],
        *,
        target: Callable[..., None] | None = None,
        worker_class: EffectiveWorkerClass | None = None,
        end_reader: Any = None,
    ) -> None:
        """`end_reader`: the end of a pipe in which something lies once no process comes after this one."""
        self.config = config
        self.worker_class = worker_class or config.effective_worker_class
        owner = getattr(target, "__self__", None)
        if target is not None and not hasattr(owner, "started"):
            owner = SimpleNamespace(run=target, started=True)  # whether that is ready, nobody can tell
        self._server: Any = owner
        self.parent_conn, self.child_conn = Pipe()
        # A pipe of its own for the one thing that must not be late: answers to health checks come when asked for.
        self._start_reader, self._start_writer = Pipe(duplex=False)
        self._end_reader = end_reader
        self.process = get_subprocess(config, self.target, sockets)

        self.health: Health | None = None
        self.was_ready = False
        self.started_at = time.monotonic()
        self.workers = config.workers
        #: Deaths soon after the start, in a row, of the processes that had this one's place before it.
        self.failures = 0
        #: When its place is filled again, once it is dead.
        self.respawn_at: float | None = None
        #: Failed attempts to replace it while it runs, and when the next may begin.
        self.retries = 0
        self.retry_at = 0.0
        #: Added at run time: it may fail to start without that ending the parent.
        self.is_extra = False
        self.pulse = Pulse.REGULAR
        self._asked_at: float | None = None
        self._ping_due = 0.0

    def __getstate__(self) -> dict[str, Any]:
        # The child gets its own end of the pipe only: holding the parent's as well would hide the parent's death.
        kept = ("config", "worker_class", "_server", "child_conn", "_start_writer", "_end_reader")
        return {name: value for name, value in vars(self).items() if name in kept}

    # In the parent

    def start(self) -> None:
        """Start the process. Raises OSError where the system has none left to give."""
        self.started_at = time.monotonic()
        self.workers = self.config.workers
        self.process.start()
        self.child_conn.close()
        self._start_writer.close()

    def ping(self, timeout: float = 5) -> bool:
        """Whether it answers within `timeout` seconds."""
        return self._healthcheck(timeout) is not None

    def is_ready(self, timeout: float = 5) -> bool:
        """Whether it answers within `timeout` seconds, and its server has finished startup."""
        health = self._healthcheck(timeout)
        return health is not None and health.started

    def is_alive(self, timeout: float = 5) -> bool:
        """Whether it runs and answers within `timeout` seconds."""
        return self.process.is_alive() and self.ping(timeout)

    def wait_until_ready(self, timeout: float, should_exit: threading.Event | None = None) -> bool:
        """Wait up to `timeout` seconds until it serves; False when it ends, never answers so, or `should_exit` is set.

        Blocks: for callers outside the supervisor, whose own waits all obey signals.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if (should_exit is not None and should_exit.is_set()) or not self.process.is_alive():
                return False
            if self.is_ready(timeout=1):
                return True
            time.sleep(0.1)
        return False

    def observe(self, now: float, interval: float = PING_INTERVAL) -> Health | None:
        """Read the answer to the last question if it is there, ask the next one when it is due. Never waits."""
        if self._asked_at is None and now < self._ping_due:
            return None
        health = self._healthcheck(0)
        if health is not None:
            self._ping_due = now + interval
        return health

    def has_served(self) -> bool:
        """Whether its server has ever finished startup, as its own word says: also of a process that has ended."""
        if not self.was_ready:
            with contextlib.suppress(OSError, EOFError):  # it has ended without that word
                self.was_ready = self._start_reader.poll(0) and bool(self._start_reader.recv_bytes())
        return self.was_ready

    def check(self, limit: float, now: float) -> list[Reason] | None:
        """Why it should be replaced while it goes on; None where it had to be killed. Never waits.

        `limit` is `timeout_worker_healthcheck` (0: none).
        """
        health = self.observe(now, min(PING_INTERVAL, limit / 4 or PING_INTERVAL) if self.has_served() else 0.0)
        if health is None:
            allowed = limit if self.has_served() else TIMEOUT_STARTUP_SILENCE
            if not allowed or self.silent_for(now) <= allowed:
                return []
            logger.error(f"Child process [{self.pid}] has not answered for {allowed:.0f} seconds, killing it.")
            self.kill()
            return None

        wishes = [Reason.NEEDS_PROCESSES] * health.needs_processes + [Reason.RECYCLE] * health.recycle
        if not health.stuck:
            self.pulse = Pulse.REGULAR
            return wishes
        if self.pulse is Pulse.REGULAR:
            self.pulse = Pulse.OVERDUE
            return wishes
        if self.pulse is Pulse.OVERDUE:
            self.pulse = Pulse.STUCK
            for worker in health.stuck:
                logger.error(
                    f"Worker {worker.name} of child process [{self.pid}] is stuck: its event loop has not turned "
                    f"for {worker.age:.1f} seconds. Replacing it. Its stack:\n{worker.stack.rstrip()}"
                )
        if self.worker_class == "process":
            self.kill()
            return None
        return [*wishes, Reason.STUCK]

    def silent_for(self, now: float) -> float:
        """Seconds for which a question has been open; 0.0 where none is."""
        return 0.0 if self._asked_at is None else now - self._asked_at

    def _healthcheck(self, timeout: float) -> Health | None:
        """Ask, unless an earlier question is still open, and wait up to `timeout` seconds for the answer."""
        try:
            if self._asked_at is None:
                self._asked_at = time.monotonic()
                self.parent_conn.send(b"ping")
            if not self.parent_conn.poll(timeout):
                return None
            health: Health = self.parent_conn.recv()
        except (OSError, EOFError, pickle.UnpicklingError):
            return None
        self._asked_at = None
        self.health = health
        self.was_ready = self.was_ready or health.started
        return health

    def terminate(self) -> None:
        """Ask it to finish its requests and end (SIGTERM). Does not wait."""
        # Windows has no SIGTERM for another process; the child turns CTRL+BREAK into one.
        if self._send(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)):
            logger.info(f"Terminated child process [{self.pid}]")
            self._close()

    def interrupt(self) -> None:
        """Tell a process that is already ending to do so at once (a second Ctrl+C, as far as it can tell)."""
        if sys.platform != "win32":
            self._send(signal.SIGINT)

    def _send(self, sig: int) -> bool:
        """Whether it runs, and so has this signal."""
        if self.pid is None or self.exitcode is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sig)
        return True

    def kill(self) -> None:
        """End it without its consent (SIGKILL, TerminateProcess). Does not wait."""
        if self.process.pid is not None:
            self.process.kill()
        self._close()

    def join(self) -> None:
        """Wait for its end, however long that takes. The supervisor itself never calls this while it runs."""
        logger.info(f"Waiting for child process [{self.process.pid}]")
        self.process.join()

    def _close(self) -> None:
        self.has_served()  # while it can be asked for
        for end in (self.parent_conn, self.child_conn, self._start_reader, self._start_writer):
            end.close()

    @property
    def pid(self) -> int | None:
        """Process id, or None before the start."""
        return self.process.pid

    @property
    def exitcode(self) -> int | None:
        """Exit code, the negative number of the signal that ended it, or None while it runs."""
        return self.process.exitcode

    @property
    def sentinel(self) -> int:
        """What `multiprocessing.connection.wait` reports ready when the process ends."""
        return self.process.sentinel

    # In the child

    @property
    def server(self) -> Any:
        """The server this process runs; made when first asked for."""
        if self._server is None:
            self._server = make_server(self.config)
        return self._server

    def target(self, sockets: list[socket] | None = None) -> None:
        """Serve until told to stop, answering health checks meanwhile. The child's main thread."""
        if self.worker_class == "process":
            self.config.worker_class = "process"  # One loop here, whatever `workers` says: the others are siblings.
        if sys.platform == "win32":
            signal.signal(signal.SIGBREAK, lambda _sig, _frame: signal.raise_signal(signal.SIGTERM))
        else:
            # A SIGHUP to the whole process group is the parent's business. No SIG_IGN: that would be inherited.
            signal.signal(signal.SIGHUP, lambda _sig, _frame: None)
        server = self.server  # Made here, before the other thread reads it.
        server.is_supervised = True
        server.on_started = self._report_start
        server.has_successors = self._has_successors
        threading.Thread(target=self.always_pong, name="pounce-pong", daemon=True).start()
        server.run(sockets)
        if not getattr(server, "started", True):
            raise StartupFailed

    def _report_start(self) -> None:
        """Told by the server, before it can have answered anybody: from now on its death is not a failed start."""
        with contextlib.suppress(OSError):  # the parent is gone (see `child`)
            self._start_writer.send_bytes(b"started")

    def _has_successors(self) -> bool:
        """Whether others serve on when this process ends. Not where the parent has been killed."""
        return self._end_reader is not None and not self._end_reader.poll(0)

    def always_pong(self) -> None:
        """Answer health checks until the parent closes the pipe."""
        # This process has been told to end, or its parent is gone (see `child`); TypeError: just now.
        with contextlib.suppress(OSError, EOFError, TypeError):
            while True:
                self.pong()

    def pong(self) -> None:
        """Wait for one health check and answer it."""
        self.child_conn.recv()
        self.child_conn.send(self._current_health())

    def heartbeats(self) -> list[tuple[str, float]]:
        """Seconds since each worker's loop last turned; see `Server`. From any thread."""
        heartbeats = getattr(self._server, "heartbeats", None)
        return [] if heartbeats is None else heartbeats()

    def _current_health(self) -> Health:
        # Test doubles and servers of others have only some of these attributes; what they lack counts as healthy.
        server = self.server
        limit = self.config.timeout_worker_healthcheck
        stuck = [beat for beat in self.heartbeats() if beat[1] > limit] if limit else []
        return Health(
            started=bool(server.started),
            stuck=tuple(StuckWorker(name, age, server.dump_stack(name)[-STACK_SIZE:]) for name, age in stuck[:8]),
            recycle=bool(getattr(server, "wants_recycling", False)),
            needs_processes=bool(getattr(server, "wants_processes", False)),
        )
