"""No app may keep the loop by sending alone: when `send()` has to give others a turn, and what it costs to go on
sending to a client that is gone.

Belongs to one exchange, on its worker's loop. Knows nothing of messages and connections.
"""

from __future__ import annotations

import asyncio
from time import monotonic

#: What an app may send without waiting before the loop gets a turn: bytes, a message counting as so many on top of its
#: own, and seconds. A turn with nothing to do costs 2 to 10 us, writing as many bytes about 60 us, as many small
#: messages 400 us: a second client waits about that long beside a stream that its client takes at full speed. An app
#: that blocks between its messages gives a turn with each.
_TURN_SIZE = 256 * 1024
_MESSAGE_SIZE = 4096
_TURN_TIME = 0.005

#: Messages to a client that is gone which cost a turn each: enough for the rest of most streams. Then the pauses
#: double, from the first to the longest, in seconds; with that an app that never ends takes less than 0.1 % of a core.
_FREE_MESSAGES = 32
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.1


class Pauses:
    """The pauses of one worker's apps that talk to clients that are gone. A stop of the server ends them."""

    __slots__ = ("_ended", "_waiting")

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._ended = False

    def end(self) -> None:
        """End all pauses, and cancel the apps that are in one or come into one: they hold up no stop."""
        self._ended = True
        for future in list(self._waiting):
            future.cancel()

    async def sleep(self, seconds: float) -> None:
        """Wait. Raises CancelledError once the server stops."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = loop.call_later(seconds, _end_pause, future)
        self._waiting.add(future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)
        if self._ended:
            raise asyncio.CancelledError("The client is gone and the server stops")


def _end_pause(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class SendTurns:
    """Counts what one app sends."""

    __slots__ = ("_ignored", "_since", "_size")

    def __init__(self) -> None:
        self._size = 0  # bytes sent since the app last waited here
        self._since = 0.0  # when that was (monotonic)
        self._ignored = 0  # messages since the client is gone

    def is_due(self, size: int) -> bool:
        """Told of each message and its size in bytes. Whether `send()` has to wait for a turn of the loop now."""
        now = monotonic()
        self._size = total = self._size + size + _MESSAGE_SIZE
        if total < _TURN_SIZE and now - self._since < _TURN_TIME:
            return False
        is_first = not self._since
        self._since = now
        if is_first and total < _TURN_SIZE:
            return False
        self._size = 0
        return True

    async def pause(self, pauses: Pauses) -> None:
        """What a message to a client that is gone costs. Raises CancelledError once the server stops."""
        self._ignored += 1
        if self._ignored <= _FREE_MESSAGES:
            await asyncio.sleep(0)
        else:
            doublings = min(self._ignored - _FREE_MESSAGES - 1, 10)
            await pauses.sleep(min(_FIRST_PAUSE * 2**doublings, _LONGEST_PAUSE))
