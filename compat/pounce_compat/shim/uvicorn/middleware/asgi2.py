"""uvicorn.middleware.asgi2."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.middleware.asgi2")
