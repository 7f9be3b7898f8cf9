"""The way of an exchange through the server is no longer than it was, counted in calls into our own code."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from benchmarks.environments import CHECKOUT

#: Where tasks start eagerly, what starts them is a file of its own on the way.
_EAGER = int(sys.version_info >= (3, 12))


@pytest.mark.parametrize(
    ("kind", "most"),
    [("http1", (24 + _EAGER, 7 + _EAGER, 12 + _EAGER)), ("http2", (35, 14 + _EAGER, 26)), ("websocket", (35, 14, 21))],
    ids=("http1", "http2", "websocket"),
)
def test_the_way_is_short(kind: str, most: tuple[int, int, int]) -> None:
    """Calls, files, and moves from one file to another. A feature that nobody asked for adds nothing to them."""
    command = [sys.executable, "-m", "benchmarks.trace", kind, "--quiet"]
    printed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    found = tuple(map(int, re.findall(r"(\d+) (?:calls|files|moves)", printed)))
    assert len(found) == 3
    assert all(number <= limit for number, limit in zip(found, most, strict=True)), printed
