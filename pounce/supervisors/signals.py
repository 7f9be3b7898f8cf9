"""The supervisor's signals: kept in a list by the handlers, and a sleep that any of them ends.

Handlers run on the main thread between two bytecodes, so they only append and wake; the supervisor obeys on its own
thread when it next looks. Knows nothing of: what a signal means.
Compatible with uvicorn's `Multiprocess.signal_queue`, to which its tests append directly.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterable, Mapping
from multiprocessing import Pipe, connection
from types import FrameType
from typing import Any

from pounce.watchdog import watchdog

SIGNALS = {
    getattr(signal, f"SIG{name}"): name
    for name in ("INT", "TERM", "BREAK", "HUP", "QUIT", "TTIN", "TTOU", "USR1", "USR2", "WINCH")
    if hasattr(signal, f"SIG{name}")
}


def give_back(former: Mapping[int, Any]) -> None:
    """Let the signals be handled as before, where this is the main thread.

    Ctrl+C may come to the parent alone and then to its group: an interpreter that has begun to end would die of it,
    with an exit code that says so. Where nothing comes behind the supervisor, SIGINT is ignored from here on.
    """
    if threading.current_thread() is threading.main_thread():
        for sig, handler in former.items():
            if sig == signal.SIGINT and watchdog.ends_with_server:
                handler = signal.SIG_IGN
            signal.signal(sig, signal.SIG_DFL if handler is None else handler)


class SignalInbox:
    """Takes over `SIGNALS` when made (on the main thread; raises ValueError on others)."""

    def __init__(self) -> None:
        self.queue: list[int] = []
        self._receiver, self._sender = Pipe(duplex=False)
        self._former: dict[int, Any] = {sig: signal.signal(sig, self._on_signal) for sig in SIGNALS}

    def _on_signal(self, sig: int, frame: FrameType | None) -> None:
        self.queue.append(sig)
        with contextlib.suppress(OSError):  # closed, because all is over
            if not self._receiver.poll(0):  # one message wakes the sleeper; a full pipe would hold the handler up
                self._sender.send_bytes(b"\0")

    def close(self) -> None:
        """Give the signals back to whom they belonged where this is the main thread."""
        give_back(self._former)
        self._sender.close()
        self._receiver.close()

    def sleep(self, sentinels: Iterable[int], timeout: float) -> list[int]:
        """Wait up to `timeout` seconds for a signal or one of the sentinels; the sentinels that are ready."""
        ready = connection.wait([self._receiver, *sentinels], 0.0 if self.queue else timeout)
        if self._receiver in ready:
            self._receiver.recv_bytes()
        return [sentinel for sentinel in ready if isinstance(sentinel, int)]
