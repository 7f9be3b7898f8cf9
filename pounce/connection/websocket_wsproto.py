"""The WebSocket protocol class on `wsproto`, which importing it needs: `--ws wsproto`, as with uvicorn."""

from __future__ import annotations

from pounce.connection.websocket import WebSocketProtocol
from pounce.wire.ws_wsproto import WsprotoWire


class WSProtocol(WebSocketProtocol):
    """`--ws wsproto`."""

    wire_class = WsprotoWire
