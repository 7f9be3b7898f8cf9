"""Which worker gets the next connection."""

from __future__ import annotations

import random

from pounce.pool.acceptor import least_loaded


def test_the_smallest_load_wins_wherever_the_search_starts() -> None:
    """The start only breaks ties."""
    for start in range(8):
        assert least_loaded([3, 1, 2, 4], start) == 1


def test_ties_go_round() -> None:
    """Among equals the first at or after the start is taken, across the end of the list."""
    assert [least_loaded([0, 0, 0], start) for start in range(4)] == [0, 1, 2, 0]
    assert least_loaded([0, 5, 0], 1) == 2


def test_loads_stay_even_to_within_one() -> None:
    """Connections that only come leave no two workers further apart than one."""
    loads, start = [0] * 5, 0
    for _ in range(997):
        index = least_loaded(loads, start)
        loads[index] += 1
        start = index + 1
        assert max(loads) - min(loads) <= 1


def test_what_closes_is_filled_up_first() -> None:
    """After connections have closed anywhere, new ones even the loads out again."""
    rng = random.Random(7)
    loads = [rng.randrange(20) for _ in range(4)]
    for start in range(80):
        loads[least_loaded(loads, start)] += 1
    assert max(loads) - min(loads) <= 1
