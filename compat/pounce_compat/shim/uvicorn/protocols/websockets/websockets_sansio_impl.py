"""uvicorn.protocols.websockets.websockets_sansio_impl: cannot be imported without the library, as there."""

from typing import assert_never as assert_never

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.connection.websocket_websockets", "pounce.protocols.websockets.websockets_sansio_impl")
