"""Who ends connections whose clients owe something: one pass over all of them, no timer for any request.

Runs on the worker's loop, every half second. A connection says what it is doing (`Phase`) and what its client owes
(`Debt`), and nothing of time, so that a request pays nothing for this. Knows nothing of: sockets, TLS, what is parsed.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from pounce.connection.base import Phase
from pounce.connection.debts import Debt, Limits
from pounce.connection.state import ServerState
from pounce.names import LOGGER_ERROR
from pounce.settings import Settings

#: Seconds between two passes, to which the deadlines are exact.
INTERVAL = 0.5

#: Seconds that count at most from one pass to the next. The loop stood still for the rest, and who knows what has come
#: meanwhile: libuv calls timers before it reads.
_LONGEST_STEP = 2 * INTERVAL

#: Seconds for what a WebSocket has left to say that is over, as with uvicorn on websockets.
_CLOSE_TIMEOUT = 10.0

_BUSY, _NEWLY_IDLE, _IDLE, _NEW = Phase

logger = logging.getLogger(LOGGER_ERROR)


def limits_of(settings: Settings) -> Limits:
    """By `Debt`."""
    limits = {
        Debt.HEAD: settings.deadlines.head,
        Debt.BODY: settings.deadlines.body,
        Debt.OUTPUT: settings.deadlines.write,
        Debt.STALL: settings.http2.stalled_seconds,
        Debt.CLOSE: _CLOSE_TIMEOUT,
    }
    return [limits[debt] for debt in Debt]


class Deadlines:
    """Those of one worker: of the connections that are in its `state`, which is told the time."""

    def __init__(self, state: ServerState, keep_alive: float, limits: Limits) -> None:
        """`keep_alive`: seconds."""
        self._state = state
        self._keep_alive = keep_alive
        self._limits = limits
        self._time = 0.0
        self._passed_at: float | None = None
        #: What was owed at the last pass, and since when: by connection, debt and its object. Made anew with each
        #: pass, so that nothing of a connection is left behind.
        self._owed: dict[tuple[Any, Debt, Any], tuple[Any, float]] = {}

    def sweep(self, now: float) -> None:
        """End what is late, if a pass is due. `now` is `time.monotonic()`."""
        if self._passed_at is not None:
            step = now - self._passed_at
            if step < INTERVAL - 0.05:  # it is asked for by ticks, which are not exact either
                return
            self._time += min(step, _LONGEST_STEP)
        self._passed_at = now
        self._state.clock = self._time + INTERVAL
        before, self._owed = self._owed, {}
        asks_idle = self._limits[Debt.OUTPUT]  # for what they were sent last may still wait for them
        for connection in list(self._state.connections):
            phase = getattr(connection, "phase", None)  # classes of the user's own need not take part
            try:
                if phase is _NEWLY_IDLE:
                    connection.phase = _IDLE
                    connection.idle_since = self._time
                elif phase is _IDLE and connection.idle_since <= self._time - self._keep_alive:
                    connection.phase = _BUSY  # with its end
                    connection.timeout_keep_alive_handler()
                if phase is _BUSY or phase is _NEW or (asks_idle and phase and connection.flow.write_paused):
                    self._ask(connection, before)
            except Exception as exc:  # of a class of the user's own, or a bug: the others go on, and so does the server
                logger.error("Cannot look after a connection, which is cut", exc_info=exc)
                with contextlib.suppress(Exception):
                    connection.transport.abort()

    def _ask(self, connection: Any, before: dict[tuple[Any, Debt, Any], tuple[Any, float]]) -> None:
        late = []
        for debt, about, mark, since in connection.owed(self._limits):
            limit = self._limits[debt]
            if not limit:
                continue
            key = (connection, debt, about)
            known = before.get(key)
            if known is not None and known[0] == mark:
                since = known[1]
            elif since is None:
                since = self._time
            if since <= self._time - limit:
                late.append((debt, about))
            else:
                self._owed[key] = (mark, since)
        for debt, about in late:
            connection.on_late(debt, about)
            if connection.transport.is_closing():
                break
