"""How an exception that came out of the app is logged, with a hint where threads are the likely cause."""

from __future__ import annotations

import logging

_OTHER_LOOP = ("attached to a different loop", "bound to a different event loop")

LOOP_HINT = (
    "Hint: an object made on one event loop was used on another. With worker threads each worker has its own loop. "
    "Make such objects per worker: use an app factory (--factory), or `yield` them as lifespan state and read "
    "`request.state`; or run --worker-class process."
)


def log_app_exception(logger: logging.Logger, exc: BaseException) -> None:
    """Log the traceback as uvicorn does, and one more line where an object crossed event loops."""
    logger.error("Exception in ASGI application\n", exc_info=exc)
    if crossed_loops(exc):
        logger.error(LOOP_HINT)


def crossed_loops(exc: BaseException | None) -> bool:
    """Whether the exception, or one that it came from, says that an object belongs to another event loop."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        if isinstance(exc, BaseExceptionGroup):
            return any(crossed_loops(inner) for inner in exc.exceptions)
        if isinstance(exc, RuntimeError) and any(words in str(exc) for words in _OTHER_LOOP):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
