"""What a connection knows and does whatever it speaks: its worker and its two ends; over HTTP, its tasks and idle time.

Runs on the worker's loop. Compatible with uvicorn's protocol classes in the constructor and in the attributes that
observers read.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from pounce.asgi import ASGI3Application
from pounce.connection.flow import FlowControl
from pounce.connection.peer import get_local_addr, get_remote_addr, is_ssl, tls_of
from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.exchange.scope import EARLY_HINT, TRAILERS
from pounce.logs import TRACE_LOG_LEVEL
from pounce.middleware.proxy_headers import ProxyHeadersMiddleware
from pounce.names import LOGGER_ACCESS, LOGGER_ERROR
from pounce.wire.proxy_protocol import UNKNOWN_ORIGIN, Origin

# Once, not for every connection: looking a logger up takes a lock that all threads share.
_error_logger = logging.getLogger(LOGGER_ERROR)
_access_logger = logging.getLogger(LOGGER_ACCESS)


class Phase(enum.Enum):
    """What a connection is doing, for `Deadlines`, which alone looks at a clock."""

    BUSY = "busy"
    NEWLY_IDLE = "idle since the last sweep"
    IDLE = "idle since `idle_since`"
    NEW = "nothing has come yet"


class Input(enum.Enum):
    """What the client may still say."""

    OPEN = "requests"
    HALF_CLOSED = "nothing: it has closed its side, and may wait for answers"
    ENDED = "nothing that counts"


class Connection(asyncio.Protocol):
    """asyncio's view of one connection, whatever it speaks. Subclasses parse what comes and write what goes."""

    # Slots, since attribute access is fastest there and a class with more than 30 attributes has nothing better.
    __slots__ = (
        "app",
        "app_state",
        "asgi_version",
        "client",
        "config",
        "connections",
        "extensions",
        "flow",
        "logger",
        "loop",
        "origin",
        "root_path",
        "scheme",
        "server",
        "spec_version",
        "tasks",
        "traces",
        "transport",
    )

    def __init__(
        self,
        config: ConfigView,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Parameters as uvicorn's protocol classes have them, since users pass classes of their own as `http=`."""
        if not config.loaded:
            config.load()
        self.config = config
        self.app: ASGI3Application = config.loaded_app
        self.loop = _loop or asyncio.get_event_loop()
        self.logger = _error_logger
        #: Whether `trace` is to be called.
        self.traces = _error_logger.level <= TRACE_LOG_LEVEL
        self.root_path = config.root_path
        self.asgi_version = config.asgi_version
        self.spec_version: str = config.settings.asgi.spec
        #: What its scopes advertise, by name. The server's to change, before the first request.
        self.extensions: dict[str, dict[str, Any]] = {}
        self.app_state = app_state
        self.connections = server_state.connections
        self.tasks = server_state.tasks

        #: What a proxy has said of the connection before it began (PROXY protocol); given before it is made.
        self.origin: Origin | None = None

        # Known when it is made
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.flow: FlowControl = None  # type: ignore[assignment]
        self.server: tuple[str, int | None] | None = None
        self.client: tuple[str, int] | None = None
        self.scheme = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        origin = self.origin
        if origin is None or origin is UNKNOWN_ORIGIN:
            self.server = get_local_addr(transport)
            self.client = get_remote_addr(transport)
        else:
            self.client, self.server = origin

    def eof_received(self) -> bool | None:
        """The client sends no more: asyncio closes the transport, as with uvicorn."""
        return None

    def pause_writing(self) -> None:
        """The transport's write buffer is over its high-water mark."""
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """The transport's write buffer has room again."""
        self.flow.resume_writing()

    def exchanges(self) -> Sequence[Any]:
        """Those that are not complete: a cycle for each request and WebSocket."""
        return ()

    def trace(self, event: str) -> None:
        prefix = f"{self.client[0]}:{self.client[1]} - " if self.client else ""
        self.logger.log(TRACE_LOG_LEVEL, "%s%s", prefix, event)


class HttpConnection(Connection):
    """A connection that speaks HTTP, of any version."""

    __slots__ = (
        "_start_task",
        "accepted_at",
        "access_log",
        "access_logger",
        "context",
        "eager",
        "features",
        "first_byte_at",
        "holds_heads",
        "idle_since",
        "limit_concurrency",
        "observers",
        "phase",
        "proxy",
        "retiring",
        "server_state",
        "sweeps_idle",
        "timeout_keep_alive",
        "timeout_keep_alive_task",
        "trusts_peer",
        "writes_vectors",
    )

    def __init__(
        self,
        config: ConfigView,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """See `Connection`."""
        super().__init__(config, server_state, app_state, _loop)
        self.scheme = "http"
        self.access_logger = _access_logger
        self.access_log = _access_logger.hasHandlers()
        self.limit_concurrency = config.limit_concurrency
        self.timeout_keep_alive = config.timeout_keep_alive
        self.timeout_keep_alive_task: asyncio.TimerHandle | None = None
        self.phase = Phase.NEW
        self.idle_since = 0.0  # by `ServerState.clock`, once the phase is `IDLE`
        #: By that clock, too. Over TLS that is before the handshake.
        self.accepted_at = server_state.clock
        #: The worker is being replaced: the response to the next request closes the connection.
        self.retiring = False
        self.server_state = server_state
        self.observers = server_state.observers
        self.features = server_state.features
        self.extensions[EARLY_HINT] = {}
        self.extensions[TRAILERS] = {}
        #: When the request came that is being read, by `time.monotonic`, for features; 0: nobody asks, or none does.
        self.first_byte_at = 0.0
        self.sweeps_idle = server_state.sweeps_idle and config.timeout_keep_alive >= 1

        traits = server_state.loop_traits(self.loop)
        self.eager, self._start_task, self.holds_heads, self.writes_vectors = traits
        self.context: contextvars.Context | None = None

        # A trusted peer is trusted for the whole connection, so the middleware need not be awaited through.
        self.proxy: Any = self.app if type(self.app) is ProxyHeadersMiddleware else None
        self.trusts_peer = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        if is_ssl(transport):
            self.scheme = "https"
            self.extensions |= tls_of(transport)
        if not self.config.reset_contextvars:
            # Every request starts from the server's own context, never from that of the request before it.
            self.context = contextvars.copy_context()
        if self.proxy is not None:
            # Behind a proxy that does not know its client either, anybody may be.
            self.trusts_peer = self.origin is not UNKNOWN_ORIGIN and self.proxy.trusts(self.client, self.server)

    def owed(self, _limits: Any) -> Sequence[Any]:
        """What its client owes (`debts.Owed`) of that for which there are limits. Here: nothing."""
        return ()

    def server_stops(self) -> bool:
        """See `HttpChannel.server_stops`."""
        return self.server_state.stopping

    def is_over_limit(self, limit: int, unstarted: int = 0) -> bool:
        """Whether a request that has come is refused, because of `limit_concurrency`. See `ServerState.is_at_limit`."""
        if not self.server_state.is_at_limit(limit, unstarted):
            return False
        self.server_state.log_refusal(self.logger)
        return True

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def start_app(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run an exchange in a task of its own, as far as it gets now where tasks start eagerly."""
        context = self.context
        if context is None:
            # uvicorn: asyncio lets context variables leak from one task into the next (CPython issue 140947).
            task = self._start_task(coro, contextvars.Context())
        elif self.eager:
            task = self._start_task(coro, context.copy())
        else:
            # Not through the `context` argument, which a task factory or loop of the user's may not know. A copy, since
            # what the loop calls may run in the original.
            task = context.copy().run(self.loop.create_task, coro)
        if not (self.eager and task.done()):
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return task

    def start_keepalive(self) -> None:
        """The idle time begins, where no sweeper looks after it."""
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def unset_keepalive(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def timeout_keep_alive_handler(self) -> None:
        """The connection was idle for `timeout_keep_alive` seconds."""
        self.close()

    def close(self) -> None:
        """End the connection behind what was sent."""
        raise NotImplementedError
