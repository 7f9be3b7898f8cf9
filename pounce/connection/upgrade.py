"""A connection that leaves HTTP/1.1 for a WebSocket (RFC 9110 section 7.8): how it is handed over, or why it is not."""

from __future__ import annotations

import logging
from typing import Any

from pounce.connection.base import HttpConnection
from pounce.connection.websocket import WebSocketProtocol
from pounce.names import distribution
from pounce.wire.http1 import Headers


class Upgrade:
    """A request for a WebSocket, and what came behind its head."""

    __slots__ = ("behind", "headers", "method", "target")

    def __init__(self, method: str, target: bytes, headers: Headers) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.behind: list[bytes] = []

    def hand_over(self, connection: HttpConnection, protocol_class: Any) -> None:
        """Give the transport to such a protocol: ours gets the request, any other of uvicorn's kind its bytes."""
        protocol: Any = protocol_class(
            config=connection.config, server_state=connection.server_state, app_state=connection.app_state
        )
        rest = b"".join(self.behind)
        if isinstance(protocol, WebSocketProtocol):
            protocol.open(connection, self.method, self.target, self.headers, rest)
        else:
            head = [b"%b %b HTTP/1.1\r\n" % (self.method.encode("ascii"), self.target)]
            head += [b"%b: %b\r\n" % field for field in self.headers]
            protocol.connection_made(connection.transport)
            protocol.data_received(b"".join((*head, b"\r\n", rest)))
        connection.transport.set_protocol(protocol)


def warn_unsupported(logger: logging.Logger, protocol_class: Any) -> None:
    """Say that an upgrade was asked for that is not done."""
    logger.warning("Unsupported upgrade request.")
    if protocol_class is None:
        logger.warning(
            f"No supported WebSocket library detected. Please use \"pip install '{distribution()}[standard]'\", "
            "or install 'websockets' or 'wsproto' manually."
        )
