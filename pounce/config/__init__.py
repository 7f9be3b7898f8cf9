"""Config and what it builds: app loading, logging setup, TLS, sockets, reload paths, name registries.

`from pounce.config import Config` works as with uvicorn, but only the asking imports it: the command line needs the
defaults below this package without asyncio and ssl.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pounce.config.config import Config as Config
    from pounce.config.tls import create_ssl_context as create_ssl_context
    from pounce.logs import LOG_LEVELS as LOG_LEVELS, LOGGING_CONFIG as LOGGING_CONFIG

__all__ = ["LOGGING_CONFIG", "LOG_LEVELS", "Config", "create_ssl_context"]

_HOME = {
    "Config": "pounce.config.config",
    "create_ssl_context": "pounce.config.tls",
    "LOGGING_CONFIG": "pounce.logs",
    "LOG_LEVELS": "pounce.logs",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
