"""For all tests: how much Hypothesis tries, which process runs what, and what is kept between tests.

Hypothesis has the same examples in every run, or, in a long one, others each time and many more.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from pounce.supervisors.signals import SIGNALS

settings.register_profile("every run", derandomize=True, database=None, max_examples=300)
settings.register_profile("long", derandomize=False, database=None, max_examples=3_000)
settings.load_profile("every run")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Tests wait more than they compute: `-n auto` is twice as many processes as there are cores."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that start servers stand next to each other, and wait: who has nothing left takes some of them."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


def pytest_configure() -> None:
    """A shell has what it starts in the background ignore SIGQUIT, and so would every server that the tests start."""
    quit_signal = getattr(signal, "SIGQUIT", None)
    if quit_signal is not None and signal.getsignal(quit_signal) is signal.SIG_IGN:
        signal.signal(quit_signal, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Thousands of tests are no garbage: whoever collects, or counts objects, need not go through them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def keep_signal_handlers() -> Iterator[None]:
    """Servers and supervisors take over the signals of this process; the next test has them as they were."""
    former = {sig: signal.getsignal(sig) for sig in SIGNALS}
    yield
    for sig, handler in former.items():
        if signal.getsignal(sig) is not handler:
            signal.signal(sig, handler)
