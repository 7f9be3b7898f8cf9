"""Parts of streamed responses that come in quick succession, and are written together.

Every write costs the kernel's way to the reader and wakes it, many times what the part took to make. So where an app
sends part after part, each in a turn of the loop, they wait for one another: until a turn passes in which the stream
does not go on, and not for long. A part that follows none quickly is never held. Runs on the worker's loop; nothing
here is locked. Knows nothing of what it writes.
"""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic
from typing import Protocol

#: A part may wait if the stream sent the one before it at most this many seconds ago, and for as long at most (and the
#: turn of the loop in which they pass).
QUICK_SUCCESSION = 0.001
_LONGEST_WAIT = 0.001

#: Seconds after which a part counts as late: something blocked the loop. For how long none waits after that.
_LATE = 0.005
_PAUSE = 1.0


class Stream(Protocol):
    """A connection that holds back parts of its response."""

    def goes_on(self) -> bool:
        """Whether it holds more than when this was asked before."""

    def release(self, goes_on: bool) -> None:
        """Write what is held back: it has paused, or it goes on but has waited for long enough."""

    def abort(self) -> None:
        """End the connection at once: it cannot be written to."""


class HeldStreams:
    """The connections of one worker that hold back parts."""

    __slots__ = ("_scheduled_on", "_since", "_streams", "wait_from")

    def __init__(self) -> None:
        #: The time (monotonic) from which on parts may wait.
        self.wait_from = 0.0
        self._streams: list[Stream] = []
        self._scheduled_on: asyncio.AbstractEventLoop | None = None
        self._since = 0.0

    def add(self, stream: Stream, loop: asyncio.AbstractEventLoop) -> None:
        """Have `stream.release()` called when it pauses."""
        self._streams.append(stream)
        if len(self._streams) == 1:
            self._since = monotonic()
        self._look_next_turn(loop)

    def on_written(self, since: float) -> None:
        """Told when what was held is written: the last part of it was sent at `since` (monotonic)."""
        now = monotonic()
        if now - since > _LATE:
            self.wait_from = now + _PAUSE

    def _look_next_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._scheduled_on is not loop:
            self._scheduled_on = loop
            loop.call_soon(self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled_on = None
        waited = monotonic() - self._since
        streams, self._streams = self._streams, []
        for stream in streams:
            goes_on = stream.goes_on()
            if goes_on and waited <= _LONGEST_WAIT:
                self._streams.append(stream)
                continue
            try:
                stream.release(goes_on)
            except Exception:  # one broken transport is not the others' affair
                with contextlib.suppress(Exception):
                    stream.abort()
        if self._streams:
            self._look_next_turn(loop)
