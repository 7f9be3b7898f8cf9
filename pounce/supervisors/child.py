"""How a child process of a supervisor is made, and the first code of ours that runs in it.

`get_subprocess` runs in the parent, on the supervisor's thread; `subprocess_started` is the child's main thread. Knows
nothing of: which server the child runs (`target`), how it is launched (`launch`), how an orphan ends (`orphan`), health
checks, reload. Compatible with uvicorn's `_subprocess`: spawn start method, stdin handed on, logging configured again,
a silent Ctrl+C.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from socket import socket
from typing import Any

from pounce import names
from pounce.contracts import ConfigView
from pounce.errors import StartupFailed, exit_code_of, explanation
from pounce.supervisors.launch import SpawnContext, SpawnProcess
from pounce.supervisors.orphan import ParentWatch
from pounce.watchdog import GRACE_AFTER_FAILURE, watchdog

__all__ = ["SpawnProcess", "get_subprocess", "spawn", "subprocess_started"]

logger = logging.getLogger(names.LOGGER_ERROR)

multiprocessing.allow_connection_pickling()
spawn = SpawnContext()


def get_subprocess(config: ConfigView, target: Callable[..., None], sockets: list[socket]) -> SpawnProcess:
    """A child process, not started yet, that will call `target(sockets=sockets)`.

    Parent side. All three arguments are pickled when the process is started; the sockets stay open here.
    """
    # The spawn method does not pass `-X gil=...` on by itself.
    choice: Any = sys._xoptions.get("gil")
    if choice in ("0", "1"):
        os.environ.setdefault("PYTHON_GIL", choice)
    stdin_fileno: int | None = None
    with contextlib.suppress(AttributeError, OSError):  # No stdin at all (pythonw, a daemon), or one that is no file.
        stdin_fileno = sys.stdin.fileno()
    process = spawn.Process(
        target=subprocess_started,
        kwargs={"config": config, "target": target, "sockets": sockets, "stdin_fileno": stdin_fileno},
    )
    process.starts_uninterrupted = True
    return process


def subprocess_started(
    config: ConfigView, target: Callable[..., None], sockets: list[socket], stdin_fileno: int | None
) -> None:
    """Prepare the new process and call `target(sockets=sockets)`. Returns silently on Ctrl+C: the parent says enough.

    A mistake of the user that shows only here is one line in the log, and the exit code that belongs to it.

    Child side. `stdin_fileno` is the parent's stdin, for debuggers that read from it.
    """
    try:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        if stdin_fileno is not None:
            with contextlib.suppress(OSError):  # A descriptor that was not handed down; only 0, 1 and 2 are.
                sys.stdin = os.fdopen(stdin_fileno, closefd=False)
        config.configure_logging()
        parent = multiprocessing.parent_process()
        if parent is not None:  # no orphans on the port
            heartbeats = getattr(getattr(target, "__self__", None), "heartbeats", list)
            ParentWatch(config, sockets, heartbeats).start(parent.sentinel)
        target(sockets=sockets)
    except KeyboardInterrupt:
        pass
    except SystemExit as exc:
        # Else the parent would wait for it: a thread of the app answers nobody, and one of ours answers health checks.
        watchdog.expect_end_of_interpreter(GRACE_AFTER_FAILURE, exit_code_of(exc))
        raise
    except Exception as exc:
        found = explanation(exc)
        if found is None:
            raise
        logger.error(found[0])
        raise StartupFailed(found[1]) from exc
