"""uvicorn.protocols.http.httptools_impl: cannot be imported without the library, as there."""

from pounce_compat.shim._window import open_onto

open_onto(
    __name__,
    "pounce.connection.http1_httptools",
    "pounce.exchange.http_cycle",
    "pounce.wire.http1_writer",
    "pounce.protocols.http.httptools_impl",
)
