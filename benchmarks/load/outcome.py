"""What a load generator found in one window, and the judgement whether it was served rightly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Share of the connections (streams) that must be served at a time. Those that wait unserved leave no latency behind.
SERVED = 0.25


class LoadError(Exception):
    """The server did not serve this load rightly; the message says how, in one line."""


@dataclass(frozen=True)
class Outcome:
    """Completed requests (or messages), the window in seconds, latencies in milliseconds (None: not known)."""

    requests: int
    seconds: float
    p50: float | None
    p99: float | None
    p999: float | None


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed. `ordered` is sorted, not empty."""
    rank = -(-len(ordered) * share // 1)  # rounded up
    return ordered[max(0, min(len(ordered) - 1, int(rank) - 1))]
