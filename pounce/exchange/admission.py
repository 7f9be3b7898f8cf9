"""The queue in front of an app (`--limit-running`, `--limit-queue`): who may run, who waits for that, and who gets 503.

`Admission` is a feature, one per worker and on its loop: it puts itself in the place of the app, and runs that in the
request's turn. First come, first served, over all connections; a turn ends when the app returns. Requests that find the
queue full, or have waited for too long, are refused, which costs little: under ten times its load an app goes on to
answer as many as it can. Knows nothing of: connections, parsers. WebSockets do not come here: they last.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.exchange.server_responses import SERVER_ANSWERS, overloaded
from pounce.settings import Capacity


class _Place:
    """One request in the queue. To its exchange it is an event, which is set when something arrives."""

    __slots__ = ("admission", "cycle", "since", "turn")

    def __init__(self, admission: Admission, cycle: RequestResponseCycle, loop: asyncio.AbstractEventLoop) -> None:
        self.admission = admission
        self.cycle = cycle
        self.since = loop.time()
        #: Whether the app may run.
        self.turn: asyncio.Future[bool] = loop.create_future()

    def set(self) -> None:
        """See `RequestResponseCycle.watch`."""
        if self.cycle.disconnected:
            self.admission.refuse(self)


class Admission:
    """Who runs and who waits on one worker. Made anywhere; all else is on its loop."""

    def __init__(self, settings: Capacity, refused: Callable[[], object]) -> None:
        """`refused` is called for each request that is answered with 503."""
        self._limit = settings.running
        self._most_waiting = settings.queue
        self._timeout = settings.queue_timeout or math.inf
        self._refused = refused
        #: Requests whose turn it is, those included that ended in this turn of the loop.
        self.running = 0
        self._ended = 0
        self._places: OrderedDict[_Place, None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._places)

    def __call__(self, cycle: RequestResponseCycle) -> None:
        """Have an exchange wait for its turn, if there is an app to run: the server's own answers come at once."""
        if not any(cycle.app is answer for answer in SERVER_ANSWERS):
            cycle.app = Admitted(self, cycle)

    def enters(self) -> bool:
        """Whether it is a new request's turn at once: nobody else waits for it."""
        if self.running >= self._limit:
            return False
        self.running += 1
        return True

    async def waits(self, cycle: RequestResponseCycle) -> bool:
        """Wait for the request's turn. False where there is none: the queue is full, it took too long, the client left.

        Nor is there one for a request whose task is cancelled: the server stops, and does not wait for requests.
        """
        if len(self._places) >= self._most_waiting:
            return False
        place = _Place(self, cycle, asyncio.get_running_loop())
        self._places[place] = None
        if self._timer is None:
            self._watch()
        cycle.watch(place)
        try:
            return await place.turn
        except asyncio.CancelledError:
            if self._places.pop(place, place) is place and not place.turn.cancelled() and place.turn.result():
                self.leaves()
            return False
        finally:
            cycle.watch(None)

    def refuse(self, place: _Place) -> None:
        """Its turn will not come."""
        if not place.turn.done():
            self._places.pop(place, None)
            place.turn.set_result(False)

    def leaves(self) -> None:
        """A turn is over: the next request's begins in the next turn of the loop.

        Also where nobody waits: who comes until then does. So an app that blocks, or does not wait for anything, is run
        once in a turn, and what came meanwhile is read and has its place before it is run again.
        """
        loop = asyncio._get_running_loop()
        if loop is None:
            return  # a coroutine that is thrown away, behind the end of its loop
        if self._next() is None:
            if not self._ended:
                loop.call_soon(self._free)
            self._ended += 1

    def _next(self) -> _Place | None:
        """Give a turn to who has waited for longest."""
        while self._places:
            place, _ = self._places.popitem(last=False)
            if not place.turn.done():  # else its task was cancelled, and has not noticed yet
                place.turn.set_result(True)
                return place
        return None

    def _free(self) -> None:
        ended, self._ended = self._ended, 0
        while ended and self._next() is not None:
            ended -= 1
        self.running -= ended

    def on_refusal(self) -> int:
        """One more is answered with 503. Returns after how many seconds to try again: as long as the next one waits."""
        self._refused()
        first = next(iter(self._places), None)
        waited = asyncio.get_running_loop().time() - first.since if first is not None else 0
        return max(1, math.ceil(waited))

    # One timer for all: the first one to come is the first one to be late.

    def _watch(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._places:
            first = next(iter(self._places))
            if loop.time() < first.since + self._timeout:
                if self._timeout < math.inf:
                    self._timer = loop.call_at(first.since + self._timeout, self._watch)
                return
            self.refuse(first)


class Admitted:
    """The app of one exchange, which waits for its turn. `app` is what it then runs."""

    __slots__ = ("_admission", "_cycle", "app")

    def __init__(self, admission: Admission, cycle: RequestResponseCycle) -> None:
        self._admission = admission
        self._cycle = weakref.ref(cycle)  # which has this: no cycle of references
        self.app: Any = cycle.app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        """See ASGI."""
        admission = self._admission
        if not admission.enters():
            cycle = self._cycle()
            if cycle is None or not await admission.waits(cycle):
                if cycle is not None and not cycle.disconnected:
                    await overloaded(send, admission.on_refusal())
                return None
        try:
            return await self.app(scope, receive, send)
        finally:
            admission.leaves()
