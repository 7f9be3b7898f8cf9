"""uvicorn.supervisors: the reloader and the parent of worker processes."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.supervisors")
