"""What becomes of a child process whose parent is gone, killed perhaps: it ends, and its port is free for a restart.

Runs on a daemon thread of the child, which waits for the parent's end. The server is told by SIGTERM and closes its
listeners within a tick; those of a loop that is blocked are taken from it. What is under way may be finished, but for
less long than with a parent: nobody else is left who could end this process.

This is not done with PR_SET_PDEATHSIG: it comes when the *thread* ends that has started the child, says no more than
the pipe to the parent does, and is either a SIGTERM, which a blocked loop does not obey, or an end without a drain.
What neither of them ends is a call into C that holds the GIL for ever (`docs/deviations.md`).

Knows nothing of: which server the child runs; it is handed what tells the age of its loops' heartbeats.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection

from pounce.contracts import ConfigView
from pounce.supervisors.succession import retire_limit
from pounce.watchdog import watchdog

#: Seconds after which a listener that still listens is taken from its loop. One that turns needs a tenth of it.
TIMEOUT_LISTENERS = 1.0

#: Seconds between two looks at the loops of an orphan.
_LOOK_INTERVAL = 0.1

#: Seconds since each loop of this process last turned, by its worker's name. Empty where none serves (yet).
Heartbeats = Callable[[], list[tuple[str, float]]]


class ParentWatch:
    """Waits for the end of the parent. Made on the child's main thread, which is the one that gets the SIGTERM."""

    def __init__(self, config: ConfigView, sockets: Sequence[socket.socket], heartbeats: Heartbeats) -> None:
        self._limit = retire_limit(config, is_fit=False)
        self._limit_blocked = config.timeout_worker_healthcheck or math.inf
        self._heartbeats = heartbeats
        self._listeners = [(sock, _identity(sock.fileno())) for sock in sockets]
        self._main_thread = threading.get_ident()

    def start(self, sentinel: int) -> None:
        """Watch from now on. `sentinel` gets ready when the parent ends."""
        # A daemon thread: it never keeps a process alive that has finished.
        threading.Thread(target=self._watch, args=(sentinel,), name="pounce-parent-watch", daemon=True).start()

    def _watch(self, sentinel: int) -> None:
        connection.wait([sentinel])
        self._tell()
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < self._limit and not self._is_blocked():
            if passed >= TIMEOUT_LISTENERS:
                self._take_listeners()
            time.sleep(_LOOK_INTERVAL)
        self._take_listeners()
        watchdog.leave(1, "The parent of this process is gone, and it does not end by itself.")

    def _tell(self) -> None:
        if sys.platform == "win32":
            signal.raise_signal(signal.SIGTERM)
        else:
            # To the main thread by name: only there does a signal end a system call that waits.
            signal.pthread_kill(self._main_thread, signal.SIGTERM)

    def _is_blocked(self) -> bool:
        """Whether no loop has turned for as long as a parent would have allowed. One that turns may have clients."""
        return min((age for _, age in self._heartbeats()), default=0.0) > self._limit_blocked

    def _take_listeners(self) -> None:
        """Put something else in the place of the sockets that still listen; the loop's descriptors stay valid."""
        listeners, self._listeners = self._listeners, []
        if sys.platform == "win32":
            return  # A socket there is no descriptor.
        for sock, identity in listeners:
            for number in {sock.fileno(), *_open_descriptors()}:  # the loop may have a duplicate
                with contextlib.suppress(OSError):  # Closed just now.
                    # Once it is closed its number may be that of a client's connection.
                    if number != -1 and _identity(number) == identity:
                        with socket.socket(sock.family, sock.type) as idle:
                            os.dup2(idle.fileno(), number, inheritable=False)


def _open_descriptors() -> list[int]:
    """Those of this process, where the system tells."""
    try:
        return [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        return []


def _identity(number: int) -> tuple[int, int]:
    """What tells a descriptor's socket from another one that gets its number later."""
    if sys.platform == "win32":
        return (0, number)
    status = os.fstat(number)
    return (status.st_dev, status.st_ino)
