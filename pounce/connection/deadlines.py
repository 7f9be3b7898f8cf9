"""Who ends connections whose clients owe something: one pass over all of them, no timer for any request.

Runs on the worker's loop, every half second. A connection says what it is doing (`Phase`, the latest exchange) and
nothing of time, so that a request pays nothing for this. Knows nothing of: sockets, TLS, what is parsed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pounce.connection.base import Phase
from pounce.errors import BadRequest
from pounce.exchange.http_cycle import ResponseState

_LATE = "The head of the request did not come in time."


class Deadlines:
    """Those of one worker. `keep_alive`, `head`: seconds; a `head` of 0 is no limit."""

    def __init__(self, keep_alive: float, head: float) -> None:
        self._keep_alive = keep_alive
        self._head = head
        #: The heads that were awaited at the last pass, and since when: by connection and the exchange before. Made
        #: anew with each pass, so that nothing of a connection is left behind.
        self._awaited: dict[tuple[Any, Any], float] = {}

    def sweep(self, connections: Iterable[Any], now: float) -> None:
        """End what is late, `now` by `time.monotonic`. Classes of the user's own need not take part."""
        awaited: dict[tuple[Any, Any], float] = {}
        for connection in list(connections):
            phase = getattr(connection, "phase", None)
            if phase is Phase.NEWLY_IDLE:
                connection.phase = Phase.IDLE
                connection.idle_since = now
            elif phase is Phase.IDLE:
                if connection.idle_since <= now - self._keep_alive:
                    connection.timeout_keep_alive_handler()
            elif phase is not None and self._head and _awaits_head(connection):
                key = (connection, connection.cycle)
                since = awaited[key] = self._awaited.get(key, now)
                if since <= now - self._head:
                    _end(connection)
        self._awaited = awaited


def _awaits_head(connection: Any) -> bool:
    """Whether HTTP/1.1 has nothing in hand. Idle it is not: the client is at a head, or has not said anything yet."""
    try:
        cycle = connection.cycle
    except AttributeError:  # HTTP/2, or not known yet
        return False
    return cycle is None or (cycle.state is ResponseState.ALL and not cycle.more_body)


def _end(connection: Any) -> None:
    """RFC 9110 section 15.5.9. A client that was silent gets no answer: browsers connect ahead, and would show it."""
    if connection.phase is Phase.NEW:
        connection.close()
    else:
        connection.refuse(BadRequest(_LATE, 408))
