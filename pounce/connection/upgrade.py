"""A connection that leaves HTTP/1.1 for a WebSocket (RFC 9110 section 7.8): how it is handed over, or why it is not."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from pounce.connection.websocket import WebSocketProtocol
from pounce.names import distribution
from pounce.wire.strictness import Headers


class Upgrade(NamedTuple):
    """A request for a WebSocket, and what came behind its head."""

    method: str
    target: bytes
    headers: Headers
    behind: list[bytes]


def hand_over(connection: Any, upgrade: Upgrade) -> None:
    """Give a connection to the WebSocket class: ours gets the request, any other of uvicorn's kind its bytes."""
    if connection.timeout_keep_alive_task is not None:
        connection.unset_keepalive()
    if connection.writer.head:
        connection.writer.flush()
    if connection.flow.read_paused:
        connection.flow.release()
    if connection.traces:
        connection.trace("Upgrading to WebSocket")
    connection.connections.discard(connection)
    protocol: Any = connection.ws_protocol_class(
        config=connection.config, server_state=connection.server_state, app_state=connection.app_state
    )
    method, target, headers, behind = upgrade
    rest = b"".join((connection.wire.trailing_data, connection.held, *behind))
    connection.held = b""
    # A class of the user's that overrides what asyncio calls expects to be called.
    kind = type(protocol)
    if (
        isinstance(protocol, WebSocketProtocol)
        and kind.connection_made is WebSocketProtocol.connection_made
        and kind.data_received is WebSocketProtocol.data_received
    ):
        protocol.open(connection, method, target, headers, rest)
    else:
        head = [b"%b %b HTTP/1.1\r\n" % (method.encode("ascii"), target)]
        head += [b"%b: %b\r\n" % field for field in headers]
        protocol.connection_made(connection.transport)
        protocol.data_received(b"".join((*head, b"\r\n", rest)))
    connection.transport.set_protocol(protocol)
    connection.cycle = connection.scope = None
    connection.wire.closed()


def warn_unsupported(logger: logging.Logger, protocol_class: Any) -> None:
    """Say that an upgrade was asked for that is not done."""
    logger.warning("Unsupported upgrade request.")
    if protocol_class is None:
        logger.warning(
            f"No supported WebSocket library detected. Please use \"pip install '{distribution()}[standard]'\", "
            "or install 'websockets' or 'wsproto' manually."
        )
