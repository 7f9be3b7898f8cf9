"""Accepts connections for all workers and hands each to the least loaded one. A connection then stays on its loop.

Runs on the server's own loop (the main thread, or wherever `Server.serve()` runs), for worker threads and, on asyncio's
selector loops, for the one worker of that loop. What crosses to a worker is a bare descriptor: the socket object around
it is made on the worker's thread. Knows nothing of protocols. Implements accept(2): a full file table must neither
spin, nor fill the log, nor end the listener.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from pounce.binding import Kind, kind_of
from pounce.names import LOGGER_ERROR
from pounce.worker.connection_limits import ConnectionLimits
from pounce.worker.worker import Accepted

#: Connections accepted in one go, before other things of this loop get their turn; where the first bytes of each are
#: waited for, which takes a task and a reader; and from a queue that is to be empty, in which there are no more on most
#: systems.
_BATCH = 64
_BATCH_TO_HEAR = 8
_WHOLE_QUEUE = 4096

#: Seconds without accepting after the process ran out of file descriptors or memory, and from one line about it to the
#: next.
_EXHAUSTED_PAUSE = 0.5
_TIMEOUT_SILENCE = 1.0
_silent_until = 0.0
EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

#: What accept(2) says of one connection alone: it was gone before it was accepted. The next one is there.
_GONE = frozenset(
    (errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH)
)

#: A worker whose loop has not turned for so many seconds gets no connections while another one turns. Where none does,
#: connections stay in the backlog for this long: a new generation may be there to take them.
_STANDSTILL = 0.5

logger = logging.getLogger(LOGGER_ERROR)


AcceptOne = Callable[[], tuple[int, Any]]


class Acceptor:
    """One reader per listening socket. The sockets must be listening and non-blocking; they stay the caller's."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        workers: Sequence[Any],
        limits: ConnectionLimits | None = None,
        hears_first: bool = False,
    ) -> None:
        """`workers` have a `load()`, a `heartbeat_age()` and `adopt_threadsafe()`, as `WorkerThread` has them.

        `hears_first`: they wait for what a client says first.
        """
        self._limits = limits
        self._batch = _BATCH_TO_HEAR if hears_first else _BATCH
        self._listeners = listeners
        self._kinds: list[Kind] = [kind_of(listener) for listener in listeners]
        self._workers = workers
        self._next = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._paused: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Accept from now on, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._listen(self._loop)

    def stop(self) -> None:
        """Accept no more. What is in the backlog stays there for whoever listens on the same sockets."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        if self._paused is not None:
            self._paused.cancel()
        else:
            for listener in self._listeners:
                loop.remove_reader(listener.fileno())

    def drain(self) -> int:
        """Accept what waits in the backlog, whether started or not. Returns how many connections that were.

        They would be reset when the last of the listening sockets is closed.
        """
        workers = self._turning() or self._workers
        accepted = 0
        for listener, kind in zip(self._listeners, self._kinds, strict=True):
            try:
                accepted += self._accept(_accept_on(listener), kind, workers, _WHOLE_QUEUE)
            except OSError as exc:
                complain(exc, "Those that wait are reset.")
        return accepted

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        self._paused = None
        for listener, kind in zip(self._listeners, self._kinds, strict=True):
            loop.add_reader(listener.fileno(), self._on_readable, _accept_on(listener), kind)

    def _turning(self) -> list[Any]:
        """The workers whose loops turn."""
        return [worker for worker in self._workers if worker.heartbeat_age() < _STANDSTILL]

    def _on_readable(self, accept: AcceptOne, kind: Kind) -> None:
        workers = self._turning()
        if not workers:
            self._pause(_STANDSTILL)
            return
        try:
            self._accept(accept, kind, workers, self._batch)
        except OSError as exc:
            complain(exc, f"Trying again in {_EXHAUSTED_PAUSE} s.")
            self._pause(_EXHAUSTED_PAUSE)

    def _accept(self, accept: AcceptOne, kind: Kind, workers: Sequence[Any], most: int) -> int:
        """Hand over so many connections, or as many as there are. Raises OSError where the system has no more to give.

        Returns how many were handed over.
        """
        limits = self._limits
        loads = [worker.load() for worker in workers]
        batches: dict[int, list[Accepted]] = {}
        try:
            for _ in range(most):
                try:
                    fd, address = accept()
                except (BlockingIOError, InterruptedError):
                    break
                except OSError as exc:
                    if exc.errno in _GONE:
                        continue
                    raise
                index = least_loaded(loads, self._next)
                self._next = index + 1
                loads[index] += 1
                seat = None if limits is None else limits.seat(address)
                batches.setdefault(index, []).append((fd, *kind, seat))
        finally:
            for index, batch in batches.items():
                workers[index].adopt_threadsafe(batch)
        return sum(map(len, batches.values()))

    def _pause(self, seconds: float) -> None:
        """Look away for a while: the backlog keeps the listener readable, so watching on would spin."""
        if self._loop is None or self._paused is not None:
            return
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
        self._paused = self._loop.call_later(seconds, self._listen, self._loop)


def complain(exc: OSError, what_follows: str) -> None:
    """Say what keeps this process from accepting: at most once a second, on however many sockets."""
    global _silent_until
    now = time.monotonic()
    if now >= _silent_until:
        _silent_until = now + _TIMEOUT_SILENCE
        logger.error("Cannot accept a connection: %s. %s", exc.strerror or exc, what_follows)


def least_loaded(loads: Sequence[int], start: int) -> int:
    """The index of the smallest load; among equals the first at or after `start`, so that ties go round."""
    count = len(loads)
    return min(((start + step) % count for step in range(count)), key=loads.__getitem__)


def _accept_on(listener: socket.socket) -> AcceptOne:
    """A function that accepts one connection and returns its descriptor, and the client's address."""
    accept: AcceptOne | None = getattr(listener, "_accept", None)  # without the socket object around the descriptor
    if accept is not None:
        return accept

    def accept_one() -> tuple[int, Any]:
        sock, address = listener.accept()
        return sock.detach(), address

    return accept_one
