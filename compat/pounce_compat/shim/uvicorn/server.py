"""uvicorn.server: Server and the state of its connections."""

import asyncio

from pounce_compat.shim._window import open_onto

#: For annotations: what `ServerState.connections` is a set of.
Protocols = asyncio.Protocol

open_onto(__name__, "pounce.server", "pounce.connection.state")
