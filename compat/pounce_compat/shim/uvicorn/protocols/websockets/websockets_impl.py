"""uvicorn.protocols.websockets.websockets_impl: the deprecated name of what `websockets_sansio_impl` holds."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.connection.websocket_legacy", "pounce.protocols.websockets.websockets_impl")
