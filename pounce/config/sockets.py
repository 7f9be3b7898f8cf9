"""Binds the listening socket that a supervisor hands to its server processes, and says where it listens.

TCP (IPv4, IPv6), unix socket or inherited file descriptor. Runs in the parent process, on its main thread.
Answers to: uvicorn's `Config.bind_socket`, its messages and exit code.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import sys
from typing import Any

from pounce import names
from pounce.errors import STARTUP_FAILURE
from pounce.logs import style

logger = logging.getLogger(names.LOGGER_ERROR)

#: Everybody may connect to a unix socket; who may reach it is up to its directory.
UDS_MODE = 0o666


def bind_socket(config: Any) -> socket.socket:
    """A bound, inheritable socket that does not listen yet. Logs where; exits with code 3 where it cannot be bound."""
    arguments: list[Any]
    try:
        if config.uds is not None:
            sock = _bind_unix(config.uds)
            where, arguments = "unix socket %s", [config.uds]
            shown = "%s"
        elif config.fd is not None:
            # The family, type and protocol are the descriptor's own.
            sock = socket.socket(fileno=os.dup(config.fd))
            where, arguments = "socket %s", [sock.getsockname()]
            shown = "%s"
        else:
            sock = _bind_tcp(config.host, config.port)
            where = shown = "%s://[%s]:%d" if sock.family == socket.AF_INET6 else "%s://%s:%d"
            host = "0.0.0.0" if config.host is None else config.host
            arguments = ["https" if config.is_ssl else "http", host, sock.getsockname()[1]]
    except (OSError, OverflowError, UnicodeError) as exc:
        logger.error(exc)
        sys.exit(STARTUP_FAILURE)

    opening, ending = f"{names.banner()} running on ", " (Press CTRL+C to quit)"
    color_message = f"{opening}{style(shown, bold=True)}{ending}"
    logger.info(f"{opening}{where}{ending}", *arguments, extra={"color_message": color_message})
    sock.set_inheritable(True)
    return sock


def _bind_tcp(host: str | None, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if host and ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host or "", port))
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode is right from the first moment; chmod alone would leave one in which nobody else can connect.
    umask = os.umask(0o777 & ~UDS_MODE)
    try:
        try:
            sock.bind(path)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not _is_left_over(path):
                raise
            os.unlink(path)
            sock.bind(path)
        os.chmod(path, UDS_MODE)
    except BaseException as exc:
        sock.close()
        if isinstance(exc, OSError):
            exc.filename = path  # bind() does not say.
        raise
    finally:
        os.umask(umask)
    return sock


def _is_left_over(path: str) -> bool:
    """Whether a server that was killed left this socket behind: nobody listens on it any more."""
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
