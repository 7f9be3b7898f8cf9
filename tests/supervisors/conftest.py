from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from pounce.supervisors.signals import SIGNALS
from tests.isolated_logging import isolated_logging as isolated_logging

Eventually = Callable[..., None]


@pytest.fixture(autouse=True)
def keep_signal_handlers(isolated_logging: None) -> Iterator[None]:
    """Supervisors take over the signals of this process; give them back after each test."""
    former = {sig: signal.getsignal(sig) for sig in SIGNALS}
    yield
    for sig, handler in former.items():
        signal.signal(sig, handler)


@pytest.fixture
def eventually() -> Eventually:
    """`eventually(condition)` returns once the condition holds and fails when it has not within the timeout."""

    def wait(condition: Callable[[], object], timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.01)

    return wait
