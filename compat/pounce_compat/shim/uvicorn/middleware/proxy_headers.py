"""uvicorn.middleware.proxy_headers."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.middleware.proxy_headers")
