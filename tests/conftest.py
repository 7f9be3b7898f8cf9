"""For all tests: how much Hypothesis tries, and which process runs what.

Hypothesis has the same examples in every run, or, in a long one, others each time and many more.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("every run", derandomize=True, database=None, max_examples=300)
settings.register_profile("long", derandomize=False, database=None, max_examples=3_000)
settings.load_profile("every run")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that start servers stand next to each other, and wait: who has nothing left takes some of them."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
