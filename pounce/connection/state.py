"""What the connections of one worker share. Belongs to one event loop; nothing here is locked.

Compatible with uvicorn's `ServerState`, whose four attributes users read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from pounce.connection.flow import can_write_vectors
from pounce.connection.input_turns import InputTurns
from pounce.connection.tasks import TaskStarter, can_start_eagerly, start_task_on
from pounce.contracts import ConfigView
from pounce.exchange.features import Feature
from pounce.exchange.record import Observer
from pounce.logs import Refusals
from pounce.wire.header_cache import HeaderCache
from pounce.wire.strictness import Rules, rules_of


class LoopTraits(NamedTuple):
    """What a loop can do."""

    #: Whether tasks start eagerly, and what starts them.
    eager: bool
    start_task: TaskStarter
    #: Whether a head may wait for the first part of its body: not on a test double that calls nothing soon.
    holds_heads: bool
    writes_vectors: bool


class ServerState:
    """Counters, connection and task sets and default response headers of one worker (one event loop)."""

    def __init__(self) -> None:
        self.total_requests = 0
        self.connections: set[Any] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.default_headers: list[tuple[bytes, bytes]] = []
        #: Whether somebody sweeps idle connections (a running worker does); else each connection keeps a timer.
        self.sweeps_idle = False
        #: What begins now has begun by this time, which is that of the worker's `Deadlines`.
        self.clock = 0.0
        #: Whether this worker is on its way out.
        self.stopping = False
        #: Told what each exchange came to.
        self.observers: list[Observer] = []
        #: What changes exchanges before their apps run, in this order.
        self.features: list[Feature] = []
        #: Response fields that this worker's apps have sent before, made ready for the wire.
        self.header_cache = HeaderCache()
        #: Who goes on with what it has read, where that is much.
        self.input_turns = InputTurns()
        self._rules: Rules | None = None
        #: The states of all workers of this process, this one included: limits count the whole process.
        self.siblings: Sequence[ServerState] = (self,)

        self._over_concurrency = Refusals("Exceeded concurrency limit.")
        self._over_queue = Refusals("Exceeded queue limit.")
        self._over_connections = Refusals("Exceeded connection limit.", "connections")
        self._known_loop: asyncio.AbstractEventLoop | None = None
        self._loop_traits: LoopTraits | None = None

    def loop_traits(self, loop: asyncio.AbstractEventLoop) -> LoopTraits:
        """What connections must know of the loop they are on; found out once per loop."""
        if self._loop_traits is None or loop is not self._known_loop:
            self._known_loop = loop
            self._loop_traits = LoopTraits(
                can_start_eagerly(loop),
                start_task_on(loop),
                isinstance(loop, asyncio.AbstractEventLoop),
                can_write_vectors(loop),
            )
        return self._loop_traits

    def rules(self, config: ConfigView) -> Rules:
        """How strictly requests are read; made from the settings of the first connection."""
        if self._rules is None:
            self._rules = rules_of(config.settings.parsing)
        return self._rules

    def log_refusal(self, logger: logging.Logger) -> None:
        """Say that a request was refused, because of `limit_concurrency`."""
        self._over_concurrency.note(logger)

    def log_queue_refusal(self, logger: logging.Logger) -> None:
        """Say that a request was refused that did not come to its turn."""
        self._over_queue.note(logger)

    def log_connection_refusal(self, logger: logging.Logger) -> None:
        """Say that a connection was refused, because of `capacity.connections` or `capacity.connections_per_client`."""
        self._over_connections.note(logger)

    def log_refusals(self, logger: logging.Logger) -> None:
        """Say what was refused of which no line has told yet. To be called every second."""
        self._over_concurrency.tell(logger)
        self._over_queue.tell(logger)
        self._over_connections.tell(logger)

    def is_at_limit(self, limit: int, unstarted: int = 0) -> bool:
        """Whether `limit_concurrency` connections, or as many tasks, exist in this process.

        `unstarted`: requests of which there will be tasks.
        """
        if self.has_connections(limit):
            return True
        if len(self.siblings) == 1:
            return len(self.tasks) + unstarted >= limit
        return sum(len(state.tasks) for state in self.siblings) + unstarted >= limit

    def has_connections(self, limit: int) -> bool:
        """Whether so many connections exist in this process."""
        if len(self.siblings) == 1:
            return len(self.connections) >= limit
        return sum(len(state.connections) for state in self.siblings) >= limit
