"""The WebSocket protocol class on `wsproto`. Importing it needs that library. Answers to: uvicorn's `--ws wsproto`."""

from __future__ import annotations

from pounce.connection.websocket import WebSocketProtocol
from pounce.wire.ws_wsproto import WsprotoWire


class WSProtocol(WebSocketProtocol):
    """`--ws wsproto`."""

    wire_class = WsprotoWire
