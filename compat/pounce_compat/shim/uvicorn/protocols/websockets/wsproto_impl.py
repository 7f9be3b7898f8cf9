"""uvicorn.protocols.websockets.wsproto_impl: cannot be imported without the library, as there."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.connection.websocket_wsproto", "pounce.protocols.websockets.wsproto_impl")
