"""Binds the listening socket that a supervisor hands to its server processes, and says where it listens.

Runs in the parent process, on its main thread. How each kind of socket is made is in `binding`. Answers to: uvicorn's
`Config.bind_socket`, its messages and exit code.
"""

from __future__ import annotations

import logging
import socket
from typing import Any

from pounce import binding, names
from pounce.errors import StartupFailed
from pounce.logs import style

logger = logging.getLogger(names.LOGGER_ERROR)


def bind_socket(config: Any) -> socket.socket:
    """A bound, inheritable socket that does not listen yet. Logs where; exits with code 3 where it cannot be bound."""
    arguments: list[Any]
    try:
        binding.check_numbers(config)
        if config.uds is not None:
            sock = binding.bind_unix(config.uds)
            where, arguments = "unix socket %s", [config.uds]
            shown = "%s"
        elif config.fd is not None:
            sock = binding.inherited(config.fd)
            where, arguments = "socket %s", [sock.getsockname()]
            shown = "%s"
        else:
            sock = binding.bind_tcp(config.host, config.port)
            where = shown = "%s://[%s]:%d" if sock.family == socket.AF_INET6 else "%s://%s:%d"
            host = "0.0.0.0" if config.host is None else config.host
            arguments = ["https" if config.is_ssl else "http", host, sock.getsockname()[1]]
    except OSError as exc:
        logger.error(exc)
        raise StartupFailed

    opening, ending = f"{names.banner()} running on ", " (Press CTRL+C to quit)"
    color_message = f"{opening}{style(shown, bold=True)}{ending}"
    logger.info(f"{opening}{where}{ending}", *arguments, extra={"color_message": color_message})
    sock.set_inheritable(True)
    return sock
