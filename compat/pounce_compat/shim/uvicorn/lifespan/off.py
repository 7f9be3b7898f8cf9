"""uvicorn.lifespan.off: no lifespan."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.worker.lifespan")
