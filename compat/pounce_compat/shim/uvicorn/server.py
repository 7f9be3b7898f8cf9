"""uvicorn.server: Server and the state of its connections."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.server", "pounce.connection.state")
