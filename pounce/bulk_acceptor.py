"""Accepts connections that come in bulk, on a loop that takes one per handle and turn.

Runs on the server's loop (libuv, Linux). Knows nothing of: who made the sockets, and who else accepts on them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence

from pounce.names import LOGGER_ERROR

#: Handles that are added to a listening socket while connections come in bulk, how many must wait for that, and for how
#: many reviews in a row there must be fewer to take them away.
_MORE_HANDLES = 7
_MANY_WAITING = 4
_FEW_WAITING = 2
_QUIET_REVIEWS = 5

#: The beginning of `struct tcp_info`: eight bytes, four 32-bit numbers, then `tcpi_unacked`.
_TCP_INFO_UNACKED = struct.Struct("=24xI")

logger = logging.getLogger(LOGGER_ERROR)

Serve = Callable[[socket.socket], Awaitable[asyncio.Server]]


class BulkAcceptor:
    """Adds handles to the listening sockets of a server, on a loop that accepts one connection per handle and turn.

    Where each connection costs a whole turn (libuv), those that come in bulk cost up to half more; so while they queue
    up there are more handles on the same sockets. Not always: a single connection would wake all of them (a third
    more).
    """

    def __init__(self, sockets: Sequence[socket.socket], serve: Serve) -> None:
        """`serve` has the loop accept on one more socket."""
        self._sockets = sockets
        self._serve = serve
        self._more: list[asyncio.Server] = []
        self._quiet_reviews = 0

    async def review(self) -> None:
        """Look at the queues, and have as many handles as they ask for. To be called every tenth of a second."""
        try:
            if self._sockets:
                await self._adapt(max(map(_waiting, self._sockets)))
        except Exception as exc:  # whatever the system lacks, connections are accepted without this
            logger.debug("Cannot accept in bulk: %s", exc)
            self.close()

    async def _adapt(self, waiting: int) -> None:
        if self._more:
            self._quiet_reviews = self._quiet_reviews + 1 if waiting < _FEW_WAITING else 0
            if self._quiet_reviews >= _QUIET_REVIEWS:
                self._end_bulk()
        elif waiting >= _MANY_WAITING:
            self._quiet_reviews = 0
            await self._start_bulk()

    async def _start_bulk(self) -> None:
        for fd in [sock.fileno() for sock in self._sockets] * _MORE_HANDLES:
            try:
                sock = socket.socket(fileno=os.dup(fd))
            except OSError as exc:  # no descriptor is left: the connections need them more
                logger.debug("Cannot accept in bulk now: %s", exc)
                self._end_bulk()
                return
            self._more.append(await self._serve(sock))

    def _end_bulk(self) -> None:
        more, self._more = self._more, []
        for server in more:
            server.close()

    def close(self) -> None:
        """Take the handles away for good."""
        self._sockets = ()
        self._end_bulk()


def _waiting(listener: socket.socket) -> int:
    """How many connections wait to be accepted: `tcpi_unacked` of a listening socket (tcp(7), Linux)."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_UNACKED.size)
    return int(_TCP_INFO_UNACKED.unpack(info)[0])
