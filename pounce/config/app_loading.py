"""Calls the app if it is a factory, finds out its interface and wraps it in the middleware.

Runs on the thread that will serve the app: a worker's own, or the main one.
The rules, messages and exit codes are those of uvicorn's `Config.load` and `load_app`.
"""

from __future__ import annotations

import inspect
import logging
import sys
from typing import Any, Literal

from pounce import names
from pounce.errors import StartupFailed
from pounce.logs import TRACE_LOG_LEVEL
from pounce.middleware.asgi2 import ASGI2Middleware
from pounce.middleware.message_logger import MessageLoggerMiddleware
from pounce.middleware.proxy_headers import ProxyHeadersMiddleware
from pounce.middleware.wsgi import WSGIMiddleware
from pounce.settings import Forwarded

if sys.version_info >= (3, 14):
    from inspect import iscoroutinefunction
else:
    from asyncio import iscoroutinefunction

__all__ = ["call_factory", "interface_of", "iscoroutinefunction", "wrapped"]

logger = logging.getLogger(names.LOGGER_ERROR)


def call_factory(app: Any, factory: bool) -> tuple[Any, bool]:
    """`(app, was it a factory)`. Whether an object is one shows when it is called without arguments.

    With `factory` it must be one: otherwise one error line and exit code 3.
    """
    try:
        return app(), True
    except TypeError as exc:
        if not factory:
            return app, False
        # Raised inside the factory rather than by calling it: then its author needs to see where.
        inside = exc.__traceback__ is not None and exc.__traceback__.tb_next is not None
        logger.error("Error loading ASGI app factory: %s", exc, exc_info=exc if inside else None)
        raise StartupFailed


def interface_of(app: Any) -> Literal["asgi2", "asgi3"]:
    """A coroutine function, an object that is called like one or an awaitable class is ASGI 3; anything else ASGI 2."""
    if inspect.isclass(app):
        single_callable = hasattr(app, "__await__")
    elif inspect.isfunction(app):
        single_callable = iscoroutinefunction(app)
    else:
        single_callable = iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004
    return "asgi3" if single_callable else "asgi2"


def wrapped(app: Any, interface: str, trusted_hosts: list[str] | str | None, forwarded: Forwarded) -> Any:
    """The app in its adapters and middleware, proxy headers outermost; message logging only at level "trace".

    `trusted_hosts`: None where nobody's proxy headers count, whatever they say. `forwarded`: what of them counts.
    """
    if interface == "wsgi":
        app = WSGIMiddleware(app)
    elif interface == "asgi2":
        app = ASGI2Middleware(app)
    if logger.getEffectiveLevel() <= TRACE_LOG_LEVEL:
        app = MessageLoggerMiddleware(app)
    if trusted_hosts is not None:
        app = ProxyHeadersMiddleware(app, trusted_hosts, fields=forwarded.fields, hops=forwarded.hops)
    return app
