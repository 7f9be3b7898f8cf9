"""A few seconds of what `python -m benchmarks.threads.races` does for a minute."""

from __future__ import annotations

import sys

import pytest

from benchmarks.threads.stress import stress

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="resets connections as Unix does")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_nothing_is_lost_doubled_or_left_behind() -> None:
    """Short, kept, upgraded and reset connections on servers that stop under them: each request is answered once."""
    report = stress(4.0, seed=11)
    assert report.problems == []
    assert report.answered > 50
    assert report.websockets > 0
    assert report.resets > 0
