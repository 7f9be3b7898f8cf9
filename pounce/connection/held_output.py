"""Output of one worker's connections that waits for the end of the loop's turn, to be written in a row.

Every write wakes its reader, a proxy or client on the same machine at some cost to the writer; written in a row, one
wake-up serves many. Whole responses wait only under load, and not for long (`patient`): an app that works on after its
response, or blocks the loop, must not hold back what other servers would have sent. Runs on the worker's loop; nothing
here is locked. Knows nothing of what it writes.
"""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic
from typing import Protocol

#: Connections that are written in a row, and seconds that the first of them waits at most (and one step of an app).
_MOST = 32
_LONGEST_WAIT = 0.001

#: Seconds after which a held response counts as late: something blocked the loop.
_LATE = 0.005

#: Responses after which patience is thought over; it takes this many in `_BUSY` seconds, several in a row at a time.
REVIEWED = 128
_BUSY = 0.128
_TOO_FEW = 1.5

#: Reviews without patience after it did harm, or no good.
_PAUSE = 8


class Connection(Protocol):
    """Something that holds output back."""

    def flush(self) -> None:
        """Write what is held back."""

    def abort(self) -> None:
        """End the connection at once: it cannot be written to."""


class HeldOutput:
    """The connections of one worker that hold output back, and whether whole responses may wait at all."""

    __slots__ = ("_connections", "_pause", "_reviewed", "_rows", "_scheduled_on", "_since", "patient")

    def __init__(self) -> None:
        #: Whether a whole response may wait for the end of the turn. Else it is written when the app sends it.
        self.patient = False
        self._connections: list[Connection] = []
        self._scheduled_on: asyncio.AbstractEventLoop | None = None
        self._since = 0.0
        self._rows = 0
        self._reviewed = 0.0
        self._pause = 0

    def add(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Have `connection.flush()` called at the end of this turn of the loop, or sooner."""
        connections = self._connections
        connections.append(connection)
        if len(connections) == 1:
            self._since = monotonic()
            if self._scheduled_on is not loop:
                self._scheduled_on = loop
                loop.call_soon(self._end_turn)
        elif len(connections) >= _MOST or monotonic() - self._since > _LONGEST_WAIT:
            self._flush()

    def review(self) -> None:
        """Think patience over: told after every `REVIEWED` responses."""
        now = monotonic()
        busy = now - self._reviewed < _BUSY
        helped = not self.patient or self._rows * _TOO_FEW <= REVIEWED
        self._reviewed = now
        self._rows = 0
        if not helped:
            self._stop_waiting()
        elif self._pause:
            self._pause -= 1
        else:
            self.patient = busy

    def _stop_waiting(self) -> None:
        self.patient = False
        self._pause = _PAUSE

    def _end_turn(self) -> None:
        self._scheduled_on = None
        if self._connections:
            self._flush()

    def _flush(self) -> None:
        connections, self._connections = self._connections, []
        self._rows += 1
        if monotonic() - self._since > _LATE:
            self._stop_waiting()
        for connection in connections:
            try:
                connection.flush()
            except Exception:  # one broken transport is not the others' affair
                with contextlib.suppress(Exception):
                    connection.abort()
