"""Who is at the two ends of a transport: client, server, and whether TLS is between them."""

from __future__ import annotations

import asyncio
import socket
from typing import Any


def get_remote_addr(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """The client's `(host, port)`, or None where there is none to tell (unix sockets, a peer that is already gone)."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        try:
            name = sock.getpeername()
        except OSError:
            return None
        return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
    name = transport.get_extra_info("peername")
    return (str(name[0]), int(name[1])) if _is_pair(name) else None


def get_local_addr(transport: asyncio.BaseTransport) -> tuple[str, int | None] | None:
    """The server's `(host, port)`, `(path, None)` on a unix socket, or None."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    name: Any
    if sock is not None:
        name = sock.getsockname()
        if isinstance(name, tuple):
            return (str(name[0]), int(name[1]))
    else:
        name = transport.get_extra_info("sockname")
        if _is_pair(name):
            return (str(name[0]), int(name[1]))
    return (name, None) if isinstance(name, str) else None


def is_ssl(transport: asyncio.BaseTransport) -> bool:
    """Whether the connection is encrypted."""
    return bool(transport.get_extra_info("sslcontext"))


def _is_pair(name: Any) -> bool:
    return isinstance(name, list | tuple) and len(name) == 2
