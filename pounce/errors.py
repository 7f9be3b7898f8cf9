"""Exit codes and the exceptions that cross layers. Third-party parser exceptions end in `wire/` and leave as these."""

from __future__ import annotations

from typing import TypeVar

#: Exit code of a process whose app, sockets or TLS could not be brought up (uvicorn's STARTUP_FAILURE).
STARTUP_FAILURE = 3

#: Exit code of a thread-class server process that found that its app must run in processes (`--worker-class auto`).
NEEDS_PROCESSES = 4


class StartupFailed(SystemExit):
    """A server cannot start, and the log says why. Ends the process with `code`, where nobody catches it.

    A SystemExit, since that is what uvicorn's `Config.bind_socket`, `Config.load` and `Server.run`, `serve` and
    `startup` promise their callers; and since asyncio lets no other exception out of a task at once.
    """

    code: int

    def __init__(self, code: int = STARTUP_FAILURE) -> None:
        super().__init__(code)


def exit_code_of(exc: SystemExit) -> int:
    """What the process exits with where nobody catches this."""
    if exc.code is None:
        return 0
    return exc.code if isinstance(exc.code, int) else 1


class ClientDisconnected(OSError):
    """Raised out of an app's `send()` once the client is gone: a WebSocket's, and from ASGI 2.4 on any."""


class ImportFromStringError(Exception):
    """An import string has the wrong form, or names a module or attribute that does not exist."""


class UvicornDeprecationWarning(UserWarning):
    """A deprecation that its user should see without switching warnings on (hence not a DeprecationWarning)."""


class BadRequest(Exception):
    """The peer broke the protocol. Answered with `status` and a closed connection; `reason` goes to the log."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class MisusedByApp(RuntimeError):
    """The app sent a message that the protocol does not allow here (a wrong order, length or header)."""


_E = TypeVar("_E", bound=BaseException)


def explain(exc: _E, line: str | None = None, exit_code: int = STARTUP_FAILURE) -> _E:
    """Mark an exception as the user's mistake: a command shows `line` for it and exits with `exit_code`, no traceback.

    Without a `line` it is what the exception says. The exception stays what it is, for callers of the Python API.
    Returns it, so that one can `raise explain(...)`.
    """
    exc.__dict__["_explanation"] = (str(exc) if line is None else line, exit_code)
    return exc


def wrong_value(line: str) -> ValueError:
    """The explained error of a value that a setting cannot have. Wherever it comes from: exit code 2, as for a flag."""
    return explain(ValueError(line), exit_code=2)


def explanation(exc: BaseException) -> tuple[str, int] | None:
    """The `(line, exit code)` that `explain` left, or None for an exception whose traceback its author needs."""
    found: tuple[str, int] | None = exc.__dict__.get("_explanation")
    return found
