"""How a child process of a supervisor is made, and the first code of ours that runs in it.

`get_subprocess` runs in the parent, on the supervisor's thread; `subprocess_started` is the child's main thread. Knows
nothing of: which server the child runs (`target`), how it is launched (`launch`), health checks, reload.
Answers to: uvicorn's `_subprocess` (spawn start method, stdin handed on, logging configured again, a silent Ctrl+C).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import connection
from socket import socket
from typing import Any

from pounce.contracts import ConfigView
from pounce.supervisors.launch import SpawnContext, SpawnProcess

__all__ = ["SpawnProcess", "get_subprocess", "spawn", "subprocess_started"]

#: Seconds a child whose parent is gone may take to finish its requests where no graceful timeout is set, and what it
#: gets on top where one is. Then it ends hard: nobody is left who could.
TIMEOUT_ORPHAN = 30.0
ORPHAN_MARGIN = 10.0

multiprocessing.allow_connection_pickling()
spawn = SpawnContext()


def get_subprocess(config: ConfigView, target: Callable[..., None], sockets: list[socket]) -> SpawnProcess:
    """A child process, not started yet, that will call `target(sockets=sockets)`.

    Parent side. All three arguments are pickled when the process is started; the sockets stay open here.
    """
    _hand_on_gil_option()
    try:
        stdin_fileno: int | None = sys.stdin.fileno()
    except (AttributeError, OSError):  # No stdin at all (pythonw, a daemon), or one that is no file.
        stdin_fileno = None
    return spawn.Process(
        target=subprocess_started,
        kwargs={"config": config, "target": target, "sockets": sockets, "stdin_fileno": stdin_fileno},
    )


def subprocess_started(
    config: ConfigView, target: Callable[..., None], sockets: list[socket], stdin_fileno: int | None
) -> None:
    """Prepare the new process and call `target(sockets=sockets)`. Returns silently on Ctrl+C: the parent says enough.

    Child side. `stdin_fileno` is the parent's stdin, for debuggers that read from it.
    """
    try:
        if stdin_fileno is not None:
            try:
                sys.stdin = os.fdopen(stdin_fileno, closefd=False)
            except OSError:  # A descriptor that was not handed down; only 0, 1 and 2 are.
                pass
        config.configure_logging()
        _watch_parent(config.timeout_graceful_shutdown)
        target(sockets=sockets)
    except KeyboardInterrupt:
        pass


def _hand_on_gil_option() -> None:
    """Let children run with the `-X gil=...` of this process, which the spawn method does not pass on by itself."""
    choice: Any = sys._xoptions.get("gil")
    if choice in ("0", "1"):
        os.environ.setdefault("PYTHON_GIL", choice)


def _watch_parent(timeout_graceful_shutdown: float | None) -> None:
    """End this process gracefully once its parent is gone, also when that was killed: no orphans on the port."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    bound = TIMEOUT_ORPHAN if timeout_graceful_shutdown is None else timeout_graceful_shutdown + ORPHAN_MARGIN

    main_thread = threading.get_ident()

    def wait_for_its_end() -> None:
        connection.wait([parent.sentinel])
        if sys.platform == "win32":
            signal.raise_signal(signal.SIGTERM)
        else:
            # To the main thread by name: only there does a signal end a system call that waits.
            signal.pthread_kill(main_thread, signal.SIGTERM)
        # A daemon thread: it never keeps a process alive that has finished.
        threading.Event().wait(bound)
        os._exit(1)

    threading.Thread(target=wait_for_its_end, name="pounce-parent-watch", daemon=True).start()
