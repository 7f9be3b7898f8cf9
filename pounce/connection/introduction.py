"""Who a connection is from, where a proxy says so before anything else: the PROXY protocol on an accepted socket.

Runs on the worker's loop, before the socket gets a transport: what follows may be TLS, and a loop begins that only with
bytes that nobody has read. So they are looked at first (MSG_PEEK), and those of the header alone are taken.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from time import monotonic

from pounce.addresses import Peers
from pounce.connection.accepted_socket import until
from pounce.names import LOGGER_ERROR
from pounce.wire.proxy_protocol import MAX_SIZE, HeaderReader, NoHeader, Origin

#: Seconds from one line about refused peers to the next.
_SILENCE = 1.0

logger = logging.getLogger(LOGGER_ERROR)


class NotIntroduced(OSError):
    """A peer that has to begin with the header did not, or went away."""


class Introductions:
    """Those of one worker's connections."""

    def __init__(self, peers: Iterable[str], limit: float) -> None:
        """`peers`: who has to begin with the header; nobody else may. `limit`: seconds for it; 0 is no limit."""
        self._peers = Peers(peers)
        self._limit = limit
        self._refused = 0
        self._silent_until = 0.0

    async def origin_of(self, sock: socket.socket) -> Origin | None:
        """Whose connection this is; None: the peer's own. Raises NotIntroduced, and what a broken socket raises.

        Exactly the header has been read from the socket then.
        """
        peer = _host_of(sock)
        if not self._peers.include(peer):
            return None
        reader = HeaderReader()
        try:
            late = NotIntroduced("no header of the PROXY protocol in time")
            await until(sock, lambda: _advance(sock, reader), self._limit, late)
        except NoHeader as exc:
            self._complain(peer, exc)
            raise NotIntroduced(str(exc)) from None
        return reader.origin

    def _complain(self, peer: str | None, reason: NoHeader) -> None:
        """One line a second: the proxy is set up wrongly, or this server, and each connection shows it."""
        self._refused += 1
        now = monotonic()
        if now >= self._silent_until:
            more = f" {self._refused} since the last such line." if self._refused > 1 else ""
            logger.warning("Closed a connection from %s, which began with %s.%s", peer or "a unix socket", reason, more)
            self._silent_until, self._refused = now + _SILENCE, 0


def _host_of(sock: socket.socket) -> str | None:
    """The address of the peer; None for a unix socket."""
    name = sock.getpeername()
    return str(name[0]) if isinstance(name, tuple) else None


def _advance(sock: socket.socket, reader: HeaderReader) -> bool:
    """Take what has come of the header. Whether that is all of it."""
    while not reader.is_complete:
        try:
            data = sock.recv(MAX_SIZE, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        if not data:
            raise NotIntroduced("the peer left within the header of the PROXY protocol")
        size = reader.feed(data)
        while size:
            size -= len(sock.recv(size))
    return True
