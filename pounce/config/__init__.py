"""Config and what it builds: app loading, logging setup, TLS, sockets, reload paths, name registries.

`from pounce.config import Config` works as with uvicorn, but only the asking imports it: the command line needs the
defaults below this package without asyncio and ssl.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pounce.config.config import Config as Config, logger as logger
    from pounce.config.registry import (
        HTTP_PROTOCOLS as HTTP_PROTOCOLS,
        INTERFACES as INTERFACES,
        LIFESPAN as LIFESPAN,
        LOOP_FACTORIES as LOOP_FACTORIES,
        WS_PROTOCOLS as WS_PROTOCOLS,
        HTTPProtocolType as HTTPProtocolType,
        InterfaceType as InterfaceType,
        LifespanType as LifespanType,
        LoopFactoryType as LoopFactoryType,
        WSProtocolType as WSProtocolType,
    )
    from pounce.config.reload_paths import is_dir as is_dir, resolve_reload_patterns as resolve_reload_patterns
    from pounce.config.tls import (
        SSL_PROTOCOL_VERSION as SSL_PROTOCOL_VERSION,
        create_ssl_context as create_ssl_context,
    )
    from pounce.errors import (
        STARTUP_FAILURE as STARTUP_FAILURE,
        ImportFromStringError as ImportFromStringError,
        UvicornDeprecationWarning as UvicornDeprecationWarning,
    )
    from pounce.importer import import_from_string as import_from_string
    from pounce.logs import (
        LOG_LEVELS as LOG_LEVELS,
        LOGGING_CONFIG as LOGGING_CONFIG,
        TRACE_LOG_LEVEL as TRACE_LOG_LEVEL,
    )

_NAMES = {
    "pounce.config.config": "Config logger",
    "pounce.config.registry": (
        "HTTP_PROTOCOLS INTERFACES LIFESPAN LOOP_FACTORIES WS_PROTOCOLS "
        "HTTPProtocolType InterfaceType LifespanType LoopFactoryType WSProtocolType"
    ),
    "pounce.config.reload_paths": "is_dir resolve_reload_patterns",
    "pounce.config.tls": "SSL_PROTOCOL_VERSION create_ssl_context",
    "pounce.errors": "STARTUP_FAILURE ImportFromStringError UvicornDeprecationWarning",
    "pounce.importer": "import_from_string",
    "pounce.logs": "LOGGING_CONFIG LOG_LEVELS TRACE_LOG_LEVEL",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
