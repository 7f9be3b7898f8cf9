"""Who is at the two ends of a transport: client, server, and whether TLS is between them.

What the transport remembers is asked first: on uvloop, its socket object is made anew for every question.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any


def get_remote_addr(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """The client's `(host, port)`, or None where there is none to tell (unix sockets, a peer that is already gone)."""
    name: Any = transport.get_extra_info("peername")
    if type(name) is tuple and len(name) == 2 and type(name[0]) is str:  # IPv4, as the loop has it
        return name
    if not _is_address(name):
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is None:
            return None
        try:
            name = sock.getpeername()
        except OSError:
            return None
        if not isinstance(name, tuple):
            return None
    return str(name[0]), int(name[1])


def get_local_addr(transport: asyncio.BaseTransport) -> tuple[str, int | None] | None:
    """The server's `(host, port)`, `(path, None)` on a unix socket, or None."""
    name: Any = transport.get_extra_info("sockname")
    if type(name) is tuple and len(name) == 2 and type(name[0]) is str:
        return name
    if not _is_address(name) and not isinstance(name, str):
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is None:
            return None
        name = sock.getsockname()
    if isinstance(name, str):
        return name, None
    return (str(name[0]), int(name[1])) if isinstance(name, list | tuple) else None


def is_ssl(transport: asyncio.BaseTransport) -> bool:
    """Whether the connection is encrypted."""
    return bool(transport.get_extra_info("sslcontext"))


def tls_of(transport: asyncio.BaseTransport) -> dict[str, dict[str, Any]]:
    """The scope's `tls` extension, by its name. Nothing where TLS is not Python's own, or there is none."""
    ssl_object = transport.get_extra_info("ssl_object")
    if ssl_object is None:
        return {}
    from pounce.connection.tls import tls_extension

    content = tls_extension(ssl_object)
    return {} if content is None else {"tls": content}


def _is_address(name: Any) -> bool:
    # Of IPv4, or of IPv6, where flow and scope follow.
    return isinstance(name, list | tuple) and len(name) in (2, 4)
