"""uvicorn.loops.uvloop: cannot be imported without the library, as there."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.worker.loops", "uvloop")
