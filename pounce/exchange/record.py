"""What one exchange came to: its status, bytes and times, for whoever reads them (formats of access logs, metrics).

Made only where an observer is registered with the worker (`ServerState.observers`); each is told once, when the
exchange is over, and must not wait.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from pounce.exchange.app_errors import report_failed_log


class ExchangeRecord:
    """One request and its response. Times are those of `time.monotonic`, in seconds; sizes are bytes of bodies."""

    __slots__ = (
        "_observers",
        "bytes_in",
        "bytes_out",
        "end_at",
        "first_byte_at",
        "head_at",
        "is_complete",
        "scope",
        "status",
    )

    def __init__(self, scope: Any, observers: list[Observer]) -> None:
        self._observers = observers
        #: The app's: it may have changed it.
        self.scope = scope
        #: 0 until the response starts.
        self.status = 0
        self.bytes_in = 0
        #: As the app gave them, which is more than has left where the client went away.
        self.bytes_out = 0
        #: The request's head was parsed; the response's was given; all was given, or there was nobody left.
        self.head_at = monotonic()
        self.first_byte_at: float | None = None
        self.end_at: float | None = None
        #: Whether the app gave the whole response.
        self.is_complete = False

    def start(self, status: int) -> None:
        """The response starts."""
        self.status = status
        self.first_byte_at = monotonic()

    def finish(self, is_complete: bool) -> None:
        """The exchange is over. What is told after the first time changes nothing."""
        if self.end_at is None:
            self.end_at = monotonic()
            self.is_complete = is_complete
            for observer in self._observers:
                try:
                    observer(self)
                except Exception as failure:  # it must not keep the exchange from ending
                    report_failed_log("Observer of exchanges", failure)


Observer = Callable[[ExchangeRecord], object]
