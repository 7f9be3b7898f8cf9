"""How an exception that came out of the app is logged: once, at a bounded length, whatever logging itself does.

An exchange ends after its error is reported, so nothing here raises: not for a handler, filter or formatter that fails,
not for an exception whose `__str__` does, not for a chain of causes that is endless or absurdly long. Compatible with
uvicorn's record: level ERROR, its message, the exception in `exc_info`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Iterator
from types import FrameType

from pounce.errors import ClientDisconnected

#: Lines of a report that the log's own formatter makes; a longer one is logged as an excerpt.
_MAX_LINES = 800
_LINES_OF_FRAME = 4  # place, code, its markers; multi-line code takes more
_LINES_BETWEEN = 5  # "During handling of the above exception ..." and the like

#: Characters and lines of an exception's own text that are shown, and frames at either end of its traceback, in an
#: excerpt; exceptions (causes, contexts, members of groups) that are looked at for a hint.
_MAX_TEXT = 10_000
_MAX_TEXT_LINES = 200
_FRAMES_SHOWN = 10
_MAX_LOOKED_AT = 1000

#: Nested groups that are left to the log's formatter: `traceback` recurses into them, on top of the app's own frames.
_MAX_GROUP_DEPTH = 10

_OTHER_LOOP = ("attached to a different loop", "bound to a different event loop")

LOOP_HINT = (
    "Hint: an object made on one event loop was used on another. With worker threads each worker has its own loop. "
    "Make such objects per worker: use an app factory (--factory), or `yield` them as lifespan state and read "
    "`request.state`; or run --worker-class process."
)


def log_app_exception(logger: logging.Logger, exc: BaseException) -> None:
    """Log an exception of a request's app as uvicorn does, and one more line where an object crossed event loops."""
    log_exception(logger, "Exception in ASGI application\n", exc)
    if crossed_loops(exc):
        log_error(logger, LOOP_HINT)


def log_exception(logger: logging.Logger, message: str, exc: BaseException) -> None:
    """Log an error with the exception's traceback, or with an excerpt of it where that would be too long."""
    try:
        if _is_of_usual_size(exc):
            logger.error(message, exc_info=exc)
        else:
            # Not as an argument: what it says is the app's, and no format.
            logger.error("%s%s", message, _excerpt(exc))
    except BaseException as failure:
        report_failed_log(message, failure)


def log_error(logger: logging.Logger, message: str, *args: object) -> None:
    """`logger.error` that never raises, for what is logged before an exchange has ended."""
    try:
        logger.error(message, *args)
    except BaseException as failure:
        report_failed_log(message, failure)


def report_failed_log(message: str, failure: BaseException) -> None:
    """The last resort, where a log is broken: one line on standard error."""
    try:
        line = message.strip().partition("\n")[0]
        print(f"{line} (it could not be logged: {type(failure).__name__})", file=sys.stderr)
    except BaseException:
        pass  # there is nobody left to tell


def is_running(frame: FrameType) -> bool:
    """Whether this frame is that of the running task's coroutine.

    If not, a GeneratorExit that comes through it is nobody's error: the coroutine is thrown away behind its loop's end.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs
        return False
    return task is not None and getattr(task.get_coro(), "cr_frame", None) is frame


def is_of_disconnect(exc: BaseException) -> bool:
    """Whether the exception says no more than that `send()` raised ClientDisconnected.

    Frameworks translate it into a class of their own. One of Python's, raised while it was handled, is a mistake in the
    app's clean-up.
    """
    waiting: list[BaseException] = [exc]
    for _ in range(_MAX_LOOKED_AT):
        if not waiting:
            return True
        found = waiting.pop()
        if isinstance(found, BaseExceptionGroup):
            waiting += found.exceptions
        elif not isinstance(found, ClientDisconnected):
            origin = found.__cause__
            if origin is None and (isinstance(found, OSError) or type(found).__module__ != "builtins"):
                origin = found.__context__
            if origin is None:
                return False
            waiting.append(origin)
    return False


def crossed_loops(exc: BaseException) -> bool:
    """Whether the exception, or one that it came from, says that an object belongs to another event loop."""
    for count, (found, _) in enumerate(_related(exc)):
        if count >= _MAX_LOOKED_AT:
            break
        if isinstance(found, RuntimeError) and any(words in _text(found) for words in _OTHER_LOOP):
            return True
    return False


def _related(exc: BaseException) -> Iterator[tuple[BaseException, int]]:
    """The exception and each one that a report of it shows, once, with how many groups are around it."""
    seen = {id(exc)}
    waiting = [(exc, 0)]
    while waiting:
        found, depth = waiting.pop()
        yield found, depth
        following = [(found.__context__, depth), (found.__cause__, depth)]
        if isinstance(found, BaseExceptionGroup):
            following += [(member, depth + 1) for member in found.exceptions]
        for other, other_depth in following:
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                waiting.append((other, other_depth))


def _is_of_usual_size(exc: BaseException) -> bool:
    lines = 0
    for found, depth in _related(exc):
        text = _text(found)
        lines += _LINES_BETWEEN + text.count("\n") + sum(note.count("\n") + 1 for note in _notes(found))
        step = found.__traceback__
        while step is not None and lines <= _MAX_LINES:
            lines += _LINES_OF_FRAME
            step = step.tb_next
        if lines > _MAX_LINES or depth > _MAX_GROUP_DEPTH or len(text) > _MAX_TEXT:
            return False
    return True


def _notes(exc: BaseException) -> list[str]:
    notes = getattr(exc, "__notes__", None)
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except BaseException:
        return "<exception str() failed>"


def _excerpt(exc: BaseException) -> str:
    """The traceback of the exception and of the first one that it came from, in the form of Python's own."""
    root = exc
    between = -1
    seen: set[int] = set()
    cause: BaseException | None = exc
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        root = cause
        between += 1
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    parts = []
    if root is not exc:
        parts.append(_one(root))
        if between > 1:
            parts.append(f"\n[{between - 1} more exceptions that followed from it are left out]\n\n")
        parts.append("\nThe exception above led to this one:\n\n")
    parts.append(_one(exc))
    return "".join(parts)


def _one(exc: BaseException) -> str:
    """One exception's traceback, without what it came from."""
    try:
        frames = traceback.extract_tb(exc.__traceback__, limit=_FRAMES_SHOWN)
        last = traceback.extract_tb(exc.__traceback__, limit=-_FRAMES_SHOWN)
        parts = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
        count = sum(1 for _ in traceback.walk_tb(exc.__traceback__))
        if count > 2 * _FRAMES_SHOWN:
            parts.append(f"  [{count - 2 * _FRAMES_SHOWN} more frames are left out]\n")
        parts += traceback.format_list(last[-max(0, count - _FRAMES_SHOWN) :] if count > _FRAMES_SHOWN else [])
    except BaseException as failure:
        parts = [f"(its traceback could not be shown: {type(failure).__name__})\n"]
    text = _text(exc)
    if len(text) > _MAX_TEXT:
        text = f"{text[:_MAX_TEXT]} [{len(text) - _MAX_TEXT} more characters]"
    lines = text.split("\n")
    if len(lines) > _MAX_TEXT_LINES:
        text = "\n".join([*lines[:_MAX_TEXT_LINES], f"[{len(lines) - _MAX_TEXT_LINES} more lines]"])
    name = f"{type(exc).__module__}.{type(exc).__qualname__}".removeprefix("builtins.")
    parts.append(f"{name}: {text}" if text else name)
    return "".join(parts) + "\n"
