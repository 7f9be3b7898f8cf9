"""One event loop that serves: its state, lifespan, clock and connections.

Runs on one loop, on whichever thread runs that loop; only methods that end in `_threadsafe` may be called from another.
Knows nothing of: signals, listening sockets of others, processes. Compatible with uvicorn's `Server` in what a tick
does, and in which order a shutdown goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from pounce.connection.deadlines import Deadlines, limits_of
from pounce.connection.state import ServerState
from pounce.connection.tasks import TaskStarter, can_start_eagerly, start_task_on
from pounce.contracts import ConfigView, Lifespan
from pounce.exchange.features import features_of
from pounce.names import LOGGER_ERROR
from pounce.wire.proxy_protocol import Origin
from pounce.worker.connection_limits import Idle, Seat, SeatedSocket, turn_away
from pounce.worker.drain import DrainLimits, InHand, drain, tell_streams

if TYPE_CHECKING:
    from pounce.connection.handshakes import Handshakes
    from pounce.connection.introduction import Introductions

#: Seconds between two ticks: heartbeat, exit flags, idle connections.
TICK_INTERVAL = 0.1

_TICKS_PER_SECOND = 10

#: Seconds that tasks get to take note of their cancellation where nobody waits for requests any more.
_TIMEOUT_UNHEARD = 0.2

#: Seconds between two looks at what is left.
_LOOK_INTERVAL = 0.05

#: Seconds for a TLS handshake where `--timeout-head` sets no limit, as asyncio has them; and those that one has at
#: least which has begun late, but in time.
_TIMEOUT_HANDSHAKE = 60.0
_LEAST_FOR_HANDSHAKE = 1.0

#: An accepted connection on its way to its worker: descriptor, address family, socket type, protocol, and where there
#: are limits, what they say.
Accepted = tuple[int, int, int, int, Seat | None]

logger = logging.getLogger(LOGGER_ERROR)


class Worker:
    """What one event loop needs to serve an app. `config` must be loaded and is used by this worker alone."""

    def __init__(self, config: ConfigView, name: str = "pounce-worker-0", state: ServerState | None = None) -> None:
        """`state` is given where somebody else has a hold on it already (`Server.server_state`)."""
        self.config = config
        self.name = name
        self.state = ServerState() if state is None else state
        state = self.state
        state.features[:] = features_of(
            config.settings, logger, config.encoded_headers, lambda: state.log_queue_refusal(logger)
        )
        self.lifespan: Lifespan = config.lifespan_class(config)
        self.heartbeat = time.monotonic()
        #: Every connection is to end with the response it is at.
        self.retiring = False
        #: Accepted sockets that are connections by now, or have failed to become one. Written on this loop alone.
        self.adopted = 0
        self._deadlines = Deadlines(self.state, config.timeout_keep_alive, limits_of(config.settings))
        #: For whatever makes connections of a loop: how TLS is spoken, if at all, and how long a handshake may take.
        self.tls_options: dict[str, Any] = {"ssl": config.ssl}
        head = config.settings.deadlines.head
        self._handshakes: Handshakes | None = None
        if config.ssl is not None:
            self.tls_options["ssl_handshake_timeout"] = head or _TIMEOUT_HANDSHAKE
            if sys.platform != "win32":  # whose own loop has no readers
                from pounce.connection.handshakes import Handshakes

                self._handshakes = Handshakes()
        self._introductions: Introductions | None = None
        if config.settings.proxy_protocol.peers:
            from pounce.connection.introduction import Introductions

            self._introductions = Introductions(config.settings.proxy_protocol.peers, head)
        #: What a client says first is looked at while its socket has no transport.
        self.hears_first = self._introductions is not None or self._handshakes is not None
        #: The client has something to say before it is connected: a TLS handshake, whose it is.
        self._connects_late = config.ssl is not None or self.hears_first
        self._connecting: set[asyncio.Task[None]] = set()
        self._idle = Idle(self.state)
        self._start_task: TaskStarter | None = None
        self._ticks = 0
        self._lifespan_end: asyncio.Future[None] | None = None
        #: Whether the app's shutdown took longer than it may.
        self.lifespan_was_late = False

    def create_protocol(
        self,
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        origin: Origin | None = None,
        accepted_at: float | None = None,
    ) -> asyncio.Protocol:
        """A protocol for one connection. `origin`: what a proxy has said of it. `accepted_at`: by `state.clock`."""
        protocol: Any = self.config.http_protocol_class(
            config=self.config, server_state=self.state, app_state=self.lifespan.state, _loop=_loop
        )
        if self.retiring:
            protocol.retiring = True  # accepted before the listeners closed, connected after
        if origin is not None:
            with contextlib.suppress(AttributeError):  # a class of the user's own, with slots
                protocol.origin = origin
        if accepted_at is not None:
            with contextlib.suppress(AttributeError):
                protocol.accepted_at = accepted_at
        return protocol  # type: ignore[no-any-return]

    def take(self, accepted: Accepted) -> None:
        """Make a connection of what somebody else has accepted, or turn it away. On this worker's loop."""
        fd, family, kind, proto, seat = accepted
        if seat is None:
            self.adopt(socket.socket(family, kind, proto, fileno=fd))
            return
        sock = SeatedSocket(family, kind, proto, fileno=fd)
        sock.seat = seat
        if not seat.is_refused and (not seat.is_extra or self._idle.makes_room()):
            self.adopt(sock)
        else:
            turn_away(sock, self.config.ssl is not None)
            self.adopted += 1
            self.state.log_connection_refusal(logger)

    def adopt(self, sock: socket.socket) -> None:
        """Make a connection of a socket that somebody else has accepted. On this worker's loop."""
        loop = asyncio.get_running_loop()
        if self._start_task is None:
            self._start_task = start_task_on(loop)
            self._counts_early = not self._connects_late and can_start_eagerly(loop)
        task = self._start_task(self._connect(loop, sock), None)
        if task.done():
            self.adopted += self._counts_early
        elif self._counts_early:
            # By now the loop has `connection_made` in its queue; this goes right behind it, so that whoever balances
            # counts the connection neither twice nor not at all for longer than that.
            loop.call_soon(self._count_adopted)
        else:
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        protocol: Any = None
        try:
            sock.setblocking(False)
            heard: dict[str, Any] = {}
            options = self.tls_options
            if self.hears_first:
                heard, options = await self._hear(loop, sock)
            protocol = self.create_protocol(**heard)
            await loop.connect_accepted_socket(lambda: protocol, sock, **options)
        except BaseException as exc:
            sock.close()
            if isinstance(exc, OSError):
                # A client that went away, or failed the TLS handshake. asyncio's own servers keep quiet about it, too.
                logger.debug("Connection lost before it was set up: %s", exc)
                # Through the frames of the error, futures and TLS objects hold each other. Left to the garbage
                # collector, those of a few thousand such clients have the loop stand still for 0.1 s.
                exc.__traceback__ = exc.__context__ = None
                if hasattr(protocol, "let_go"):
                    protocol.let_go()
            elif isinstance(exc, Exception):
                logger.error("Cannot serve a connection", exc_info=exc)
            else:
                raise
        finally:
            if not self._counts_early:
                self.adopted += 1  # here and not in a callback of the task: until then the connection counts twice

    async def _hear(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What comes before there is a transport: whose the connection is, and when its TLS handshake may begin.

        Returns what its protocol is made with, and its `tls_options`: all has to be there within the deadline of the
        first head, but for the time that the client waited for others.
        """
        options, accepted_at, begun = self.tls_options, self.state.clock, loop.time()
        limit = options.get("ssl_handshake_timeout", 0.0)
        origin = None
        if self._introductions is not None:
            origin = await self._introductions.origin_of(sock)
        if self._handshakes is not None:
            await self._handshakes.first_message(sock, max(limit - (loop.time() - begun), 0.01))
        if limit:
            left = limit - (loop.time() - begun)
            options = {**options, "ssl_handshake_timeout": max(left, min(limit, _LEAST_FOR_HANDSHAKE))}
        if self._handshakes is not None:
            spoke_at = self.state.clock
            await self._handshakes.turn(sock)
            accepted_at += self.state.clock - spoke_at
        return {"origin": origin, "accepted_at": accepted_at}, options

    def _count_adopted(self) -> None:
        self.adopted += 1

    # Asked by a supervisor, from any thread

    def heartbeats(self) -> list[tuple[str, float]]:
        """This worker's name, with the seconds since its loop last turned."""
        return [(self.name, time.monotonic() - self.heartbeat)]

    # The clock

    def tick(self) -> None:
        """To be called every `TICK_INTERVAL` seconds on this worker's loop."""
        self.heartbeat = time.monotonic()
        if self._ticks % _TICKS_PER_SECOND == 0:
            self.refresh_default_headers()
            self.state.log_refusals(logger)
        self.state.sweeps_idle = True
        self._deadlines.sweep(self.heartbeat)
        self._ticks += 1
        self._idle.on_tick()

    def refresh_default_headers(self) -> None:
        """Make this second's default headers: a new list, so that responses under way keep the one they began with."""
        headers = list(self.config.encoded_headers)
        if self.config.date_header:
            headers.insert(0, (b"date", formatdate(time.time(), usegmt=True).encode("ascii")))
        self.state.default_headers = headers

    # The end

    async def retire_connections(self, linger: float, is_forced: Callable[[], bool]) -> None:
        """Tell every connection to end. An idle one gets `linger` seconds to send the request that may be under way."""
        self.retiring = self.state.stopping = True
        if linger > 0:
            await asyncio.sleep(0)  # connections that are just being made
            deadline = time.monotonic() + linger
            for connection in list(self.state.connections):
                getattr(connection, "shutdown_when_idle", connection.shutdown)()
            while (self.state.connections or self._connecting) and time.monotonic() < deadline and not is_forced():
                await asyncio.sleep(0.02)
                self.heartbeat = time.monotonic()
        if self._connects_late:
            for task in self._connecting:
                task.cancel()  # no request was sent yet
        for connection in list(self.state.connections):
            connection.shutdown()

    async def drain(self, linger: float, is_forced: Callable[[], bool]) -> bool:
        """End every connection with the response it is at. Whether that took no longer than it may."""
        await self.retire_connections(linger, is_forced)
        await asyncio.sleep(0.1)
        return await drain(self, DrainLimits.of(self.config), is_forced)

    async def finish(self, is_forced: Callable[[], bool]) -> None:
        """Run the app's shutdown; where nobody waits for that, cut what is left."""
        if not is_forced():
            await self.shut_lifespan_down(is_forced)
        if is_forced():
            await self.cut_short()
        if is_forced() or self.lifespan_was_late:
            await self.abandon_lifespan()

    # See `drain.Draining`

    def is_drained(self) -> bool:
        """Whether there is nothing to wait for."""
        return not self.state.connections and not self.state.tasks

    def left(self) -> tuple[int, int]:
        """How many connections and tasks there are."""
        return len(self.state.connections), len(self.state.tasks)

    async def in_hand(self) -> InHand:
        """What the connections are at."""
        return InHand.on(self.state.connections)

    async def pause(self) -> None:
        """Wait for a moment. Deadlines go on: a client that does not move holds nobody up for longer."""
        await asyncio.sleep(_LOOK_INTERVAL)
        self.heartbeat = time.monotonic()
        self._deadlines.sweep(self.heartbeat)

    def tell_streams(self) -> None:
        """Tell the apps of responses that have begun to end."""
        tell_streams(self.state.connections)

    def cancel_tasks(self) -> None:
        """Cancel what still runs after `timeout_graceful_shutdown`."""
        for task in list(self.state.tasks):
            task.cancel(msg="Task cancelled, timeout graceful shutdown exceeded")

    async def shut_lifespan_down(self, is_forced: Callable[[], bool]) -> None:
        """Run the app's own end, until it is over, late, or `is_forced()`: the loop is alive meanwhile.

        May be called again where the first call was cancelled.
        """
        if self._lifespan_end is None:
            self._lifespan_end = asyncio.ensure_future(self.lifespan.shutdown())
        limit = self.config.settings.deadlines.lifespan_shutdown
        deadline = None if limit is None else time.monotonic() + limit
        while not self._lifespan_end.done() and not is_forced():
            self.heartbeat = now = time.monotonic()
            if deadline is not None and now >= deadline:
                logger.error("Application shutdown has not completed within %g seconds. Exiting.", limit)
                self.lifespan_was_late = True
                break
            timeout = TICK_INTERVAL if deadline is None else min(TICK_INTERVAL, deadline - now)
            await asyncio.wait({self._lifespan_end}, timeout=timeout)
        if self._lifespan_end.done():
            self._lifespan_end.result()
        else:
            self._lifespan_end.cancel()

    async def abandon_lifespan(self) -> None:
        """End the app's lifespan call where it is, without a word about how it takes that."""
        abandon = getattr(self.lifespan, "abandon", None)  # one that a user wrote may not have it
        if abandon is not None:
            await abandon()

    async def cut_short(self) -> None:
        """Cut the connections that are left, and end what runs behind them: nobody waits for requests any more.

        How an app takes that is not logged; it is what was asked for, not an event.
        """
        tasks = set(self.state.tasks)
        with _unheard(tasks):
            self.abort_connections()
            await asyncio.sleep(0)  # a disconnect ends an app more gently than a cancellation
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_TIMEOUT_UNHEARD)

    def abort_connections(self) -> None:
        """Cut every connection that is left, written or not."""
        for connection in list(self.state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()


@contextlib.contextmanager
def _unheard(tasks: set[asyncio.Task[None]]) -> Iterator[None]:
    """Meanwhile, log no exception of these tasks."""

    def passes(record: logging.LogRecord) -> bool:
        # A thread may log, and has no loop.
        return not record.exc_info or asyncio._get_running_loop() is None or asyncio.current_task() not in tasks

    logger.addFilter(passes)
    try:
        yield
    finally:
        logger.removeFilter(passes)
