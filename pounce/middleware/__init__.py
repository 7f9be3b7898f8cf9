"""Plain ASGI middleware. As after `import uvicorn`, the modules are attributes without having been imported."""

from __future__ import annotations

from pounce.importer import on_demand

__getattr__ = on_demand(
    __name__, {name: f"{__name__}.{name}" for name in ("asgi2", "message_logger", "proxy_headers", "wsgi")}
)
