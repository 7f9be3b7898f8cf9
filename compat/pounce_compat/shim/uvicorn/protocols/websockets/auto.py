"""uvicorn.protocols.websockets.auto: websockets where it is installed, else wsproto, else None."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.connection.pick_websocket")
