"""How the requests of a server end that is told to stop: one sequence, for one worker or for all threads of a process.

It waits for what is in hand; tells the apps of long responses (`--timeout-graceful-streams`); cancels what still runs
(`--timeout-graceful-shutdown`); cuts the connections that are left. Each step says in one line how much it concerns.
Before it come the listeners (`server`) and the idle connections (`Worker.retire_connections`), behind it the app's
shutdown. Runs on the server's loop. Compatible with uvicorn's `Server.shutdown` and its lines.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from pounce.contracts import ConfigView
from pounce.exchange.http_cycle import RequestResponseCycle, ResponseState
from pounce.names import LOGGER_ERROR

#: Seconds that tasks get to take note of their cancellation, and connections to send what is left.
_TIMEOUT_CUT = 0.5

_REQUEST, _STREAM, _WEBSOCKET = "request", "streaming response", "WebSocket"

logger = logging.getLogger(LOGGER_ERROR)


class InHand(NamedTuple):
    """What is not complete: requests without a response, responses that have begun, WebSockets."""

    requests: int = 0
    streams: int = 0
    websockets: int = 0

    @classmethod
    def on(cls, connections: Iterable[Any]) -> InHand:
        """What these connections are at. Classes of the user's own need not take part."""
        kinds = [_kind_of(exchange) for exchange in _exchanges(connections)]
        return cls(kinds.count(_REQUEST), kinds.count(_STREAM), kinds.count(_WEBSOCKET))

    def plus(self, other: InHand) -> InHand:
        """Both together."""
        return InHand(*map(sum, zip(self, other, strict=True)))

    def words(self, connections: int) -> str:
        """How many of each there are. Of `connections` those are told where nothing is in hand: they send, perhaps."""
        found = (
            _several(self.requests, _REQUEST),
            _several(self.streams, _STREAM),
            _several(self.websockets, _WEBSOCKET),
        )
        return ", ".join(filter(None, found)) or _several(connections, "connection")


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}" if count else ""


def _exchanges(connections: Iterable[Any]) -> Iterable[Any]:
    for connection in list(connections):
        exchanges = getattr(connection, "exchanges", None)
        if exchanges is not None:
            yield from exchanges()


def _kind_of(exchange: Any) -> str:
    if not isinstance(exchange, RequestResponseCycle):
        return _WEBSOCKET
    return _REQUEST if exchange.state is ResponseState.NOTHING else _STREAM


def tell_streams(connections: Iterable[Any]) -> None:
    """Tell the apps of responses that have begun to end."""
    for exchange in _exchanges(connections):
        if _kind_of(exchange) == _STREAM:
            exchange.on_stop()


class DrainLimits(NamedTuple):
    """Seconds after which a step is taken; None: never."""

    streams: float | None
    requests: float | None

    @classmethod
    def of(cls, config: ConfigView) -> DrainLimits:
        """What a config says."""
        return cls(config.settings.deadlines.graceful_streams, config.timeout_graceful_shutdown)


class Draining(Protocol):
    """One worker, or all of a process. Each call is about what is left."""

    def is_drained(self) -> bool:
        """Whether there is nothing to wait for."""

    def left(self) -> tuple[int, int]:
        """How many connections and tasks there are."""

    async def in_hand(self) -> InHand:
        """What they are at."""

    async def pause(self) -> None:
        """Wait for a moment, or until something has ended."""

    def tell_streams(self) -> None:
        """Tell the apps of responses that have begun to end."""

    def cancel_tasks(self) -> None:
        """Cancel the apps."""

    def abort_connections(self) -> None:
        """Cut the connections."""


async def drain(workers: Draining, limits: DrainLimits, is_forced: Callable[[], bool]) -> bool:
    """Wait for what is in hand, within the limits. Whether that was enough; True where `is_forced()` ended it."""
    begun = time.monotonic()
    waiting = _Waiting(workers, is_forced)
    if limits.streams is not None and (limits.requests is None or limits.streams < limits.requests):
        if await waiting.until(begun + limits.streams):
            return True
        streams = (await workers.in_hand()).streams
        if streams and not is_forced():
            logger.info("Telling %s to end, timeout graceful streams exceeded", _several(streams, _STREAM))
            workers.tell_streams()
    if await waiting.until(None if limits.requests is None else begun + limits.requests) or is_forced():
        return True
    logger.error("Cancel %s running task(s), timeout graceful shutdown exceeded", workers.left()[1])
    workers.cancel_tasks()
    if not await waiting.until(time.monotonic() + _TIMEOUT_CUT, says=False) and (connections := workers.left()[0]):
        logger.error("Cutting %s, timeout graceful shutdown exceeded", _several(connections, "connection"))
        workers.abort_connections()
    return False


class _Waiting:
    """The waits of one end. Says once each what it waits for."""

    def __init__(self, workers: Draining, is_forced: Callable[[], bool]) -> None:
        self._workers = workers
        self._is_forced = is_forced
        self._said: set[str] = set()

    async def until(self, deadline: float | None, says: bool = True) -> bool:
        """Whether nothing is left before the deadline (by `time.monotonic`)."""
        while not self._workers.is_drained():
            if self._is_forced() or (deadline is not None and time.monotonic() >= deadline):
                return False
            if says:
                await self._say(*self._workers.left())
            await self._workers.pause()
        return True

    async def _say(self, connections: int, tasks: int) -> None:
        what = "connections to close" if connections else "background tasks to complete"
        if (connections or tasks) and what not in self._said:
            self._said.add(what)
            words = (await self._workers.in_hand()).words(connections) if connections else _several(tasks, "task")
            logger.info("Waiting for %s. (CTRL+C to force quit) Left: %s", what, words)
