"""uvicorn's path for the class of `--ws websockets`, deprecated there. Importing it needs websockets."""

from __future__ import annotations

from typing import Any

from pounce.connection.websocket_legacy import WebSocketProtocol as WebSocketProtocol


class Server:
    """What the library's old implementation calls its server; nothing here asks for one."""

    closing = False

    def register(self, ws: Any) -> None:
        """Nothing is kept."""

    def unregister(self, ws: Any) -> None:
        """Nothing is kept."""
