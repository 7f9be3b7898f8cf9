"""Signals around fork(2): a child that the app forks (`multiprocessing`) is reached by signals from its first moment.

It has the handlers that were there before the server's, which are no business of a child, and lets go of the wakeup
descriptor, by which a signal to it would wake its parent. Until that is done signals wait in the kernel: what comes to
a child before, Python forgets (`PyOS_AfterFork_Child` clears what its handlers have noted).

Works for whichever thread forks, where somebody has something to undo. Imported before the app is, so that hooks of the
app's, and threads that they start, run outside of it. Knows nothing of: what a signal means. Nothing here where there
is no fork(2).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

#: Those that a server handles.
_NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGQUIT") if hasattr(signal, name)]

_undoes: list[Callable[[], object]] = []
_former = threading.local()


@contextlib.contextmanager
def undone_in_children(undo: Callable[[], object]) -> Iterator[None]:
    """Meanwhile, whatever forks calls `undo` first thing in the child; of several the last one first."""
    _undoes.append(undo)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # this is a child, and it was called
            _undoes.remove(undo)


if sys.platform != "win32":

    def _block() -> None:
        if _undoes:
            _former.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)

    def _restore() -> None:
        mask = _former.__dict__.pop("mask", None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _begin_in_child() -> None:
        with contextlib.ExitStack() as stack:  # calls them all, whatever one of them raises
            stack.callback(_restore)
            stack.callback(_let_interrupt_end)
            for undo in _undoes:
                stack.callback(undo)
            if _undoes:
                signal.set_wakeup_fd(-1)  # as asyncio itself does it from 3.12 on
            _undoes.clear()

    def _let_interrupt_end() -> None:
        """Nobody would catch a KeyboardInterrupt in a hook: one that waits ends the child as it ends other programs."""
        mask = _former.__dict__.get("mask", {signal.SIGINT})
        if (
            signal.SIGINT in signal.sigpending() - mask
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    os.register_at_fork(before=_block, after_in_parent=_restore, after_in_child=_begin_in_child)
