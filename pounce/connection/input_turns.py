"""Whose input is dealt with next, where clients send more at once than one turn of the loop has room for.

Runs on the worker's loop, for all of its connections. Each deals with a share of what it has read, keeps the rest,
pauses reading and waits here; one after the other they go on with a share, a millisecond in each turn of the loop. So
that millisecond is what everybody else waits for, however many clients flood, with whatever costs them little. Knows
nothing of: protocols, frames, apps.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import OrderedDict
from time import monotonic
from typing import Protocol

from pounce.exchange.turns import LONGEST_TURN

#: Seconds of it for each app that will run behind the turn.
_APP = 0.0001

#: What a connection deals with, in frames that cost the least (1 to 3 us): of what has just come; the same, while
#: others wait; in a turn that it has waited for.
_SHARE = 128
_SMALL_SHARE = 8
_TURN_SHARE = 32

#: Bytes of a read that is dealt with at once, or begun with, whoever waits.
SMALL_READ = 4096


class TakesTurns(Protocol):
    """A connection that may have to wait."""

    loop: asyncio.AbstractEventLoop

    def take_turn(self) -> None:
        """Go on with a share of what was read; wait again if there is more."""


class InputTurns:
    """The connections of one worker that wait for their turn."""

    __slots__ = ("_context", "_end", "_is_due", "_is_turn", "_waiting")

    def __init__(self) -> None:
        self._waiting: OrderedDict[TakesTurns, None] = OrderedDict()
        self._is_due = False  # a turn will come
        self._is_turn = False  # this is one
        self._end = 0.0  # of it
        # Not that of whichever app had its connection wait: what is resumed here would keep it.
        self._context = contextvars.copy_context()

    @property
    def share(self) -> int:
        """What a connection may deal with now: those that wait are not to be overtaken by much."""
        if self._is_turn:
            return _TURN_SHARE
        return _SMALL_SHARE if self._waiting else _SHARE

    @property
    def are_busy(self) -> bool:
        """Whether some wait, or have waited and go on."""
        return self._is_turn or bool(self._waiting)

    @property
    def are_awaited(self) -> bool:
        """Whether others wait: who has read much waits as well, and begins in its turn."""
        return bool(self._waiting) and not self._is_turn

    def wait(self, connection: TakesTurns) -> None:
        """Call its `take_turn` in another turn of the loop, once."""
        self._waiting.setdefault(connection)
        if not self._is_due:
            self._is_due = True
            connection.loop.call_soon(self._run, connection.loop, context=self._context)

    def on_app(self) -> None:
        """Behind this turn an app will run, which was started or has got something in it."""
        self._end -= _APP

    def leave(self, connection: TakesTurns) -> None:
        """It is gone, or has nothing left."""
        self._waiting.pop(connection, None)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting
        self._end = monotonic() + LONGEST_TURN
        self._is_turn = True
        try:
            while waiting:
                connection, _ = waiting.popitem(last=False)
                connection.take_turn()
                if monotonic() >= self._end:
                    break
        finally:
            self._is_turn = False
            self._is_due = bool(waiting)
            if waiting:
                loop.call_soon(self._run, loop, context=self._context)
