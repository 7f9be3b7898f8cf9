"""uvicorn.supervisors.multiprocess: the parent of worker processes."""

from pounce_compat.shim._window import open_onto

open_onto(
    __name__, "pounce.supervisors.processes", "pounce.supervisors.generation", "pounce.supervisors.server_process"
)
