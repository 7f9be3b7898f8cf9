"""uvicorn.protocols.http.auto: httptools where it is installed, else h11."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.connection.pick")
