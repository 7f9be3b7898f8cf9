"""`LateServer`: a server by name, for a parent that starts one in a child and never runs one itself.

Made and pickled in the parent, on the supervisor's thread; the server is made on the child's main thread.
"""

from __future__ import annotations

from socket import socket
from typing import Any

from pounce.contracts import ConfigView


class LateServer:
    """Makes the server where it runs: the parent keeps free of asyncio, OpenSSL and all else that a server imports."""

    def __init__(self, config: ConfigView) -> None:
        self.config = config
        self._running: Any = None

    def make(self) -> Any:
        """The server of this process. Child side."""
        # Here and not above: it is most of a parent's memory (12 MiB on 3.14t).
        from pounce.server import Server

        return Server(config=self.config)

    def run(self, sockets: list[socket] | None = None) -> None:
        """Make a server that has the process to itself, and run it. Child side."""
        server = self.make()
        server.owns_process = True
        self._running = server
        server.run(sockets)

    def heartbeats(self) -> list[tuple[str, float]]:
        """Seconds since each worker's loop last turned; see `Server`. Child side, from any thread."""
        return [] if self._running is None else self._running.heartbeats()
