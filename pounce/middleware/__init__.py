"""Plain ASGI middleware. As after `import uvicorn`, the modules are attributes without having been imported."""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {"asgi2", "message_logger", "proxy_headers", "wsgi"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
