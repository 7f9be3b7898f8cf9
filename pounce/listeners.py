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
from collections.abc import Callable, Sequence
from typing import Any

from pounce.contracts import ConfigView
from pounce.logs import style
from pounce.names import LOGGER_ERROR, banner

logger = logging.getLogger(LOGGER_ERROR)

#: Everybody may connect to a unix socket; who may reach it is up to its directory.
_UDS_MODE = 0o666

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


async def create_listeners(
    config: ConfigView, factory: ProtocolFactory, sockets: Sequence[socket.socket] | None
) -> list[Any]:
    """Listen on the running loop: on these sockets, or where the config says. Returns asyncio servers."""
    loop = asyncio.get_running_loop()
    settings: dict[str, Any] = {"ssl": config.ssl, "backlog": config.backlog}
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
