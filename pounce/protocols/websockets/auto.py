"""uvicorn's path for what `--ws auto` chooses."""

from pounce.connection.pick_websocket import AutoWebSocketsProtocol as AutoWebSocketsProtocol
