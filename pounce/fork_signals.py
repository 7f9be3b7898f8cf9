"""Signals around fork(2): a child that the app forks (`multiprocessing`) obeys SIGTERM from its first moment.

It gets the handlers that were there before the server's, which are no business of a child, and lets go of the wakeup
descriptor, by which a signal to it would wake its parent. Until that is done signals wait in the kernel: what comes to
a child before, Python forgets (`PyOS_AfterFork_Child` clears what its handlers have noted).

Works for whichever thread forks. Knows nothing of: what a signal means. Nothing here where there is no fork(2).
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

#: Those that a server handles.
_NAMES = ("SIGINT", "SIGTERM", "SIGQUIT")

_undoes: list[Callable[[], object]] = []


@contextlib.contextmanager
def undone_in_children(undo: Callable[[], object]) -> Iterator[None]:
    """Meanwhile, whatever forks calls `undo` first thing in the child, the last one first."""
    _hold_back()
    _undoes.append(undo)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # this is a child, and it was called
            _undoes.remove(undo)


@functools.cache
def _hold_back() -> None:
    """From now on, around each fork. There is no way back."""
    if sys.platform == "win32":
        return
    numbers = [getattr(signal, name) for name in _NAMES]
    former = threading.local()

    def block() -> None:
        former.mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def restore() -> None:
        mask = former.__dict__.pop("mask", None)  # none where somebody forks without the first hook, as in C
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def begin_in_child() -> None:
        signal.set_wakeup_fd(-1)  # as asyncio itself does it from 3.12 on
        while _undoes:
            _undoes.pop()()
        restore()

    os.register_at_fork(before=block, after_in_parent=restore, after_in_child=begin_in_child)
