"""The sockets a server listens on by itself, who accepts on them, and the line that says where.

Runs on the server's loop, at startup. How a socket is made is in `binding`; where a supervisor binds it beforehand, see
`config/sockets`. asyncio's own servers accept only where the loop is none of asyncio's selector loops: those spin and
log without end in a process that is out of descriptors, so there it is the acceptor of worker threads that accepts
(`pool/acceptor`). Answers to: uvicorn's `Server.startup`: the same addresses, file modes and messages.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pounce import binding
from pounce.contracts import ConfigView
from pounce.errors import StartupFailed
from pounce.logs import style
from pounce.names import LOGGER_ERROR, banner
from pounce.pool.acceptor import EXHAUSTED, Accepted, Acceptor
from pounce.worker.worker import Worker

logger = logging.getLogger(LOGGER_ERROR)

#: Handles that are added to a listening socket while connections come in bulk, how many must wait for that, and for how
#: many reviews in a row there must be fewer to take them away.
_MORE_HANDLES = 7
_MANY_WAITING = 4
_FEW_WAITING = 2
_QUIET_REVIEWS = 5

#: The beginning of `struct tcp_info`: eight bytes, four 32-bit numbers, then `tcpi_unacked`.
_TCP_INFO_UNACKED = struct.Struct("=24xI")

#: Reviews from one look at the file table to the next.
_REVIEWS_PER_SECOND = 10

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class Listening:
    """Listening sockets under the interface of an asyncio server, for those who look at `Server.servers`."""

    def __init__(self, sockets: Sequence[socket.socket], file: binding.SocketFile | None = None) -> None:
        self.sockets = tuple(sockets)
        #: Set by whoever accepts: lets go of the sockets before they are closed.
        self.on_close: Callable[[], None] | None = None
        self._file = file

    def is_serving(self) -> bool:
        """Whether connections are accepted."""
        return bool(self.sockets)

    def close(self) -> None:
        """Accept no more; a unix socket's file goes, if it is still there."""
        if self._file is not None:
            self._file.remove()
        if self.on_close is not None:
            self.on_close()
        for sock in self.sockets:
            sock.close()
        self.sockets = ()
        self._file = self.on_close = None

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""


def exit_if_unusable(config: ConfigView) -> None:
    """Exit with code 3, before any app has started, where it is clear already that nothing can be listened on."""
    try:
        binding.check(config)
    except OSError as exc:
        logger.error(exc)
        raise StartupFailed


async def create_listeners(config: ConfigView, worker: Worker, sockets: Sequence[socket.socket] | None) -> list[Any]:
    """Listen on the running loop, for this worker: on these sockets, or where the config says.

    Returns asyncio servers, or what stands for them. Raises OSError.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.SelectorEventLoop):
        if sockets is None:
            servers = [await listening(config, None)]
        else:
            servers = [await listening(config, [sock]) for sock in sockets]
        for server in servers:
            acceptor = Acceptor(server.sockets, [_OnlyWorker(worker)])
            server.on_close = acceptor.stop
            acceptor.start()
        return servers

    factory, settings = worker.create_protocol, _settings(config)
    if sockets is not None:
        return [await loop.create_server(factory, sock=binding.as_it_is(sock), **settings) for sock in sockets]
    if config.fd is not None:
        return [await loop.create_server(factory, sock=binding.inherited(config.fd), **settings)]
    if config.uds is not None:
        server = _open_unix(config.uds)
        server.on_close = (await loop.create_unix_server(factory, sock=server.sockets[0], **settings)).close
        return [server]
    return [await _create_tcp_server(config, factory, **settings)]


class _OnlyWorker:
    """The worker of this very loop, as its acceptor sees it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def load(self) -> int:
        """There is nobody to share with."""
        return 0

    def heartbeat_age(self) -> float:
        """The loop turns: it asks."""
        return 0.0

    def adopt_threadsafe(self, accepted: list[Accepted]) -> None:
        """Make connections of them."""
        for fd, family, kind, proto in accepted:
            self._worker.adopt(socket.socket(family, kind, proto, fileno=fd))


async def _create_tcp_server(config: ConfigView, factory: ProtocolFactory, **settings: Any) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(factory, host=config.host, port=config.port, **settings)
    except (socket.gaierror, UnicodeError) as exc:
        raise binding.unresolved(config.host, exc) from None


def caretakers(
    config: ConfigView,
    factory: ProtocolFactory,
    sockets: Sequence[socket.socket] | None,
    servers: Sequence[Any],
) -> list[BulkAcceptor | FileTableWatch]:
    """What looks after the servers that `create_listeners` made, on a loop that accepts by itself. On that loop."""
    if not type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
        return []
    # Processes that share a socket should share what comes, too: in bulk only from sockets of one's own.
    is_own = sockets is None and config.fd is None and config.uds is None
    accept_in_bulk = is_own and sys.platform == "linux"
    return [
        FileTableWatch(),
        *(BulkAcceptor(server, factory, _settings(config)) for server in servers if accept_in_bulk),
    ]


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


class FileTableWatch:
    """Says once a second that the process is out of descriptors.

    For libuv, which then takes every connection that comes and closes it, and tells nobody.
    """

    def __init__(self) -> None:
        self._reviews = 0

    async def review(self) -> None:
        """Look whether there is a descriptor left. To be called every tenth of a second."""
        self._reviews += 1
        if self._reviews % _REVIEWS_PER_SECOND:
            return
        try:
            socket.socket().close()
        except OSError as exc:
            if exc.errno in EXHAUSTED:
                logger.error("Cannot accept a connection: %s. Those that come are closed.", exc.strerror)

    def close(self) -> None:
        """Nothing is held."""


async def listening(config: ConfigView, sockets: Sequence[socket.socket] | None) -> Listening:
    """Listening, non-blocking sockets to accept on by hand: these, or where the config says. Raises OSError."""
    if sockets is not None:
        return _listen(Listening(sockets), config.backlog)
    opened = await _open(config)
    try:
        return _listen(opened, config.backlog)
    except BaseException:
        opened.close()
        raise


async def _open(config: ConfigView) -> Listening:
    if config.fd is not None:
        return Listening([binding.inherited(config.fd)])
    if config.uds is not None:
        return _open_unix(config.uds)
    # asyncio resolves the host, and we keep its sockets and drop the server around them.
    server = await _create_tcp_server(config, asyncio.Protocol, start_serving=False)
    opened = Listening([sock.dup() for sock in server.sockets])
    server.close()
    return opened


def _open_unix(path: str) -> Listening:
    return Listening([binding.bind_unix(path)], binding.SocketFile(path))


def _listen(opened: Listening, backlog: int) -> Listening:
    for sock in opened.sockets:
        sock.setblocking(False)
        sock.listen(backlog)
    return opened


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
