"""What the client of a connection owes, for `Deadlines` to ask now and then: over HTTP/1.1 and as a WebSocket.

Runs on the worker's loop. It is read off what is there anyway: while a request is served nothing is noted for it but
the number of pieces that its body has come in. Knows nothing of: clocks.
"""

from __future__ import annotations

import asyncio
import enum
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from pounce.connection.base import Phase
from pounce.errors import BadRequest
from pounce.exchange.http_cycle import ResponseState

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ

LATE_HEAD = "The head of the request did not come in time."
LATE_BODY = "The body of the request did not come in time."


class Debt(enum.IntEnum):
    """What a client may owe. A number, since limits are looked up by it."""

    HEAD = 0  # what comes before a request's body: HTTP/2's preface, the TLS handshake before the first one
    BODY = 1  # the next piece of a request's body, for which the app waits
    OUTPUT = 2  # to take something of what it is sent
    STALL = 3  # over HTTP/2, the same of all that waits, where that is much
    CLOSE = 4  # to take something of what a WebSocket has left to say that is over


HEAD, BODY, OUTPUT, STALL, CLOSE = Debt

#: A debt; the exchange or stream that it is about, if any; what is another one as soon as some of it is paid; since
#: when it is owed, by `ServerState.clock` (None: since it was first seen).
Owed = tuple[Debt, Any, Any, float | None]

#: Seconds by `Debt`; 0: no limit, so that nobody need ask.
Limits = Sequence[float]


def not_taken(transport: asyncio.Transport) -> int:
    """A number that changes when the client takes something of what was written, while nobody writes.

    Where the system tells, it is that of the bytes which the client has not acknowledged (tcp(7), unix(7)): a kernel
    that has megabytes for a slow client takes nothing from the transport for minutes.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sys.platform == "linux":
        try:
            return int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
        except (OSError, ValueError):  # it is closed
            pass
    return transport.get_write_buffer_size()


def owed_output(connection: Any, limits: Limits, debt: Debt = OUTPUT) -> list[Owed]:
    """What every client owes that is sent more than the transport likes to keep, or with which the connection ends."""
    transport = connection.transport
    if limits[debt] and (connection.flow.write_paused or transport.is_closing()):
        return [(debt, None, not_taken(transport), None)]
    return []


class Http1Debts:
    """What is owed over HTTP/1.1, and what becomes of who does not pay."""

    __slots__ = ()

    def owed(self: Any, limits: Limits) -> Sequence[Owed]:
        """What its client owes of that for which there are limits."""
        owed = owed_output(self, limits)
        cycle = self.cycle
        if self.transport.is_closing() or self.phase in (Phase.IDLE, Phase.NEWLY_IDLE) or self.held:
            pass  # what is held is for this server to deal with first
        elif cycle is None or (cycle.state is ResponseState.ALL and not cycle.more_body):
            # It has nothing in hand: the client is at a head, or has not said anything yet.
            owed.append((HEAD, cycle, None, self.accepted_at if cycle is None else None))
        elif cycle.more_body and cycle.readers:
            owed.append((BODY, cycle, cycle.pieces, None))
        return owed

    def on_late(self: Any, debt: Debt, cycle: Any) -> None:
        """The client has not paid in time (RFC 9110 section 15.5.9).

        One that was silent gets no answer: browsers connect ahead, and would take it for that to their next request.
        """
        if debt is OUTPUT:
            self.transport.abort()
        elif debt is BODY:
            cycle.on_disconnect()
            if cycle.state is ResponseState.NOTHING:
                self.refuse(BadRequest(LATE_BODY, 408))
            else:
                self.close()
        elif self.phase is Phase.NEW:
            self.close()
        else:
            self.refuse(BadRequest(LATE_HEAD, 408))


class WebSocketDebts:
    """The same of a WebSocket. Its client owes no answer to anybody: pings and the close frame have timers."""

    phase: ClassVar = Phase.BUSY

    def owed(self: Any, limits: Limits) -> Sequence[Owed]:
        """What its client owes of that for which there are limits."""
        return owed_output(self, limits, CLOSE if self.transport.is_closing() else OUTPUT)

    def on_late(self: Any, _debt: Debt, _about: Any) -> None:
        """The client takes nothing."""
        self.transport.abort()
