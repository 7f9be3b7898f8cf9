"""uvicorn.protocols.utils: addresses, request lines, ClientDisconnected."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.connection.peer", "pounce.exchange.access_log", "pounce.errors")
