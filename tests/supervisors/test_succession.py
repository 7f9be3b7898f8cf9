from __future__ import annotations

import math

import pytest

from pounce.config import Config
from pounce.supervisors.succession import Reason, backoff, retire_limit
from tests.supervisors.apps import app


def test_backoff_doubles_up_to_half_a_minute() -> None:
    """The first death costs no wait, then each costs twice the one before, thirty seconds at most."""
    assert [backoff(failures) for failures in range(9)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert backoff(10_000) == 30.0


@pytest.mark.parametrize(
    ("timeout", "lifespan", "is_fit", "expected"),
    [
        (None, None, True, math.inf),
        (None, 5, True, math.inf),
        (None, None, False, 30.0),
        (3, None, True, 13.0),
        (3, 5, True, 18.0),
        (0, None, False, 10.0),
    ],
)
def test_only_healthy_processes_may_take_for_ever(
    timeout: int | None, lifespan: int | None, is_fit: bool, expected: float
) -> None:
    """Without a graceful timeout a healthy process drains as long as its clients like; nothing else does."""
    config = Config(app, timeout_graceful_shutdown=timeout, deadlines={"lifespan_shutdown": lifespan})
    assert retire_limit(config, is_fit) == expected


def test_commands_are_not_repeated() -> None:
    """A restart or resize that failed is the operator's to repeat; what the process itself needs is tried again."""
    assert {reason for reason in Reason if not reason.tries_again} == {Reason.RESTART}
