"""`--ws websockets`: uvicorn's deprecated name. Importing it warns; what it serves is the sans-IO class.

Uvicorn runs the library's old asyncio implementation there, which that library is about to drop.
"""

from __future__ import annotations

import warnings

from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.errors import UvicornDeprecationWarning


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """`--ws websockets`."""


def warn_deprecated() -> None:
    """Warn that the name is deprecated. Called by import, and by the shim's module of uvicorn's name."""
    warnings.warn(
        "The `websockets` implementation is deprecated: `--ws websockets` is served by the `websockets-sansio` one. "
        "Use `--ws websockets-sansio` or `--ws auto` instead.",
        UvicornDeprecationWarning,
        stacklevel=2,
    )


warn_deprecated()
