"""Which worker gets the next connection. Pure: loads in, an index out.

Answers to: DESIGN's rule that open connections are even to within one.
"""

from __future__ import annotations

from collections.abc import Sequence


def least_loaded(loads: Sequence[int], start: int) -> int:
    """The index of the smallest load; among equals the first at or after `start`, so that ties go round."""
    count = len(loads)
    best = start % count
    for step in range(1, count):
        index = (start + step) % count
        if loads[index] < loads[best]:
            best = index
    return best
