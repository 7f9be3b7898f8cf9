"""uvicorn's path for the class of `--ws websockets-sansio`. Importing it needs websockets."""

from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol as WebSocketsSansIOProtocol
from pounce.wire.response_fields import STATUS_PHRASES as STATUS_PHRASES
