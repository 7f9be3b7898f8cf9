"""uvicorn.importer: import strings."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.importer", "pounce.errors")
