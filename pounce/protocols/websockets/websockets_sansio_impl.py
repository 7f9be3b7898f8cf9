"""uvicorn's path for the class of `--ws websockets-sansio`. Importing it needs websockets."""

from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol as WebSocketsSansIOProtocol
from pounce.wire.http1_writer import STATUS_PHRASES as STATUS_PHRASES
