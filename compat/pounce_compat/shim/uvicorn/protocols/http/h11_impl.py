"""uvicorn.protocols.http.h11_impl."""

from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.connection.http1_h11", "pounce.exchange.http_cycle", "pounce.wire.http1_writer")
