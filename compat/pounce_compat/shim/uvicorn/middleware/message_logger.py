"""uvicorn.middleware.message_logger."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.middleware.message_logger")
