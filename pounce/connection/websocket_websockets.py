"""The WebSocket protocol class on `websockets`' sans-IO protocol. Importing it needs that library.

It is what `--ws websockets-sansio` means, as with uvicorn.
"""

from __future__ import annotations

from pounce.connection.websocket import WebSocketProtocol
from pounce.wire.ws_websockets import WebsocketsWire


class WebSocketsSansIOProtocol(WebSocketProtocol):
    """`--ws websockets-sansio`, and what `--ws auto` prefers."""

    wire_class = WebsocketsWire
