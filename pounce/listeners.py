"""The sockets a server listens on, and who accepts on them.

Runs on the server's loop, at startup. How a socket is made is in `binding`. asyncio's own servers accept only where the
loop is none of asyncio's selector loops: those spin and log without end in a process that is out of descriptors, so
there it is the acceptor of worker threads that accepts (`pool/acceptor`). Compatible with uvicorn's `Server.startup`:
the same addresses, file modes and messages.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from pounce.binding import Bind, SocketFile, as_it_is, unresolved
from pounce.bulk_acceptor import BulkAcceptor
from pounce.contracts import ConfigView
from pounce.pool.acceptor import EXHAUSTED, Accepted, Acceptor, complain
from pounce.worker.worker import Worker


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

    def serve(sock: socket.socket) -> Coroutine[Any, Any, asyncio.Server]:
        return loop.create_server(worker.create_protocol, sock=sock, backlog=config.backlog, **worker.tls_options)

    is_uvloop = type(loop).__module__.startswith("uvloop")
    for listening in listeners:
        acceptor = Acceptor(listening.sockets, [_OnlyWorker(worker)])
        listening.on_drain = acceptor.drain
        # A connection that begins with a header of the PROXY protocol gets its transport behind that.
        if isinstance(loop, asyncio.SelectorEventLoop) or config.settings.proxy_protocol.peers:
            listening.on_close.append(acceptor.stop)
            acceptor.start()
            continue
        for sock in listening.sockets:
            listening.on_close.append((await serve(as_it_is(sock))).close)
        # Processes that share a socket should share what comes, too: in bulk only from sockets of one's own.
        if is_uvloop and not is_shared and sys.platform == "linux":
            bulk = BulkAcceptor(listening.sockets, serve)
            listening.caretakers.append(bulk.review)
            listening.on_close.append(bulk.close)
    if is_uvloop and listeners:
        listeners[0].caretakers.append(watch_file_table)


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


async def watch_file_table() -> None:
    """Say that the process is out of descriptors: libuv then closes every connection that comes, and tells nobody."""
    try:
        socket.socket().close()
    except OSError as exc:
        if exc.errno in EXHAUSTED:
            complain(exc, "Those that come are closed.")
