from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.isolated_logging import isolated_logging as isolated_logging

Eventually = Callable[..., None]


@pytest.fixture(autouse=True)
def _isolated(isolated_logging: None) -> None:
    """Configs change logging."""


@pytest.fixture
def eventually() -> Eventually:
    """`eventually(condition)` returns once the condition holds and fails when it has not within the timeout."""

    def wait(condition: Callable[[], object], timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.01)

    return wait
