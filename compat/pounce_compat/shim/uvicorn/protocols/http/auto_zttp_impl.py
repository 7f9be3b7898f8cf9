"""uvicorn.protocols.http.auto_zttp_impl: cannot be imported without the library, as there."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.protocols.http.auto_zttp_impl")
