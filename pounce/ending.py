"""`Ending`: the signals that ask a server to end, and how long its process may live from then on.

Deadlines only where the process is the server's, which is so under the command, `run()` and a supervisor, on the main
thread; then `pounce.watchdog` keeps them. Runs on the server's thread. Knows nothing of: loops, workers, requests.
Compatible with uvicorn's `Server.capture_signals`. There SIGTERM, raised again, ends the process there and then,
whatever else would keep it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType
from typing import TYPE_CHECKING, Any

from pounce.contracts import ConfigView
from pounce.errors import exit_code_of
from pounce.watchdog import GRACE, watchdog

if TYPE_CHECKING:
    import asyncio

HANDLED_SIGNALS: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
if sys.platform == "win32":
    HANDLED_SIGNALS += (signal.SIGBREAK,)

#: Seconds behind a supervisor's SIGTERM in which the first SIGINT is the terminal's, which the supervisor had as well.
#: A supervisor that forces the end waits for longer (`SIGNAL_ECHO`).
_SIGNAL_ECHO = 0.4

#: Seconds on top of `timeout_graceful_shutdown` after which a loop that has not got that far counts as blocked.
_TIMEOUT_TURN = 2.0

_BLOCKED = "The event loop of this process is blocked."

#: Seconds for all that is left once the user has asked twice (a supervisor kills after 2), and what of them the
#: interpreter's own end gets at least.
_TIMEOUT_FORCED = 1.5
_GRACE_FORCED = 0.2

if sys.version_info < (3, 12) and sys.platform != "win32":
    # As asyncio does it from 3.12 on: a signal to a child that the app has forked must not wake the parent's loop.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


class Ending:
    """The end of one server. `config.timeout_graceful_shutdown` is its limit."""

    def __init__(self, config: ConfigView) -> None:
        self._config = config
        #: Those that have come, in their order.
        self.signals: list[int] = []
        self.asked_at: float | None = None
        self.exceeded_limit = False
        self._forced_at: float | None = None
        self._owns_process = False
        # What handled the signals before, in the process that captures them
        self._originals: dict[int, Any] = {}
        self._pid = 0

    # Signals

    @contextlib.contextmanager
    def capturing(self, handler: Callable[[int, FrameType | None], None]) -> Generator[None, None, None]:
        """Let `handler` have the signals meanwhile, where this is the main thread; raise what came again afterwards."""
        if threading.current_thread() is not threading.main_thread() or self._originals:
            yield
            return
        self._pid = os.getpid()
        self._originals = {sig: signal.signal(sig, handler) for sig in HANDLED_SIGNALS}
        try:
            yield
        finally:
            self._give_back()
        for captured in reversed(self.signals):
            signal.raise_signal(captured)

    def _give_back(self) -> None:
        originals, self._originals = self._originals, {}
        for sig, handler in originals.items():
            signal.signal(sig, handler)

    def is_for_a_fork(self, sig: int) -> bool:
        """Whether this is a child that the app has forked; then the signal has had its former effect on it."""
        if not self._originals or self._pid == os.getpid():
            return False
        self._give_back()
        signal.raise_signal(sig)
        return True

    def is_echo(self, sig: int) -> bool:
        """Whether one wish to stop has come by two ways: to the parent, which sent SIGTERM, and to its process group.

        A second SIGINT is a person's.
        """
        processes: Any = sys.modules.get("multiprocessing.process")  # not imported: then this is nobody's child
        if processes is None or processes.parent_process() is None or signal.SIGINT in self.signals:
            return False
        return sig == signal.SIGINT and self.asked_at is not None and time.monotonic() - self.asked_at < _SIGNAL_ECHO

    def on_signal(self, sig: int) -> None:
        """Take note of a signal."""
        self.signals.append(sig)
        if self.asked_at is None:
            self.asked_at = time.monotonic()

    # The process

    @contextlib.contextmanager
    def owning_process(self) -> Generator[None, None, None]:
        """Around all that a server does in a process of its own. On the main thread."""
        self._owns_process = True
        exit_code = 0
        try:
            yield
        except SystemExit as exc:
            exit_code = exit_code_of(exc)
            raise
        finally:
            watchdog.call_off()  # what comes now is the caller's
            watchdog.loop = None
            if self._forced_at is not None:
                left = self._forced_at + _TIMEOUT_FORCED - time.monotonic()
                watchdog.expect_end_of_interpreter(max(_GRACE_FORCED, left), exit_code)
            elif self.exceeded_limit or signal.SIGTERM in self.signals:
                watchdog.expect_end_of_interpreter(GRACE, exit_code)

    def on_serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """The server runs on this loop."""
        if self._owns_process:
            watchdog.loop = loop

    def on_force(self) -> None:
        """The user has asked twice."""
        if self._owns_process and self._forced_at is None:
            self._forced_at = time.monotonic()
            watchdog.expect_end(_TIMEOUT_FORCED, self._exit_code())

    def on_drain(self) -> None:
        """Requests get their time now. A loop that is blocked sees no limit: then the process is ended behind it."""
        limit = self._config.timeout_graceful_shutdown
        if self._is_watched() and self.asked_at is not None and limit is not None:
            seconds = self.asked_at + limit + _TIMEOUT_TURN - time.monotonic()
            watchdog.expect_end(max(_TIMEOUT_TURN, seconds), 1, _BLOCKED)

    def on_drained(self, is_looked_after: bool = False) -> None:
        """Requests have had their time, now the app's own shutdown has its. Worker threads are looked after."""
        limit = self._config.settings.deadlines.lifespan_shutdown
        if self._is_watched():
            watchdog.call_off()
            if limit is not None and not is_looked_after:
                watchdog.expect_end(limit + _TIMEOUT_TURN, 1, _BLOCKED)

    def on_finished(self) -> None:
        """The server is done. What else there is, down to the closing of the loop, gets what is left of the limit."""
        grace = self.grace()
        if self._is_watched():
            if grace is None:
                watchdog.call_off()
            else:
                watchdog.expect_end(grace, self._exit_code())

    def grace(self) -> float | None:
        """Seconds for what is left once the app's shutdown is over; None where nobody has set a limit to it."""
        if self.asked_at is None:
            return None
        limit = self._config.timeout_graceful_shutdown
        if limit is not None:
            return max(GRACE, self.asked_at + limit - time.monotonic())
        return GRACE if self.exceeded_limit or signal.SIGTERM in self.signals else None

    def _is_watched(self) -> bool:
        return self._owns_process and self._forced_at is None

    def _exit_code(self) -> int:
        """What the process would end with. The last signal decides: it is the first to be raised again."""
        last = self.signals[-1]
        # Where it would end the process by itself, what a shell shows for that; `os._exit` has no other way to say it.
        return 128 + last if self._originals.get(last) is signal.SIG_DFL else 0
