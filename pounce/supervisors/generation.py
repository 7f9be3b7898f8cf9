"""`Generation`: the server processes that serve. Keeps their places filled, and brings the new up before the old ends.

Belongs to the supervisor's thread; never waits. With the process class there is one server process per worker, with the
thread class one in all. Knows nothing of: when all of it has to end, and what else a signal may mean (`processes`).
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from socket import socket

from pounce.contracts import ConfigView, EffectiveWorkerClass
from pounce.errors import NEEDS_PROCESSES, STARTUP_FAILURE, StartupFailed
from pounce.names import LOGGER_ERROR
from pounce.supervisors import succession as rules
from pounce.supervisors.retirement import Retirement
from pounce.supervisors.server_process import Process
from pounce.supervisors.succession import Reason, backoff

#: How long one look at a starting process may wait for its answer.
READY_POLL = 0.05

logger = logging.getLogger(LOGGER_ERROR)


@dataclass
class Succession:
    """A running attempt to bring `new` up and then retire `old`. One at a time."""

    old: Process
    new: list[Process]
    reason: Reason
    deadline: float


class Generation:
    """The places of `size` server processes, who is in them, and who is about to be."""

    def __init__(self, config: ConfigView, sockets: list[socket], target: Callable[..., None] | None) -> None:
        self.config = config
        # Asked once: something that the parent imports later may switch the GIL on here, which says nothing of a child.
        self.worker_class: EffectiveWorkerClass = config.effective_worker_class
        self.size = config.workers if self.worker_class == "process" else 1
        self.processes: list[Process] = []
        self.retirement = Retirement(config)
        #: The attempt to replace a process that is under way.
        self.succession: Succession | None = None
        self._sockets = sockets
        self._target = target
        self._waiting: deque[tuple[Process, Reason]] = deque()
        self._ever_ready = False
        # Each process has the reader, which is never read from: what lies there tells all of them.
        self._end_reader, self._end_writer = Pipe(duplex=False)

    def start(self) -> None:
        """Start the first processes."""
        for _ in range(self.size):
            self.processes.append(self._spawn())

    def announce_end(self) -> None:
        """Nobody comes after those that there are: they serve what waits to be accepted, too. Lets go of the sockets.

        To be called once, before they are told to end.
        """
        self._end_writer.send_bytes(b"end")
        for sock in self._sockets:
            sock.close()  # or it would hold connections that nobody accepts, and then reset them

    def close(self) -> None:
        """Free what this has open besides its processes."""
        self._end_reader.close()
        self._end_writer.close()

    def everyone(self) -> list[Process]:
        """All processes there are: those that serve, start or end."""
        new = [] if self.succession is None else self.succession.new
        return list(dict.fromkeys([*self.processes, *new, *self.retirement.leaving]))

    def running(self) -> list[Process]:
        """Those of them that have not ended."""
        return [process for process in self.everyone() if process.pid is not None and process.exitcode is None]

    def is_starting(self) -> bool:
        """Whether a process is about to serve."""
        return self.succession is not None or any(not process.was_ready for process in self.processes)

    def look_after(self) -> None:
        """Look at every process once: replace the dead, kill the hung, note who wants a successor.

        Raises StartupFailed, logged, where it shows that the app cannot be started at all.
        """
        now = time.monotonic()
        for process in tuple(self.processes):
            if process.respawn_at is None and (process.exitcode is not None or self._is_unresponsive(process, now)):
                self._on_death(process, now)
            if process.respawn_at is not None and now >= process.respawn_at:
                self._respawn(process, now)

    def _is_unresponsive(self, process: Process, now: float) -> bool:
        """Check the health of a running process. True when it had to be killed."""
        wishes = process.check(self.config.timeout_worker_healthcheck, now)
        self._ever_ready = process.has_served() or self._ever_ready
        for wish in wishes or ():
            if wish is not Reason.NEEDS_PROCESSES or self._may_fall_back():
                self._enqueue(process, wish, now)
        return wishes is None

    def _on_death(self, process: Process, now: float) -> None:
        """A process has ended that nobody told to: decide when and by what its place is filled, or raise."""
        code = process.exitcode
        has_served = process.has_served()
        self._ever_ready = has_served or self._ever_ready
        if self._gives_way(process):
            # Where it had said so while it lived, its replacements have been started.
            if not self._promote_replacements(process):
                process.respawn_at = now
            return
        if not has_served and code is not None:
            if process.is_extra and code > 0:
                logger.error(f"New child process [{process.pid}] failed to start, carrying on without it.")
                self.processes.remove(process)
                self.size -= 1
                return
            # A start that failed once fails again: what the app, its TLS files or its sockets lack, no restart adds.
            # Other errors than the one meant for this do so too, as long as no process has ever come up.
            if code == STARTUP_FAILURE or (code > 0 and not self._ever_ready):
                logger.error(f"Child process [{process.pid}] failed to start, stopping the parent process.")
                raise StartupFailed

        logger.info(f"Child process [{process.pid}] died")
        if code is None:
            self.retirement.leaving[process] = math.inf  # killed a moment ago
        if not self._promote_replacements(process):
            self._back_off(process, now)

    def _back_off(self, process: Process, now: float) -> None:
        """Set the time at which a dead process's place is filled again."""
        if process.has_served():
            process.failures = 0
            process.respawn_at = now if process.exitcode == 0 else max(now, process.started_at + rules.RESPAWN_INTERVAL)
            return
        quick = now - process.started_at < rules.QUICK_DEATH
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
            replacements = self._spawn_replacements(process)
        except OSError as exc:
            process.failures += 1
            process.respawn_at = now + backoff(process.failures)
            logger.error(f"Could not start a child process: {exc}")
            return
        for replacement in replacements:
            replacement.failures = process.failures
        self._take_place(process, replacements)

    def _spawn(self) -> Process:
        process = Process(
            self.config,
            self._sockets,
            target=self._target,
            worker_class=self.worker_class,
            end_reader=self._end_reader,
        )
        process.start()
        return process

    def _spawn_replacements(self, old: Process) -> list[Process]:
        """Start what takes a process's place: one of its kind, or several where threads turned into processes."""
        new: list[Process] = []
        try:
            for _ in range(1 if old.worker_class == self.worker_class else self.size):
                new.append(self._spawn())
        except OSError:
            for process in new:
                self.retirement.send(process)
            raise
        return new

    def _take_place(self, old: Process, new: list[Process]) -> None:
        index = self.processes.index(old)
        self.processes[index : index + 1] = new

    def _promote_replacements(self, process: Process) -> bool:
        """Whether a dead process was about to be replaced: then those that were started for it have its place now."""
        if self.succession is None or self.succession.old is not process:
            return False
        self._take_place(process, self.succession.new)
        self.succession = None
        return True

    # From threads to processes

    def _gives_way(self, process: Process) -> bool:
        """Whether it has ended because its app does not run in threads, and there are processes from now on."""
        if process.exitcode != NEEDS_PROCESSES or process.has_served():  # Later an app may end with any code.
            return False
        if self._may_fall_back():
            self._fall_back(process)
        return process.worker_class != self.worker_class

    def _may_fall_back(self) -> bool:
        return self.worker_class == "thread" and self.config.worker_class == "auto"

    def _fall_back(self, process: Process) -> None:
        """For good. The child has said why."""
        self.worker_class = self.config.worker_class = "process"
        self.size = self.config.workers
        logger.warning(f"Child process [{process.pid}] cannot run this app in threads, running {self.size} processes.")

    # Another size

    def grow(self) -> None:
        """One worker more."""
        if self.worker_class == "thread":
            self.config.workers += 1
            logger.info(f"Received SIGTTIN, increasing the number of worker threads to {self.config.workers}.")
            self.replace_all()
            return
        logger.info("Received SIGTTIN, increasing the number of processes.")
        try:
            process = self._spawn()
        except OSError as exc:
            logger.error(f"Could not start a child process: {exc}")
            return
        process.is_extra = True
        self.size += 1
        self.processes.append(process)

    def shrink(self) -> None:
        """One worker less, but for the last."""
        if self.worker_class == "process":
            logger.info("Received SIGTTOU, decreasing number of processes.")
            if self.size <= 1:
                logger.info("Already reached one process, cannot decrease the number of processes anymore.")
                return
            self.size -= 1
            self.retirement.send(self.processes.pop())
        elif self.config.workers <= 1:
            logger.info("Received SIGTTOU, but there is only one worker thread.")
        else:
            self.config.workers -= 1
            logger.info(f"Received SIGTTOU, decreasing the number of worker threads to {self.config.workers}.")
            self.replace_all()

    # Successions: new first, then the old

    def replace_all(self) -> None:
        """Begin to replace every process. A second call starts anew, since the code may have changed in between."""
        self.discard_succession()
        self._waiting = deque((process, Reason.RESTART) for process in self.processes)
        now = time.monotonic()
        for process in self.processes:
            if process.respawn_at is not None:
                process.failures, process.respawn_at = 0, now
        self.advance()

    def _enqueue(self, process: Process, reason: Reason, now: float) -> None:
        is_known = any(waiting is process for waiting, _ in self._waiting)
        is_known |= self.succession is not None and self.succession.old is process
        if not is_known and now >= process.retry_at:
            if reason is Reason.RECYCLE:
                logger.info(f"Child process [{process.pid}] has served its share of requests, replacing it.")
            self._waiting.append((process, reason))

    def advance(self) -> None:
        """Carry the replacement of processes as far as it goes without waiting."""
        while (succession := self.succession or self._begin_succession()) is not None:
            if succession.old not in self.processes:  # SIGTTOU took it.
                self.discard_succession()
                continue
            now = time.monotonic()
            dead = next((process for process in succession.new if process.exitcode is not None), None)
            if dead is not None:
                if self._gives_way(dead):
                    self.discard_succession()
                    self._waiting.appendleft((succession.old, succession.reason))
                    continue
                has_served = dead.has_served()
                when = "as soon as it served" if has_served else "before it was ready"
                why = f"New child process [{dead.pid}] ended with exit code {dead.exitcode} {when}"
                self._give_up(succession, why, rules.RESPAWN_INTERVAL if has_served else None)
            elif all(process.is_ready(timeout=READY_POLL) for process in succession.new):
                self.succession = None
                self._ever_ready = True
                self._take_place(succession.old, succession.new)
                self.retirement.send(succession.old)
            elif now >= succession.deadline or any(
                p.silent_for(now) > rules.TIMEOUT_STARTUP_SILENCE for p in succession.new
            ):
                self._give_up(succession, f"New child process [{succession.new[0].pid}] was not ready in time")
            else:
                return

    def _begin_succession(self) -> Succession | None:
        while self._waiting:
            old, reason = self._waiting.popleft()
            if old not in self.processes or old.respawn_at is not None:
                continue  # Gone meanwhile, by a crash or SIGTTOU: its place has been filled or is about to be.
            if reason is Reason.NEEDS_PROCESSES and self._may_fall_back():
                self._fall_back(old)
            succession = Succession(old, [], reason, time.monotonic() + rules.TIMEOUT_STARTUP)
            try:
                succession.new = self._spawn_replacements(old)
            except OSError as exc:
                self._give_up(succession, f"Could not start a child process ({exc})")
                continue
            self.succession = succession
            return succession
        return None

    def _give_up(self, succession: Succession, why: str, delay: float | None = None) -> None:
        """Keep the old process. `delay`: seconds until the next attempt, if there is one and it is known."""
        self.discard_succession()
        old = succession.old
        logger.error(f"{why}; keeping worker [{old.pid}] and aborting the restart.")
        if succession.reason.tries_again:
            old.retries += 1
            old.retry_at = time.monotonic() + (backoff(old.retries + 1) if delay is None else delay)
        else:
            self._waiting = deque(entry for entry in self._waiting if entry[1] is not succession.reason)
        if self.worker_class == "thread":
            self.config.workers = old.workers  # What runs, after a SIGTTIN or SIGTTOU that failed.

    def discard_succession(self) -> None:
        """Keep whoever was about to be replaced."""
        if self.succession is not None:
            # Not killed outright: it may have begun to serve since it was last asked.
            for process in self.succession.new:
                self.retirement.send(process)
            self.succession = None
