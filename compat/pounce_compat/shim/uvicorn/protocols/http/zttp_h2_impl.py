"""uvicorn.protocols.http.zttp_h2_impl: cannot be imported without zttp, as there, although HTTP/2 does not use it."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.protocols.http.auto_zttp_impl", "pounce.protocols.http.zttp_h2_impl")
