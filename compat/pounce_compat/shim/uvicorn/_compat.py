"""uvicorn._compat: differences between Python versions."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.worker.loops", "pounce.config.app_loading")
