"""Config and what it builds: app loading, logging setup, TLS, reload paths, name registries.

`from pounce.config import Config` works as with uvicorn, but only the asking imports it: layers below need the
registry, and a supervisor no OpenSSL.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from pounce.config.config import Config as Config, logger as logger
    from pounce.config.tls import (
        SSL_PROTOCOL_VERSION as SSL_PROTOCOL_VERSION,
        create_ssl_context as create_ssl_context,
    )

_HOME = {"Config": "config", "logger": "config", "SSL_PROTOCOL_VERSION": "tls", "create_ssl_context": "tls"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
