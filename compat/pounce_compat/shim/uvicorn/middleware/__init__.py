"""uvicorn.middleware."""

from pounce_compat.shim._window import open_onto

open_onto(__name__)
