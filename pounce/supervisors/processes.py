"""`Multiprocess`: the parent of the server processes. Owns the signals, looks after a `Generation` and ends it.

Runs on one thread, the main one unless a test says otherwise. There is no unbounded wait in it: one loop (`run`)
looks at signals, health, the running succession and the retired, then sleeps in `_sleep` until something happens, so
that SIGTERM and SIGINT are obeyed at any moment. It never imports the app and knows nothing of: loops, connections,
threads of a child. Compatible with uvicorn's `supervisors.multiprocess` (class, methods, messages).
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from socket import socket

from pounce.contracts import ConfigView
from pounce.errors import STARTUP_FAILURE, StartupFailed
from pounce.logs import log_styled
from pounce.names import LOGGER_ERROR
from pounce.supervisors.generation import Generation
from pounce.supervisors.retirement import ended_as_told
from pounce.supervisors.server_process import Process
from pounce.supervisors.signals import SIGNALS, SignalInbox
from pounce.supervisors.succession import SIGNAL_ECHO, TIMEOUT_FORCED

#: The longest sleep of the loop, in seconds, and the one while a process is starting.
TICK = 0.25
TICK_STARTING = 0.1

logger = logging.getLogger(LOGGER_ERROR)


class Multiprocess:
    """Runs the server in child processes and keeps them running.

    After `run()`: `startup_failed` says that the app could not be started, and `exit_code` what the command should
    return. `target` (uvicorn's older signature) runs in the children in the place of a server's `run`.
    """

    def __init__(
        self,
        config: ConfigView,
        sockets: list[socket] | None = None,
        *,
        target: Callable[..., None] | None = None,
    ) -> None:
        self.config = config
        self.sockets = sockets or []
        self.target = target
        self.generation = Generation(config, self.sockets, target)
        self.processes = self.generation.processes
        self.should_exit = threading.Event()
        self.startup_failed = False
        self._stops_now = False
        self._ended_as_told = True
        self._signals = SignalInbox()
        self.signal_queue = self._signals.queue

    @property
    def processes_num(self) -> int:
        """How many there should be."""
        return self.generation.size

    @property
    def exit_code(self) -> int:
        """What the command should exit with once `run` has returned: 1 where a process did not end as it was told."""
        if self.startup_failed:
            return STARTUP_FAILURE
        return 0 if self._ended_as_told else 1

    def run(self) -> None:
        """Start the processes, keep them running until told to stop, and return when all have ended."""
        pid = os.getpid()
        log_styled("Started parent process [%s]", pid, fg="cyan", bold=True)
        try:
            self.init_processes()
            while not self.should_exit.is_set():
                looked_at = self.generation.running()
                self.handle_signals()
                self.keep_subprocess_alive()
                if not self.should_exit.is_set():
                    self._sleep(self._until_something_is_due(looked_at))
            self._end()
        finally:
            for process in self.generation.running():
                process.kill()
            self._signals.close()
            self.generation.close()
        log_styled("Stopping parent process [%s]", pid, fg="cyan", bold=True)

    def init_processes(self) -> None:
        """Start the first processes."""
        self.generation.start()

    def terminate_all(self) -> None:
        """Ask every process to end."""
        for process in self.generation.everyone():
            if process not in self.generation.retirement.leaving:
                process.terminate()

    def join_all(self) -> None:
        """Wait for the end of every process, however long that takes. For callers outside `run`."""
        for process in self.generation.everyone():
            process.join()

    def restart_all(self) -> None:
        """Begin to replace every process by a new one. The old ones serve until their successors do.

        Returns at once; `run` carries on. A second call starts anew, since the code may have changed in between.
        """
        if not self.should_exit.is_set():
            self.generation.replace_all()

    def keep_subprocess_alive(self) -> None:
        """Look after every process once, and carry on what has begun: successions, and the ends of the retired."""
        try:
            if not self.should_exit.is_set():
                self.generation.look_after()
                self.generation.advance()
        except StartupFailed:
            self.startup_failed = True
            self.should_exit.set()
        self.generation.retirement.reap()

    def _end(self) -> None:
        """Tell all processes to end and wait for that: within their limits, or until told to stop once more."""
        serving = [process for process in self.processes if process.exitcode is None]
        self.generation.announce_end()
        self.terminate_all()
        retirement = self.generation.retirement
        for process in self.generation.running():
            retirement.expect(process)
        told_at = time.monotonic()
        forced = False
        while running := self.generation.running():
            now = time.monotonic()
            names = {SIGNALS[sig] for sig in self.signal_queue}
            self.signal_queue.clear()
            if "QUIT" in names:
                self.handle_quit()
            is_told_again = not names.isdisjoint(("INT", "TERM", "BREAK", "QUIT"))
            if (is_told_again or (self._stops_now and not forced)) and now - told_at >= SIGNAL_ECHO:
                if not forced:
                    if not self._stops_now:
                        logger.warning("Told to stop again, not waiting for requests any longer.")
                    for process in running:
                        process.interrupt()
                retirement.hurry(now if forced else now + TIMEOUT_FORCED)
                told_at, forced = now, True
            retirement.reap()
            self._sleep(max(0.0, min(TICK, retirement.next_kill_at() - time.monotonic())))
        # One that was being replaced had its trouble before the stop.
        self._ended_as_told = all(ended_as_told(process.exitcode) for process in serving)

    def _until_something_is_due(self, looked_at: Iterable[Process]) -> float:
        if any(process.exitcode is not None for process in looked_at):
            return 0.0  # perhaps just behind the look at it, and `_sleep` waits only for those that run
        now = time.monotonic()
        due = [process.respawn_at - now for process in self.processes if process.respawn_at is not None]
        return max(0.0, min([TICK_STARTING if self.generation.is_starting() else TICK, *due]))

    def _sleep(self, timeout: float) -> None:
        """Until a signal arrives or a process ends, `timeout` seconds at most."""
        running = {process.sentinel: process for process in self.generation.running()}
        ready = self._signals.sleep(running, timeout)
        if any(running[sentinel].exitcode is None for sentinel in ready):
            time.sleep(0.02)  # Not reaped yet, or alive with all its files closed: no busy loop for either.

    # Signals

    def handle_signals(self) -> None:
        """Obey the signals that have arrived since the last call."""
        for sig in tuple(self.signal_queue):
            self.signal_queue.remove(sig)
            handler = getattr(self, f"handle_{SIGNALS[sig].lower()}", None)
            if handler is None:
                logger.debug(f"Received signal {SIGNALS[sig]}, but no handler is defined for it.")
            else:
                handler()

    def _exit_on(self, name: str) -> None:
        logger.info(f"Received {name}, exiting.")
        self.should_exit.set()

    handle_int = functools.partialmethod(_exit_on, "SIGINT")
    handle_term = functools.partialmethod(_exit_on, "SIGTERM")
    handle_break = functools.partialmethod(_exit_on, "SIGBREAK")

    def handle_quit(self) -> None:
        logger.info("Received SIGQUIT, exiting without waiting for requests.")
        self._stops_now = True
        self.should_exit.set()

    def handle_hup(self) -> None:
        logger.info("Received SIGHUP, restarting processes.")
        self.restart_all()

    def handle_ttin(self) -> None:
        if not self.should_exit.is_set():
            self.generation.grow()

    def handle_ttou(self) -> None:
        if not self.should_exit.is_set():
            self.generation.shrink()
