"""uvicorn.lifespan.on: the lifespan, `auto` and `on`."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.worker.lifespan")
