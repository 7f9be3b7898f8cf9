"""How many connections a process takes, in all and of one client, and what those get that are too many.

`--limit-connections` and `--limit-connections-per-client`. Counted are sockets: from when they are accepted until their
descriptor is given up, whichever way that comes about, and whatever is spoken by then. Whoever accepts asks for a
`Seat`, workers turn away those for whom there is none, and idle connections make room for new ones (`Idle`). Knows
nothing of: requests, protocols. Who does not use it has plain sockets.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

from pounce.connection.base import Phase
from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.exchange.server_responses import TOO_MANY_CONNECTIONS
from pounce.middleware.proxy_headers import ProxyHeadersMiddleware

#: Bytes of what a client has sent already that are read before its connection is closed: unread, they would have the
#: system reset the connection, and the client might not see its answer.
_UNREAD = 65536


class Seat:
    """What the limits say of one accepted connection, which is counted until `leave`."""

    __slots__ = ("_limits", "client", "is_extra", "is_refused")

    def __init__(self, limits: ConnectionLimits, client: Any, is_extra: bool, is_refused: bool) -> None:
        self._limits: ConnectionLimits | None = limits
        #: Under which its client is counted; None: it is not.
        self.client = client
        #: There is room only in place of an idle connection.
        self.is_extra = is_extra
        #: There is no room.
        self.is_refused = is_refused

    def leave(self) -> None:
        """The connection is gone. What is told after the first time changes nothing."""
        limits, self._limits = self._limits, None
        if limits is not None:
            limits.on_left(self.client)


class SeatedSocket(socket.socket):
    """A connection's socket that leaves its seat with its descriptor: closed, taken over by libuv, or forgotten."""

    __slots__ = ("seat",)

    seat: Seat

    def close(self) -> None:
        """See `socket.socket`."""
        super().close()
        if self.fileno() < 0:  # and nobody has a reference to its file any more
            self.seat.leave()

    def detach(self) -> int:
        """See `socket.socket`: whoever asks closes the descriptor now."""
        fd = super().detach()
        self.seat.leave()
        return fd

    def __del__(self) -> None:
        self.seat.leave()


class ConnectionLimits:
    """Those of one process. Called by any thread."""

    def __init__(self, most: int, most_per_client: int, trusts: Callable[[str], bool]) -> None:
        """0: no limit. Clients that `trusts` knows by their address have no limit of their own."""
        self._most = most
        self._most_per_client = most_per_client
        self._trusts = trusts
        self._lock = threading.Lock()
        #: Connections there are.
        self.count = 0
        self._by_client: dict[Any, int] = {}

    @classmethod
    def of(cls, config: ConfigView) -> ConnectionLimits | None:
        """Those that the settings ask for."""
        capacity = config.settings.capacity
        if not capacity.connections and not capacity.connections_per_client:
            return None
        no_app: Any = None
        trusted = ProxyHeadersMiddleware(no_app, config.forwarded_allow_ips or []).trusted_hosts
        return cls(capacity.connections, capacity.connections_per_client, trusted.__contains__)

    def seat(self, address: Any) -> Seat:
        """For a connection from this address, as accept(2) tells it."""
        client = self._client_at(address) if self._most_per_client else None
        with self._lock:
            is_refused = False
            if client is not None:
                of_client = self._by_client.get(client, 0)
                is_refused = of_client >= self._most_per_client
                self._by_client[client] = of_client + 1
            is_extra = 0 < self._most <= self.count
            self.count += 1
        return Seat(self, client, is_extra, is_refused)

    def on_left(self, client: Any) -> None:
        """Told by a seat."""
        with self._lock:
            self.count -= 1
            if client is not None:
                left = self._by_client[client] - 1
                if left:
                    self._by_client[client] = left
                else:
                    del self._by_client[client]

    def _client_at(self, address: Any) -> Any:
        """Under what an address is counted: an IPv6 network of 64 bits is one client's (RFC 6177). None: not at all."""
        if not isinstance(address, tuple):
            return None  # a unix socket
        host: str = address[0]
        if self._trusts(host):
            return None
        if ":" not in host:
            return host
        packed = IPv6Address(host.partition("%")[0])
        mapped = packed.ipv4_mapped
        if mapped is None:
            return int(packed) >> 64
        return None if self._trusts(str(mapped)) else str(mapped)


class Idle:
    """The idle connections of one worker, which end where there is no room for new ones: who was idle first goes first.

    All on its loop. One that was at work a moment ago, up to half a second, is not idle: its next request may be on its
    way.
    """

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._found: list[Any] = []
        self._has_looked = False

    def makes_room(self) -> bool:
        """End one, if there is any. Looks at all connections no more than once a tick."""
        while True:
            while self._found:
                connection = self._found.pop()
                if _is_idle(connection):
                    connection.timeout_keep_alive_handler()
                    return True
            if self._has_looked:
                return False
            self._has_looked = True
            found = [connection for connection in self._state.connections if _is_idle(connection)]
            self._found = sorted(found, key=lambda connection: connection.idle_since, reverse=True)

    def on_tick(self) -> None:
        """A tick of the worker."""
        self._found = []
        self._has_looked = False


def _is_idle(connection: Any) -> bool:
    # Classes of the user's own need not take part.
    return getattr(connection, "phase", None) is Phase.IDLE and not connection.transport.is_closing()


def turn_away(sock: socket.socket, is_tls: bool) -> None:
    """503 and the end, or the end alone where a client would not understand it. Nothing is waited for."""
    with contextlib.suppress(OSError):
        if not is_tls:
            sock.setblocking(False)
            sock.send(TOO_MANY_CONNECTIONS)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(_UNREAD)
    sock.close()
