"""When an app that goes on sending has to wait: so long that the loop is everybody's, whatever the app does.

Runs on the worker's loop, in the app's task. `await send(...)` waits for nothing as long as the client takes what is
sent, nor where it has nobody to send to: an app that does nothing else would keep the loop for ever, from the end of
its own connection, too. Knows nothing of: messages, connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

#: Seconds for which an app may send on end; and of a turn in which what many have sent is worked off, or the apps of
#: one connection run one after another. A turn of the loop costs 1 to 3 us: under 0.3 % of that; the clock, looked
#: at with each message, 50 ns. What an app waits for besides is not known here: it has a turn too many with messages
#: that are further apart.
LONGEST_TURN = 0.001

#: Seconds to wait after each of a row of vain calls; the last one goes on. An app that ignores every error fails ten
#: times a second then, which takes 0.4 % of a core. By then 0.13 s have passed.
_PAUSES = (0.0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.1)

#: Seconds for which an app may go on in vain while the server stops: time for whatever it does behind its response,
#: also for one of many parts. A stream with minutes between its events is given up with the second that nobody takes.
_LONGEST_VAIN = 0.5


class AppGivenUp(asyncio.CancelledError):
    """Raised out of an app's calls when the server stops and the app has ignored that its client is gone.

    Ends an exchange without another word; the server's own apps raise it where they have said why.
    """


class Turns:
    """When one exchange has last waited, and what it has tried in vain since."""

    #: When this one is over, by `time.monotonic`: who sends behind it gives others theirs. So does the first message of
    #: an app that has not waited yet.
    end = 0.0
    #: Vain calls that cost no more than a turn each, before the pauses begin.
    free = 0
    _vain = 0
    _vain_since = 0.0

    def taken(self) -> None:
        """The app has waited for something: others had their turn."""
        self.end = monotonic() + LONGEST_TURN
        self._vain = 0

    async def give(self) -> None:
        """Wait for one turn of the loop."""
        await asyncio.sleep(0)
        self.taken()

    async def give_in_vain(self, server_stops: Callable[[], bool]) -> None:
        """Wait because a call came to nothing: one turn of the loop, and longer from call to call.

        Raises AppGivenUp where the server stops: an app that has gone on like this for so long holds nobody up.
        """
        vain, last = self._vain, self.free + len(_PAUSES) - 1
        self._vain = min(vain + 1, last)
        if not vain:
            self._vain_since = monotonic()
        await asyncio.sleep(_PAUSES[max(vain - self.free, 0)])
        if server_stops() and monotonic() >= self._vain_since + _LONGEST_VAIN:
            raise AppGivenUp("the client is gone and the server stops")


class HttpTurns(Turns):
    """Messages to a client that is gone are free at first: the app is not told, and most of them are few."""

    free = 16

    def __init__(self) -> None:
        self.end = monotonic() + LONGEST_TURN
