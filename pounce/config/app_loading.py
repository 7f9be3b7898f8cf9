"""Imports the app, calls it if it is a factory, finds out its interface and wraps it in the middleware.

Runs on the thread that will serve the app: a worker's own, or the main one.
Answers to: the rules of uvicorn's `Config.load` and `load_app`, its messages and exit codes.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import sys
from typing import Any, Literal

from pounce import names
from pounce.errors import STARTUP_FAILURE, ImportFromStringError, explain
from pounce.importer import import_from_string
from pounce.logs import TRACE_LOG_LEVEL
from pounce.middleware.asgi2 import ASGI2Middleware
from pounce.middleware.message_logger import MessageLoggerMiddleware
from pounce.middleware.proxy_headers import ProxyHeadersMiddleware
from pounce.middleware.wsgi import WSGIMiddleware

if sys.version_info >= (3, 14):
    from inspect import iscoroutinefunction
else:
    from asyncio import iscoroutinefunction

__all__ = ["app_is_missing", "call_factory", "import_app", "interface_of", "iscoroutinefunction", "wrapped"]

logger = logging.getLogger(names.LOGGER_ERROR)


def import_app(app: Any) -> Any:
    """The app that an import string names; exits with code 3 and one line if that module or attribute does not exist.

    A package missing on the way to the module comes out as `ModuleNotFoundError`, explained with exit code 1; anything
    that the user's own module raises comes out with its traceback.
    """
    try:
        return import_from_string(app)
    except ImportFromStringError as exc:
        logger.error("Error loading ASGI app. %s", exc)
        sys.exit(STARTUP_FAILURE)
    except ModuleNotFoundError as exc:
        module = app.partition(":")[0]
        if exc.name and module.startswith(f"{exc.name}.") and not _ran_foreign_code(exc):
            explain(exc, f'Cannot load the app. Could not import module "{module}": no module "{exc.name}".', 1)
        raise


def _ran_foreign_code(exc: BaseException) -> bool:
    """Whether the traceback passes through anything but the import machinery and ourselves."""
    trace = exc.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__"))
        if module.partition(".")[0] not in ("importlib", "_frozen_importlib", "pounce"):
            return True
        trace = trace.tb_next
    return False


def app_is_missing(app: str) -> str | None:
    """Why the import string cannot work, judged without running the app's code; None if it may well do."""
    module, _, attribute = app.partition(":")
    if not (module and attribute):
        return f'Import string "{app}" must be in format "<module>:<attribute>".'
    top = module.partition(".")[0]
    if top not in sys.modules and importlib.util.find_spec(top) is None:
        return f'Could not import module "{module}".'
    return None


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
        sys.exit(STARTUP_FAILURE)


def interface_of(app: Any) -> Literal["asgi2", "asgi3"]:
    """A coroutine function, an object that is called like one or an awaitable class is ASGI 3; anything else ASGI 2."""
    if inspect.isclass(app):
        single_callable = hasattr(app, "__await__")
    elif inspect.isfunction(app):
        single_callable = iscoroutinefunction(app)
    else:
        single_callable = iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004
    return "asgi3" if single_callable else "asgi2"


def wrapped(app: Any, *, interface: str, proxy_headers: bool, trusted_hosts: list[str] | str) -> Any:
    """The app in its adapters and middleware, proxy headers outermost; message logging only at level "trace"."""
    if interface == "wsgi":
        app = WSGIMiddleware(app)
    elif interface == "asgi2":
        app = ASGI2Middleware(app)
    if logger.getEffectiveLevel() <= TRACE_LOG_LEVEL:
        app = MessageLoggerMiddleware(app)
    if proxy_headers:
        app = ProxyHeadersMiddleware(app, trusted_hosts=trusted_hosts)
    return app
