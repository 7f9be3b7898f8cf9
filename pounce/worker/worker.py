"""One event loop that serves: its state, lifespan, clock and connections.

Runs on one loop, on whichever thread runs that loop; only methods that end in `_threadsafe` may be called from another.
Knows nothing of: signals, listening sockets of others, processes. Answers to: uvicorn's `Server` for what a tick does,
and in which order a shutdown goes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from pounce.connection.state import ServerState
from pounce.contracts import ConfigView, Lifespan
from pounce.names import LOGGER_ERROR

#: Seconds between two ticks: heartbeat, exit flags, idle connections.
TICK_INTERVAL = 0.1

#: Ticks between two sweeps over idle connections. A keep-alive timeout is exact to this many ticks.
_TICKS_PER_SWEEP = 5
_TICKS_PER_SECOND = 10

logger = logging.getLogger(LOGGER_ERROR)


class Worker:
    """What one event loop needs to serve an app. `config` must be loaded and is used by this worker alone."""

    def __init__(self, config: ConfigView, name: str = "pounce-worker-0", state: ServerState | None = None) -> None:
        """`state` is given where somebody else has a hold on it already (`Server.server_state`)."""
        self.config = config
        self.name = name
        self.state = ServerState() if state is None else state
        self.lifespan: Lifespan = config.lifespan_class(config)
        self.heartbeat = time.monotonic()
        self.retiring = False
        self._ticks = 0

    def create_protocol(self, _loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Protocol:
        """A protocol for one accepted connection."""
        protocol: Any = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.state, app_state=self.lifespan.state, _loop=_loop
        )
        if self.retiring:
            protocol.retiring = True  # accepted before the listeners closed, connected after
        return protocol  # type: ignore[no-any-return]

    # The clock

    def tick(self) -> None:
        """To be called every `TICK_INTERVAL` seconds on this worker's loop."""
        self.heartbeat = time.monotonic()
        if self._ticks % _TICKS_PER_SECOND == 0:
            self.refresh_default_headers()
        if self._ticks % _TICKS_PER_SWEEP == 0:
            self._sweep_idle(self.heartbeat)
        self._ticks += 1

    def refresh_default_headers(self) -> None:
        """Make this second's default headers: a new list, so that responses under way keep the one they began with."""
        headers = list(self.config.encoded_headers)
        if self.config.date_header:
            headers.insert(0, (b"date", formatdate(time.time(), usegmt=True).encode("ascii")))
        self.state.default_headers = headers

    def _sweep_idle(self, now: float) -> None:
        """Close connections that have been idle for the keep-alive timeout: one pass here, no timer per request."""
        self.state.sweeps_idle = True
        expired = now - self.config.timeout_keep_alive
        for connection in list(self.state.connections):
            idle = getattr(connection, "idle", 0.0)
            if idle < 0.0:
                connection.idle = now
            elif 0.0 < idle <= expired:
                connection.timeout_keep_alive_handler()

    # The end

    async def retire_connections(self, linger: float, is_forced: Callable[[], bool]) -> None:
        """Tell every connection to end. An idle one gets `linger` seconds to send the request that may be under way."""
        self.retiring = True
        if linger > 0 and self.state.connections:
            deadline = time.monotonic() + linger
            for connection in list(self.state.connections):
                shutdown_when_idle = getattr(connection, "shutdown_when_idle", None)
                if shutdown_when_idle is not None:
                    shutdown_when_idle()
                else:
                    connection.shutdown()
            while self.state.connections and time.monotonic() < deadline and not is_forced():
                await asyncio.sleep(0.02)
                self.heartbeat = time.monotonic()
        for connection in list(self.state.connections):
            connection.shutdown()

    async def wait_drained(self, is_forced: Callable[[], bool], log: bool = True) -> None:
        """Wait until no connection and then no task is left, or until `is_forced()`."""
        for left, noun in ((self.state.connections, "connections to close"), (self.state.tasks, "background tasks to complete")):
            if left and not is_forced():
                if log:
                    logger.info("Waiting for %s. (CTRL+C to force quit)", noun)
                while left and not is_forced():
                    await asyncio.sleep(0.05)
                    self.heartbeat = time.monotonic()

    def cancel_tasks(self) -> None:
        """Cancel what still runs after `timeout_graceful_shutdown`."""
        for task in list(self.state.tasks):
            task.cancel(msg="Task cancelled, timeout graceful shutdown exceeded")

    def abort_connections(self) -> None:
        """Cut every connection that is left, written or not: the user asked twice."""
        for connection in list(self.state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
