"""Handles signals for a main thread that does not get to it, since it is in a call into C that goes on and on.

Python runs handlers on the main thread, between two of its instructions: not while a library computes, or waits for a
lock that no signal interrupts. But the interpreter also writes the number of each signal into a descriptor, at once; a
daemon thread reads it, and where the handler has not run a moment later calls it in the main thread's place. What no
thread can help with is code in C that does not give the GIL back.

Starts and stops on the main thread of a process that is the server's. Knows nothing of: what a signal means. Uses
`signal.set_wakeup_fd`, of which there is one per process: what a loop has set is served as well (libuv's loops wake up
by it), and whoever sets another one later ends this watch.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import FrameType

#: Seconds for the main thread to handle a signal by itself. Loops that turn need microseconds.
PATIENCE = 0.1
_LOOK_INTERVAL = 0.01

#: Seconds behind a signal that was handled here in which the same one has come before that: it is read only now.
_BACKLOG = 0.05

#: No signal has this number: the watch is over.
_END = 0

Handler = Callable[[int, FrameType | None], object]


class SignalWatch:
    """Watches over one handler. `handle` is what the signals get: it calls the handler, unless that was done here."""

    def __init__(self, handler: Handler, numbers: Iterable[int]) -> None:
        self._handler = handler
        self._numbers = frozenset(numbers)
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        #: The descriptors that were set before, and by a loop.
        self._before = self._loops = -1
        self._pid = os.getpid()
        # Reentrant: a signal may come while another one is being handled.
        self._lock = threading.RLock()
        #: When the main thread last handled each signal, how often without that it was read here, and which it has yet
        #: to find handled.
        self._handled_at: dict[int, float] = {}
        self._ahead: Counter[int] = Counter()
        self._in_its_place: set[int] = set()
        #: When each was last handled here.
        self._done_at: dict[int, float] = {}

    def start(self) -> None:
        """Watch from now on. On the main thread."""
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="pounce-signal-watch", daemon=True).start()

    def on_loop(self) -> None:
        """A loop runs now on the main thread, which may have set a descriptor of its own."""
        found = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        if found != self._writer:
            self._loops = found

    def off_loop(self) -> None:
        """It is about to end, and gets its descriptor back."""
        loops, self._loops = self._loops, -1  # whose number may soon be that of another file
        if loops != -1:
            self._set(loops)

    def stop(self) -> None:
        """Watch no more. On the main thread."""
        self._set(self._before)
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, bytes([_END]))

    def _set(self, number: int) -> None:
        found = signal.set_wakeup_fd(number, warn_on_full_buffer=False)
        if found != self._writer:
            signal.set_wakeup_fd(found, warn_on_full_buffer=False)  # somebody else's by now

    def handle(self, number: int, frame: FrameType | None) -> None:
        """To be set for the signals."""
        if os.getpid() != self._pid:  # a child that the app has forked: there is no watch, and the lock may be taken
            self._handler(number, frame)
            return
        with self._lock:
            if number in self._in_its_place:
                self._in_its_place.discard(number)
                return
            self._handled_at[number] = time.monotonic()
            self._ahead[number] += 1
        self._handler(number, frame)

    def _watch(self) -> None:
        while True:
            numbers = os.read(self._reader, 512)
            if _END in numbers:
                os.close(self._reader)
                os.close(self._writer)
                return
            if self._loops != -1:
                with contextlib.suppress(OSError):  # it is full, and so the loop wakes up anyway
                    os.write(self._loops, numbers)
            # One that has come several times by now is handled once by the main thread, too.
            for number, count in Counter(numbers).items():
                if number in self._numbers:
                    self._see_to(number, count)

    def _see_to(self, number: int, count: int) -> None:
        """Wait until the main thread has handled it, or do so."""
        seen = time.monotonic()
        if seen - self._done_at.get(number, -math.inf) < _BACKLOG:
            return
        while not self._is_handled(number, count, seen - PATIENCE):
            if time.monotonic() < seen + PATIENCE:
                time.sleep(_LOOK_INTERVAL)
                continue
            with self._lock:
                if self._is_handled(number, count, seen - PATIENCE):
                    return
                self._in_its_place.add(number)
            self._handler(number, None)
            self._done_at[number] = time.monotonic()
            return

    def _is_handled(self, number: int, count: int, since: float) -> bool:
        """Whether the main thread was quicker: before it was read here, however late that is, or behind `since`."""
        with self._lock:
            ahead = self._ahead[number]
            self._ahead[number] = max(0, ahead - count)
            return ahead > 0 or self._handled_at.get(number, -math.inf) >= since
