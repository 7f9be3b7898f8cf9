"""`DeferredServer`: a server by name, for a parent that starts one in a child and never runs one itself.

Made and pickled in the parent, on the supervisor's thread; the server is made on the child's main thread.
"""

from __future__ import annotations

from socket import socket
from typing import Any

from pounce.contracts import ConfigView


def make_server(config: ConfigView, server_class: Any = None) -> Any:
    """The server of this process; pounce's own where no class is given. Child side."""
    if server_class is None:
        # Here and not above: it is most of a parent's memory (12 MiB on 3.14t).
        from pounce.server import Server as server_class
    return server_class(config=config)


class DeferredServer:
    """Makes the server where it runs: the parent keeps free of asyncio, OpenSSL and all else that a server imports."""

    def __init__(self, config: ConfigView, server_class: Any = None) -> None:
        self.config = config
        self.server_class = server_class
        self._running: Any = None

    def run(self, sockets: list[socket] | None = None) -> None:
        """Make a server that has the process to itself, and run it. Child side."""
        self._running = make_server(self.config, self.server_class)
        self._running.owns_process = True
        self._running.run(sockets)

    def heartbeats(self) -> list[tuple[str, float]]:
        """Seconds since each worker's loop last turned; see `Server`. Child side, from any thread."""
        return [] if self._running is None else self._running.heartbeats()
