"""Budgets for frames of HTTP/2 that cost but bring nothing.

A budget is a bucket: what a frame costs is taken out, time and useful work fill it up again; when it is empty, the
connection ends with ENHANCE_YOUR_CALM. Implements RFC 9113 section 10.5, against CVE-2019-9511 to 9518, CVE-2023-44487
(rapid reset), CVE-2024-27316 and others (CONTINUATION), CVE-2025-8671 (resets that the server is made to send).
"""

from __future__ import annotations


class Budget:
    """A bucket of `size` tokens that gets `per_second` new ones. Knows no clock: it is told the time."""

    __slots__ = ("_per_second", "_refilled_at", "size", "spent")

    def __init__(self, size: int, per_second: int) -> None:
        self.size = size
        self._per_second = per_second
        self.spent = 0.0
        self._refilled_at = 0.0

    def spend(self, cost: int = 1) -> bool:
        """Take tokens; False if there were not enough."""
        self.spent += cost
        return self.spent <= self.size

    def earn(self, tokens: int) -> None:
        """Give tokens back for useful work."""
        self.spent = max(0.0, self.spent - tokens)

    def refill(self, now: float) -> None:
        """It is `now` (seconds of any clock that only goes forward)."""
        self.spent = max(0.0, self.spent - (now - self._refilled_at) * self._per_second)
        self._refilled_at = now
