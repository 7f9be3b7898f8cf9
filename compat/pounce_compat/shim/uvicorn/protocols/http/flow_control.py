"""uvicorn.protocols.http.flow_control."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.connection.flow")
