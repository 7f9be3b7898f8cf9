"""`Ending`: the signals that ask a server to end, and how long its process may live from then on.

Deadlines only where the process is the server's, which is so under the command, `run()` and a supervisor, on the main
thread; then `pounce.watchdog` keeps them. Runs on the server's thread. Knows nothing of: loops, workers, requests.
Compatible with uvicorn's `Server.capture_signals`. There SIGTERM, raised again, ends the process there and then,
whatever else would keep it.
"""

from __future__ import annotations

import contextlib
import functools
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
from pounce.fork_signals import undone_in_children
from pounce.signal_watch import SignalWatch
from pounce.watchdog import GRACE, TIMEOUT_HASTY_WORDS, UNWILLING, watchdog

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

#: Seconds for all that is left once the user has asked twice, and what the interpreter's own end gets at least. With
#: the last words it is less than the time after which a supervisor kills.
_TIMEOUT_FORCED = 0.4
_GRACE_FORCED = 0.1

#: Whoever sends it means now. Some number that none has, where there is no such signal.
SIGQUIT: int = getattr(signal, "SIGQUIT", -1)


class Ending:
    """The end of one server. `config.timeout_graceful_shutdown` is its limit."""

    def __init__(self, config: ConfigView) -> None:
        self._config = config
        #: Those that have come, in their order.
        self.signals: list[int] = []
        self.asked_at: float | None = None
        self.exceeded_limit = False
        self.is_told_to_quit = False
        self._forced_at: float | None = None
        self._owns_process = False
        self._watch: SignalWatch | None = None
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
        numbers, handle = HANDLED_SIGNALS, handler
        if self._owns_process and sys.platform != "win32":
            numbers += tuple(sig for sig in (SIGQUIT,) if signal.getsignal(sig) is signal.SIG_DFL)
            self._watch = SignalWatch(handler, numbers)
            handle = self._watch.handle
        with undone_in_children(functools.partial(self._let_go, handle)):
            try:
                for sig in numbers:
                    self._originals[sig] = signal.getsignal(sig)
                    signal.signal(sig, handle)
                if self._watch is not None:
                    self._watch.start()
                yield
            finally:
                if self._watch is not None:
                    self._watch.stop()
                self._let_go()
        for captured in reversed(self.signals):
            signal.raise_signal(captured)

    def _let_go(self, of: Callable[[int, FrameType | None], object] | None = None) -> None:
        """Let the signals be handled as before; `of`: where this handler has them, and not one that the app has set."""
        self._watch = None
        for sig, original in list(self._originals.items()):
            if of is None or signal.getsignal(sig) == of:
                if original is not None:  # one that C has set, which Python cannot
                    signal.signal(sig, original)
                del self._originals[sig]

    def is_for_a_fork(self, sig: int) -> bool:
        """Whether this is a child that the app has forked; then the signal has had its former effect on it.

        It comes here by a handler of the app's that calls the one before.
        """
        if not self._originals or self._pid == os.getpid():
            return False
        self._let_go()
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
        if sig == SIGQUIT:
            self.is_told_to_quit = True
        else:
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
                watchdog.expect_end_of_interpreter(max(_GRACE_FORCED, left), exit_code, TIMEOUT_HASTY_WORDS)
            elif self.exceeded_limit or signal.SIGTERM in self.signals:
                watchdog.expect_end_of_interpreter(GRACE, exit_code)
            if self.asked_at is not None and watchdog.ends_with_server:
                # The interpreter's end waits for threads and `atexit`, without a limit where there is none above.
                signal.signal(signal.SIGINT, lambda *_: _expect_end_now(exit_code))

    def on_serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """The server runs on this loop."""
        if self._owns_process:
            watchdog.loop = loop
        if self._watch is not None:
            self._watch.on_loop()

    def on_force(self) -> None:
        """The user has asked twice."""
        if self._owns_process and self._forced_at is None:
            self._forced_at = time.monotonic()
            _expect_end_now(self._exit_code())

    def _expect_end(self, seconds: float | None, exit_code: int, why: str = UNWILLING) -> None:
        """Set the process's deadline, or (None) that there is none; but for one that is forced to end."""
        if self._owns_process and self._forced_at is None:
            if seconds is None:
                watchdog.call_off()
            else:
                watchdog.expect_end(seconds, exit_code, why)
            if self._forced_at is not None:  # just now, by a signal's handler
                _expect_end_now(exit_code)  # type: ignore[unreachable]

    def on_drain(self, has_started: bool = True) -> None:
        """Requests get their time now. A loop that is blocked sees no limit: then the process is ended behind it.

        So is one that has not started yet, and does not get any further.
        """
        limit = self._config.timeout_graceful_shutdown
        if self.asked_at is not None and limit is not None:
            seconds = self.asked_at + limit + _TIMEOUT_TURN - time.monotonic()
            self._expect_end(max(_TIMEOUT_TURN, seconds), 1, _BLOCKED if has_started else UNWILLING)

    def on_drained(self, is_looked_after: bool = False) -> None:
        """Requests have had their time, now the app's own shutdown has its. Worker threads are looked after."""
        limit = self._config.settings.deadlines.lifespan_shutdown
        self._expect_end(None if limit is None or is_looked_after else limit + _TIMEOUT_TURN, 1, _BLOCKED)

    def on_finished(self) -> None:
        """The server is done. What else there is, down to the closing of the loop, gets what is left of the limit."""
        if self._watch is not None:
            self._watch.off_loop()
        self._expect_end(self.grace(), self._exit_code())

    def grace(self) -> float | None:
        """Seconds for what is left once the app's shutdown is over; None where nobody has set a limit to it."""
        if self.asked_at is None:
            return None
        limit = self._config.timeout_graceful_shutdown
        if limit is not None:
            return max(GRACE, self.asked_at + limit - time.monotonic())
        return GRACE if self.exceeded_limit or signal.SIGTERM in self.signals else None

    def _exit_code(self) -> int:
        """What the process would end with. The last signal decides: it is the first to be raised again."""
        if not self.signals:
            return 0
        last = self.signals[-1]
        # Where it would end the process by itself, what a shell shows for that; `os._exit` has no other way to say it.
        return 128 + last if self._originals.get(last) is signal.SIG_DFL else 0


def _expect_end_now(exit_code: int) -> None:
    """The user has asked twice: what there is to do has to be quick."""
    watchdog.expect_end(_TIMEOUT_FORCED, exit_code, UNWILLING, TIMEOUT_HASTY_WORDS)
