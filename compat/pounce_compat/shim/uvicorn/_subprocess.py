"""uvicorn._subprocess: what a spawned process runs first."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.supervisors.child")
