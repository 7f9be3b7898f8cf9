"""Starts child processes as multiprocessing's "spawn" does, with one difference: its resource tracker starts on demand.

multiprocessing puts a process of its own next to the first child, which removes the shared memory and the semaphores
of processes that were killed. Few apps have any, and it takes as much memory as an interpreter (11 MiB on 3.14t). Here
every child gets the pipe to that process, but the process is started when the first of them writes into the pipe.
It stays one tracker for all: with one each, the end of a child would take shared memory away from its siblings.

Parent side: `SpawnProcess.start` on the supervisor's thread, the wait for the first word to the tracker on a daemon
thread. On Windows there is no tracker, and nothing to change. Compatible with CPython's
`multiprocessing.popen_spawn_posix` and `multiprocessing.resource_tracker` (3.11 to 3.14).
"""

from __future__ import annotations

import sys
from multiprocessing import context

__all__ = ["SpawnContext", "SpawnProcess"]

if sys.platform == "win32":
    SpawnContext = context.SpawnContext
    SpawnProcess = context.SpawnProcess
else:
    import os
    import signal
    import subprocess
    import threading
    from multiprocessing import connection, popen_spawn_posix, resource_tracker, spawn, util
    from typing import Any

    class SpawnProcess(context.SpawnProcess):
        """A process of the spawn method. Its class's name is part of its own name, which people log."""

        #: Whether its target lets SIGINT in. Until then it waits: a traceback of `multiprocessing` tells nobody much.
        starts_uninterrupted = False

        @staticmethod
        def _Popen(process_obj: Any) -> Any:
            return _Launched(process_obj)

    class SpawnContext(context.SpawnContext):
        """`multiprocessing.get_context("spawn")` with such processes."""

        Process = SpawnProcess

    class _Launched(popen_spawn_posix.Popen):
        """A running child, which is given our pipe for that of a tracker."""

        def _launch(self, process_obj: Any) -> None:
            getfd = resource_tracker.getfd
            resource_tracker.getfd = _tracker_pipe
            blocked = (signal.SIGINT,) if process_obj.starts_uninterrupted else ()
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
            try:
                super()._launch(process_obj)  # type: ignore[misc]
            finally:
                resource_tracker.getfd = getfd
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _tracker_pipe() -> int:
        """The pipe to the tracker that all children share, and this process with them."""
        shared: Any = resource_tracker._resource_tracker
        if shared._fd is None:  # else this process has used it already
            reader, shared._fd = os.pipe()
            threading.Thread(
                target=_start_tracker_on_demand, args=(reader,), name="pounce-tracker-start", daemon=True
            ).start()
        return int(shared._fd)

    def _start_tracker_on_demand(reader: int) -> None:
        connection.wait([reader])
        # Inherited: the tracker lets them in again once it ignores them.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        executable = spawn.get_executable()
        options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        code = f"from multiprocessing.resource_tracker import main;main({reader})"
        try:
            util.spawnv_passfds(os.fsencode(executable), [executable, *options, "-c", code], [reader])
        finally:
            os.close(reader)  # A process that then finds no reader at the other end starts a tracker of its own.
