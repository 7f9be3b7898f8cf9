"""The sockets a server listens on, and who accepts on them.

Runs on the server's loop, at startup. How a socket is made is in `binding`. asyncio's selector loops spin and log
without end in a process that is out of descriptors, so there it is the acceptor of worker threads that accepts
(`pool/acceptor`), as it is where connections are limited, and where what a client says first is looked at before there
is a transport (TLS, PROXY protocol). Other loops accept by themselves (`LoopHandles`). Compatible with uvicorn's
`Server.startup`: the same addresses, file modes and messages.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from pounce.binding import Bind, SocketFile, duplicate, unresolved
from pounce.bulk_acceptor import BulkAcceptor
from pounce.contracts import ConfigView
from pounce.pool.acceptor import EXHAUSTED, Acceptor, complain
from pounce.worker.connection_limits import ConnectionLimits
from pounce.worker.worker import Accepted, Worker


class Listening:
    """Listening, non-blocking sockets under the interface of an asyncio server, for who looks at `Server.servers`."""

    def __init__(self, sockets: Iterable[socket.socket], backlog: int, file: SocketFile | None = None) -> None:
        self.sockets = tuple(sockets)
        #: Set by whoever accepts: accepts what waits in the backlog; lets go of the sockets before they are closed.
        self.on_drain: Callable[[], int] = int
        self.on_close: list[Callable[[], object]] = []
        #: To be called every tenth of a second.
        self.caretakers: list[Callable[[], Awaitable[None]]] = []
        self._file = file
        try:
            for sock in self.sockets:
                sock.setblocking(False)
                sock.listen(backlog)
        except BaseException:
            self.close()
            raise

    def is_serving(self) -> bool:
        """Whether connections are accepted."""
        return bool(self.sockets)

    def drain(self) -> int:
        """Accept what waits in the backlog, for nobody else will. Returns how many connections that were."""
        return self.on_drain()

    def close(self) -> None:
        """Accept no more; a unix socket's file goes, if it is still there."""
        if self._file is not None:
            self._file.remove()
        for let_go in self.on_close:
            let_go()
        for sock in self.sockets:
            sock.close()
        self.sockets, self.on_close, self.caretakers, self._file = (), [], [], None
        self.on_drain = int

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""


async def listen(bind: Bind, sockets: Sequence[socket.socket] | None) -> list[Listening]:
    """Listen on each of these sockets, or else where `bind` says. Raises OSError."""
    if sockets is not None:
        return [Listening([sock], bind.backlog) for sock in sockets]
    if not bind.is_address:
        sock = bind.open()
        return [Listening([sock], bind.backlog, SocketFile(bind.uds) if bind.fd is None and bind.uds else None)]
    # asyncio resolves the host to all its addresses; we keep its sockets and drop the server around them.
    try:
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, host=bind.host, port=bind.port, start_serving=False
        )
    except (socket.gaierror, UnicodeError) as exc:
        raise unresolved(bind.host, exc) from None
    own = [sock.dup() for sock in server.sockets]
    server.close()
    return [Listening(own, bind.backlog)]


async def accept(listeners: Sequence[Listening], config: ConfigView, worker: Worker, is_shared: bool) -> None:
    """Accept connections for the worker of the running loop. `is_shared`: other processes do so on these sockets."""
    loop = asyncio.get_running_loop()
    limits = ConnectionLimits.of(config)
    for listening in listeners:
        acceptor = Acceptor(listening.sockets, [_OnlyWorker(worker)], limits, worker.hears_first)
        listening.on_drain = acceptor.drain
        if limits is not None or worker.hears_first or isinstance(loop, asyncio.SelectorEventLoop):
            listening.on_close.append(acceptor.stop)
            acceptor.start()
            continue
        handles = LoopHandles(loop, listening.sockets, config, worker, acceptor)
        await handles.open()
        listening.on_close.append(handles.close)
        if type(loop).__module__.startswith("uvloop"):
            # Processes that share a socket should share what comes, too: in bulk only from sockets of one's own.
            if not is_shared and sys.platform == "linux":
                handles.accept_in_bulk()
            listening.caretakers.append(handles.review)


class LoopHandles:
    """The loop's own way to accept on listening sockets, as long as there are descriptors to spare.

    libuv closes every connection that comes once there are none, and tells nobody. So before that, or else a tenth of a
    second later, the acceptor takes over for good, which leaves them in the backlog; it costs more per connection.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sockets: Sequence[socket.socket],
        config: ConfigView,
        worker: Worker,
        acceptor: Acceptor,
    ) -> None:
        self._loop = loop
        self._sockets = sockets
        self._config = config
        self._worker = worker
        self._acceptor = acceptor
        self._servers: list[asyncio.Server] = []
        self._bulk: BulkAcceptor | None = None

    async def open(self) -> None:
        """Accept from now on."""
        for sock in self._sockets:
            self._servers.append(await self._serve(duplicate(sock)))

    def accept_in_bulk(self) -> None:
        """The sockets are the server's own."""
        self._bulk = BulkAcceptor(self._sockets, self._serve)

    def _serve(self, sock: socket.socket) -> Coroutine[Any, Any, asyncio.Server]:
        create, options = self._worker.create_protocol, self._worker.tls_options
        return self._loop.create_server(create, sock=sock, backlog=self._config.backlog, **options)

    async def review(self) -> None:
        """To be called every tenth of a second."""
        if not self._servers:
            return
        if is_nearly_full():
            self.close()
            self._acceptor.start()
        elif self._bulk is not None:
            await self._bulk.review()

    def close(self) -> None:
        """Accept no more."""
        self._acceptor.stop()
        if self._bulk is not None:
            self._bulk.close()
        for server in self._servers:
            server.close()
        self._servers = []


def is_nearly_full() -> bool:
    """Whether this process has few descriptors left, or none. The lowest one that is free says so (POSIX)."""
    import resource  # where libuv is

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        with socket.socket() as probe:
            return limit != resource.RLIM_INFINITY and probe.fileno() >= limit - limit // 8
    except OSError as exc:
        if exc.errno not in EXHAUSTED:
            return False
        complain(exc, "Those that came last were closed.")
        return True


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
        for one in accepted:
            self._worker.take(one)
