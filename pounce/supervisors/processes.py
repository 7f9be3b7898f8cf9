"""`Multiprocess`: the parent of the server processes. Starts, watches, replaces and ends them; owns the signals.

Runs on one thread, the main one unless a test says otherwise. There is no unbounded wait in it: one loop (`run`)
looks at signals, health, the running succession and the retired, then sleeps in `_wait` until something happens, so
that SIGTERM and SIGINT are obeyed at any moment. With the process class there is one server process per worker, with
the thread class one in all. It never imports the app and knows nothing of: loops, connections, threads of a child.
Answers to: uvicorn's `supervisors.multiprocess` (class, methods, messages).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from socket import socket

from pounce.contracts import ConfigView, EffectiveWorkerClass
from pounce.errors import NEEDS_PROCESSES, STARTUP_FAILURE
from pounce.logs import style
from pounce.names import LOGGER_ERROR
from pounce.supervisors.checkup import look_at
from pounce.supervisors.retirement import Retirement, ended_as_told
from pounce.supervisors.server_process import Process
from pounce.supervisors.signals import SIGNALS, SignalInbox
from pounce.supervisors.succession import (
    QUICK_DEATH,
    RESPAWN_INTERVAL,
    SIGNAL_ECHO,
    TIMEOUT_FORCED,
    TIMEOUT_STARTUP,
    TIMEOUT_STARTUP_SILENCE,
    Reason,
    Succession,
    backoff,
)

#: The longest sleep of the loop, in seconds, and the one while a process is starting.
TICK = 0.25
TICK_STARTING = 0.1
#: How long one look at a starting process may wait for its answer.
READY_POLL = 0.05

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
        # Asked once: something that the parent imports later may switch the GIL on here, which says nothing of a child.
        self.worker_class: EffectiveWorkerClass = config.effective_worker_class

        self.processes_num = config.workers if self.worker_class == "process" else 1
        self.processes: list[Process] = []
        self.should_exit = threading.Event()
        self.startup_failed = False

        self._succession: Succession | None = None
        self._waiting: deque[tuple[Process, Reason]] = deque()
        self._retirement = Retirement(config)
        self._ever_ready = False
        self._stops_now = False
        self._ended_as_told = True

        self._signals = SignalInbox()
        self.signal_queue = self._signals.queue

    @property
    def exit_code(self) -> int:
        """What the command should exit with once `run` has returned: 1 where a process did not end as it was told."""
        if self.startup_failed:
            return STARTUP_FAILURE
        return 0 if self._ended_as_told else 1

    def run(self) -> None:
        """Start the processes, keep them running until told to stop, and return when all have ended."""
        pid = os.getpid()
        logger.info(
            f"Started parent process [{pid}]",
            extra={"color_message": f"Started parent process [{style(str(pid), fg='cyan', bold=True)}]"},
        )
        self._signals.open()
        try:
            self.init_processes()
            while not self.should_exit.is_set():
                self.handle_signals()
                self.keep_subprocess_alive()
                self._advance_succession()
                self._retirement.reap()
                if not self.should_exit.is_set():
                    self._sleep(self._until_something_is_due())
            self._end()
        finally:
            for process in self._running():
                process.kill()
            self._signals.close()
        logger.info(
            f"Stopping parent process [{pid}]",
            extra={"color_message": f"Stopping parent process [{style(str(pid), fg='cyan', bold=True)}]"},
        )

    def init_processes(self) -> None:
        """Start the first processes."""
        for _ in range(self.processes_num):
            self.processes.append(self._spawn())

    def terminate_all(self) -> None:
        """Ask every process to end."""
        for process in self._everyone():
            if process not in self._retirement.processes:
                process.terminate()

    def join_all(self) -> None:
        """Wait for the end of every process, however long that takes. For callers outside `run`."""
        for process in self._everyone():
            process.join()

    def restart_all(self) -> None:
        """Begin to replace every process by a new one. The old ones serve until their successors do.

        Returns at once; `run` carries on. A second call starts anew, since the code may have changed in between.
        """
        self._replace_all(Reason.RESTART)

    # The processes that serve

    def keep_subprocess_alive(self) -> None:
        """Look after every process once: replace the dead, kill the hung, note who wants a successor."""
        now = time.monotonic()
        for process in tuple(self.processes):
            if self.should_exit.is_set():
                return
            if process.respawn_at is None:
                if process.exitcode is None and not self._is_beyond_help(process, now):
                    continue
                self._on_death(process, now)
            if process.respawn_at is not None and now >= process.respawn_at:
                self._respawn(process, now)

    def _is_beyond_help(self, process: Process, now: float) -> bool:
        """Check the health of a running process. True when it had to be killed."""
        finding = look_at(process, self.config.timeout_worker_healthcheck, now)
        self._ever_ready = process.has_served() or self._ever_ready
        for wish in finding.wishes:
            if wish is not Reason.NEEDS_PROCESSES or self._may_fall_back():
                self._enqueue(process, wish, now)
        return finding.was_killed

    def _on_death(self, process: Process, now: float) -> None:
        """A process has ended that nobody told to: decide when and by what its place is filled, or stop everything."""
        code = process.exitcode
        has_served = process.has_served()
        self._ever_ready = has_served or self._ever_ready
        gives_way = code == NEEDS_PROCESSES and not has_served  # An app may end its process with any code, later.
        if gives_way and self._may_fall_back():
            self._fall_back(process)
        if gives_way and process.worker_class != self.worker_class:
            # Where it had said so while it lived, its heirs have been started.
            if not self._heirs_take_over(process):
                process.respawn_at = now
            return
        if not has_served and code is not None:
            if process.is_extra and code > 0:
                logger.error(f"New child process [{process.pid}] failed to start, carrying on without it.")
                self.processes.remove(process)
                self.processes_num -= 1
                return
            # A start that failed once fails again: what the app, its TLS files or its sockets lack, no restart adds.
            # Other errors than the one meant for this do so too, as long as no process has ever come up.
            if code == STARTUP_FAILURE or (code > 0 and not self._ever_ready):
                logger.error(f"Child process [{process.pid}] failed to start, stopping the parent process.")
                self.startup_failed = True
                self.should_exit.set()
                return

        logger.info(f"Child process [{process.pid}] died")
        if code is None:
            self._retirement.expect_killed(process)
        if not self._heirs_take_over(process):
            self._back_off(process, now)

    def _back_off(self, process: Process, now: float) -> None:
        """Set the time at which a dead process's place is filled again."""
        if process.has_served():
            process.failures = 0
            process.respawn_at = now if process.exitcode == 0 else max(now, process.started_at + RESPAWN_INTERVAL)
            return
        quick = now - process.started_at < QUICK_DEATH
        if not quick:
            process.failures = 0
        delay = backoff(process.failures)
        process.failures += quick
        process.respawn_at = now + delay
        if delay:
            logger.warning(
                f"Child process [{process.pid}] died soon after its start, again; the next one starts in {delay:g} s."
            )

    def _respawn(self, process: Process, now: float) -> None:
        try:
            heirs = self._spawn_heirs(process)
        except OSError as exc:
            process.failures += 1
            process.respawn_at = now + backoff(process.failures)
            logger.error(f"Could not start a child process: {exc}")
            return
        for heir in heirs:
            heir.failures = process.failures
        self._take_place(process, heirs)

    def _spawn(self) -> Process:
        process = Process(self.config, self.sockets, target=self.target, worker_class=self.worker_class)
        process.start()
        return process

    def _spawn_heirs(self, old: Process) -> list[Process]:
        """Start what takes a process's place: one of its kind, or several where threads turned into processes."""
        heirs: list[Process] = []
        try:
            for _ in range(1 if old.worker_class == self.worker_class else self.processes_num):
                heirs.append(self._spawn())
        except OSError:
            for heir in heirs:
                self._retirement.send(heir)
            raise
        return heirs

    def _take_place(self, old: Process, new: list[Process]) -> None:
        index = self.processes.index(old)
        self.processes[index : index + 1] = new

    def _heirs_take_over(self, process: Process) -> bool:
        """Whether a dead process was about to be replaced: then those that were started for it have its place now."""
        if self._succession is None or self._succession.old is not process:
            return False
        self._take_place(process, self._succession.new)
        self._succession = None
        return True

    def _may_fall_back(self) -> bool:
        return self.worker_class == "thread" and self.config.worker_class == "auto"

    def _fall_back(self, process: Process) -> None:
        """From threads to processes, for good. The child has said why."""
        self.worker_class = self.config.worker_class = "process"
        self.processes_num = self.config.workers
        logger.warning(
            f"Child process [{process.pid}] cannot run this app in threads, running {self.processes_num} processes."
        )

    # Successions: new first, then the old

    def _replace_all(self, reason: Reason) -> None:
        if self.should_exit.is_set():
            return
        self._discard_succession()
        self._waiting = deque((process, reason) for process in self.processes)
        now = time.monotonic()
        for process in self.processes:
            if process.respawn_at is not None:
                process.failures, process.respawn_at = 0, now
        self._advance_succession()

    def _enqueue(self, process: Process, reason: Reason, now: float) -> None:
        known = any(waiting is process for waiting, _ in self._waiting)
        if self._succession is not None and self._succession.old is process:
            known = True
        if not known and now >= process.retry_at:
            if reason is Reason.RECYCLE:
                logger.info(f"Child process [{process.pid}] has served its share of requests, replacing it.")
            self._waiting.append((process, reason))

    def _advance_succession(self) -> None:
        """Carry the replacement of processes as far as it goes without waiting."""
        while not self.should_exit.is_set():
            if self._succession is None and not self._begin_succession():
                return
            succession = self._succession
            assert succession is not None
            if succession.old not in self.processes:  # SIGTTOU took it.
                self._discard_succession()
                continue
            now = time.monotonic()
            dead = next((process for process in succession.new if process.exitcode is not None), None)
            if dead is not None:
                has_served = dead.has_served()
                if dead.exitcode == NEEDS_PROCESSES and not has_served and self._may_fall_back():
                    self._fall_back(dead)
                    self._discard_succession()
                    self._waiting.appendleft((succession.old, succession.reason))
                    continue
                when = "as soon as it served" if has_served else "before it was ready"
                why = f"New child process [{dead.pid}] ended with exit code {dead.exitcode} {when}"
                self._give_up(succession, why, RESPAWN_INTERVAL if has_served else None)
            elif all(process.is_ready(timeout=READY_POLL) for process in succession.new):
                self._complete(succession)
            elif now >= succession.deadline or any(p.silent_for(now) > TIMEOUT_STARTUP_SILENCE for p in succession.new):
                self._give_up(succession, f"New child process [{succession.new[0].pid}] was not ready in time")
            else:
                return

    def _begin_succession(self) -> bool:
        while self._waiting:
            old, reason = self._waiting.popleft()
            if old not in self.processes or old.respawn_at is not None:
                continue  # Gone meanwhile, by a crash or SIGTTOU: its place has been filled or is about to be.
            if reason is Reason.NEEDS_PROCESSES and self._may_fall_back():
                self._fall_back(old)
            succession = Succession(old, [], reason, time.monotonic() + TIMEOUT_STARTUP)
            try:
                succession.new = self._spawn_heirs(old)
            except OSError as exc:
                self._give_up(succession, f"Could not start a child process ({exc})")
                continue
            self._succession = succession
            return True
        return False

    def _complete(self, succession: Succession) -> None:
        self._succession = None
        self._ever_ready = True
        self._take_place(succession.old, succession.new)
        self._retirement.send(succession.old)

    def _give_up(self, succession: Succession, why: str, delay: float | None = None) -> None:
        """Keep the old process. `delay`: seconds until the next attempt, if there is one and it is known."""
        self._discard_succession()
        old = succession.old
        logger.error(f"{why}; keeping worker [{old.pid}] and aborting the restart.")
        if succession.reason.tries_again:
            old.retries += 1
            old.retry_at = time.monotonic() + (backoff(old.retries + 1) if delay is None else delay)
        else:
            self._waiting = deque(entry for entry in self._waiting if entry[1] is not succession.reason)
        if self.worker_class == "thread":
            self.config.workers = old.workers  # What runs, after a SIGTTIN or SIGTTOU that failed.

    def _discard_succession(self) -> None:
        if self._succession is not None:
            # Not killed outright: it may have begun to serve since it was last asked.
            for process in self._succession.new:
                self._retirement.send(process)
            self._succession = None

    # The end

    def _end(self) -> None:
        """Tell all processes to end and wait for that: within their limits, or until told to stop once more."""
        serving = [process for process in self.processes if process.exitcode is None]
        self.terminate_all()
        for process in list(self._running()):
            self._retirement.expect(process)
        told_at = time.monotonic()
        forced = False
        while running := list(self._running()):
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
                self._retirement.hurry(now if forced else now + TIMEOUT_FORCED)
                told_at, forced = now, True
            self._retirement.reap()
            self._sleep(TICK)
        # One that was being replaced had its trouble before the stop.
        self._ended_as_told = all(ended_as_told(process.exitcode) for process in serving)

    # Waiting

    def _everyone(self) -> list[Process]:
        new = [] if self._succession is None else self._succession.new
        return list(dict.fromkeys([*self.processes, *new, *self._retirement.processes]))

    def _running(self) -> Iterator[Process]:
        return (process for process in self._everyone() if process.pid is not None and process.exitcode is None)

    def _until_something_is_due(self) -> float:
        now = time.monotonic()
        starting = self._succession is not None or any(not process.was_ready for process in self.processes)
        due = [process.respawn_at - now for process in self.processes if process.respawn_at is not None]
        return max(0.0, min([TICK_STARTING if starting else TICK, *due]))

    def _sleep(self, timeout: float) -> None:
        """Until a signal arrives or a process ends, `timeout` seconds at most."""
        running = {process.sentinel: process for process in self._running()}
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

    def handle_int(self) -> None:
        logger.info("Received SIGINT, exiting.")
        self.should_exit.set()

    def handle_term(self) -> None:
        logger.info("Received SIGTERM, exiting.")
        self.should_exit.set()

    def handle_break(self) -> None:
        logger.info("Received SIGBREAK, exiting.")
        self.should_exit.set()

    def handle_quit(self) -> None:
        logger.info("Received SIGQUIT, exiting without waiting for requests.")
        self._stops_now = True
        self.should_exit.set()

    def handle_hup(self) -> None:
        logger.info("Received SIGHUP, restarting processes.")
        self.restart_all()

    def handle_ttin(self) -> None:
        if self.worker_class == "thread":
            self.config.workers += 1
            logger.info(f"Received SIGTTIN, increasing the number of worker threads to {self.config.workers}.")
            self._replace_all(Reason.RESIZE)
            return
        logger.info("Received SIGTTIN, increasing the number of processes.")
        try:
            process = self._spawn()
        except OSError as exc:
            logger.error(f"Could not start a child process: {exc}")
            return
        process.is_extra = True
        self.processes_num += 1
        self.processes.append(process)

    def handle_ttou(self) -> None:
        if self.worker_class == "thread":
            if self.config.workers <= 1:
                logger.info("Received SIGTTOU, but there is only one worker thread.")
                return
            self.config.workers -= 1
            logger.info(f"Received SIGTTOU, decreasing the number of worker threads to {self.config.workers}.")
            self._replace_all(Reason.RESIZE)
            return
        logger.info("Received SIGTTOU, decreasing number of processes.")
        if self.processes_num <= 1:
            logger.info("Already reached one process, cannot decrease the number of processes anymore.")
            return
        self.processes_num -= 1
        self._retirement.send(self.processes.pop())
