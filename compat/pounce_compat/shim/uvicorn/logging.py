"""uvicorn.logging: the formatters and the TRACE level."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.logs")
