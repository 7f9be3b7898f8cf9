"""The sockets a server listens on by itself, and the line that says where.

Runs on the server's loop, at startup. Where a supervisor binds the socket beforehand, see `config/sockets`. Answers to:
uvicorn's `Server.startup`: the same addresses, file modes and messages.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pounce.contracts import ConfigView
from pounce.logs import style
from pounce.names import LOGGER_ERROR, banner

logger = logging.getLogger(LOGGER_ERROR)

#: Everybody may connect to a unix socket; who may reach it is up to its directory.
_UDS_MODE = 0o666

#: Handles that are added to a listening socket while connections come in bulk, how many must wait for that, and for how
#: many reviews in a row there must be fewer to take them away.
_MORE_HANDLES = 7
_MANY_WAITING = 4
_FEW_WAITING = 2
_QUIET_REVIEWS = 5

#: The beginning of `struct tcp_info`: eight bytes, four 32-bit numbers, then `tcpi_unacked`.
_TCP_INFO_UNACKED = struct.Struct("=24xI")

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


async def create_listeners(
    config: ConfigView, factory: ProtocolFactory, sockets: Sequence[socket.socket] | None
) -> list[Any]:
    """Listen on the running loop: on these sockets, or where the config says. Returns asyncio servers."""
    loop = asyncio.get_running_loop()
    settings = _settings(config)
    if sockets is not None:
        return [await loop.create_server(factory, sock=sock, **settings) for sock in sockets]
    if config.fd is not None:
        return [await loop.create_server(factory, sock=_inherited(config.fd), **settings)]
    if config.uds is not None:
        mode = _mode_for(config.uds)
        server = await loop.create_unix_server(factory, path=config.uds, **settings)
        os.chmod(config.uds, mode)
        return [server]
    return [await loop.create_server(factory, host=config.host, port=config.port, **settings)]


def bulk_acceptors(
    config: ConfigView,
    factory: ProtocolFactory,
    sockets: Sequence[socket.socket] | None,
    servers: Sequence[asyncio.Server],
) -> list[BulkAcceptor]:
    """One for each server that `create_listeners` made, where it accepts one connection per turn. On their loop.

    None where the sockets came from elsewhere: processes that share one should share what comes, too.
    """
    is_own = sockets is None and config.fd is None and config.uds is None
    is_one_by_one = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    if not (is_own and is_one_by_one and sys.platform == "linux"):
        return []
    return [BulkAcceptor(server, factory, _settings(config)) for server in servers]


def _settings(config: ConfigView) -> dict[str, Any]:
    """What every asyncio server here is made with."""
    return {"ssl": config.ssl, "backlog": config.backlog}


class BulkAcceptor:
    """Adds handles to the listening sockets of a server, on a loop that accepts one connection per handle and turn.

    Where each connection costs a whole turn (libuv), those that come in bulk cost up to half more; so while they queue
    up there are more handles on the same sockets. Not always: a single connection would wake all of them (a third
    more).
    """

    def __init__(self, server: asyncio.Server, factory: ProtocolFactory, settings: dict[str, Any]) -> None:
        """`factory` and `settings` are what `server` was made with."""
        self._server = server
        self._factory = factory
        self._settings = settings
        self._more: list[asyncio.Server] = []
        self._quiet_reviews = 0
        self._is_of_use = True

    async def review(self) -> None:
        """Look at the queues, and have as many handles as they ask for. To be called every tenth of a second."""
        if not self._is_of_use:
            return
        try:
            if self._server.is_serving():
                await self._adapt(max(map(_waiting, self._server.sockets), default=0))
            else:
                self.close()
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
        loop = asyncio.get_running_loop()
        for fd in [sock.fileno() for sock in self._server.sockets] * _MORE_HANDLES:
            try:
                sock = socket.socket(fileno=os.dup(fd))
            except OSError as exc:  # no descriptor is left: the connections need them more
                logger.debug("Cannot accept in bulk now: %s", exc)
                self._end_bulk()
                return
            self._more.append(await loop.create_server(self._factory, sock=sock, **self._settings))

    def _end_bulk(self) -> None:
        more, self._more = self._more, []
        for server in more:
            server.close()

    def close(self) -> None:
        """Take the handles away for good."""
        self._is_of_use = False
        self._end_bulk()


def _waiting(listener: socket.socket) -> int:
    """How many connections wait to be accepted: `tcpi_unacked` of a listening socket (tcp(7), Linux)."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_UNACKED.size)
    return int(_TCP_INFO_UNACKED.unpack(info)[0])


async def listening(config: ConfigView, sockets: Sequence[socket.socket] | None) -> list[socket.socket]:
    """Listening, non-blocking sockets to accept on by hand: these, or where the config says. Raises OSError."""
    if sockets is not None:
        listeners = list(sockets)
    elif config.fd is not None:
        listeners = [_inherited(config.fd)]
    elif config.uds is not None:
        listeners = [_unix(config.uds)]
    else:
        # asyncio resolves the host as it does with one worker; we keep its sockets and drop the server around them.
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, host=config.host, port=config.port, start_serving=False)
        listeners = [socket.socket(fileno=os.dup(sock.fileno())) for sock in server.sockets]
        server.close()
    for sock in listeners:
        sock.setblocking(False)
        sock.listen(config.backlog)
    return listeners


def announce(config: ConfigView, sockets: Sequence[Any]) -> None:
    """Log where the server listens: the line that people, editors and scripts wait for."""
    if config.fd is not None:
        logger.info("%s running on socket %s (Press CTRL+C to quit)", banner(), sockets[0].getsockname())
        return
    if config.uds is not None:
        logger.info("%s running on unix socket %s (Press CTRL+C to quit)", banner(), config.uds)
        return
    host = "0.0.0.0" if config.host is None else config.host
    address = "%s://[%s]:%d" if ":" in host else "%s://%s:%d"
    port = config.port or sockets[0].getsockname()[1]
    opening, ending = f"{banner()} running on ", " (Press CTRL+C to quit)"
    logger.info(
        opening + address + ending,
        "https" if config.is_ssl else "http",
        host,
        port,
        extra={"color_message": opening + style(address, bold=True) + ending},
    )


def _inherited(fd: int) -> socket.socket:
    """A socket object for a descriptor that stays open: family, type and protocol are the descriptor's own."""
    return socket.socket(fileno=os.dup(fd))


def _mode_for(path: str) -> int:
    """The mode that a socket at this path should have: that of one which is there already."""
    return os.stat(path).st_mode if os.path.exists(path) else _UDS_MODE


def _unix(path: str) -> socket.socket:
    mode = _mode_for(path)
    if stat.S_ISSOCK(mode):
        os.unlink(path)  # as asyncio's create_unix_server does
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    os.chmod(path, stat.S_IMODE(mode))
    return sock
