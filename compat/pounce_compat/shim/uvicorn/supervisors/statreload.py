"""uvicorn.supervisors.statreload: reload by modification time."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.supervisors.reload_stat")
