"""`--ws auto`: the WebSocket protocol class for the library that is installed; `websockets` first, as uvicorn does.

None where there is no such library: upgrades are refused then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["AutoWebSocketsProtocol"]

AutoWebSocketsProtocol: Callable[..., Any] | None
try:
    from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
except ModuleNotFoundError:
    try:
        from pounce.connection.websocket_wsproto import WSProtocol
    except ModuleNotFoundError:
        AutoWebSocketsProtocol = None
    else:
        AutoWebSocketsProtocol = WSProtocol
else:
    AutoWebSocketsProtocol = WebSocketsSansIOProtocol
