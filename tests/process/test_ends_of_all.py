"""`python -m benchmarks.ends` in small: streams, WebSockets, uploads and blocked threads at once, and the server ends.

Before, one worker was alive after SIGTERM and after four Ctrl+C where a thread was blocked, and a WebSocket's client
that was sending saw a reset in place of 1012.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys

import pytest

from benchmarks.ends import KINDS, Load, run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

#: Seconds more than on a machine that does nothing else.
SLACK = 10.0

LOAD = Load(streams=4, websockets=4, uploads=2, blocked=2)

#: Who sends without a pause is reset where it does not get to read, on a machine with too much to do, of the end before
#: a forced one is over: that waits for nobody. Not each time.
TRIES = 3


@pytest.mark.parametrize("forced", [False, True], ids=["SIGTERM", "Ctrl+C twice"])
@pytest.mark.parametrize(("kind", "loop"), [("one worker", "asyncio"), ("threads", "uvloop"), ("processes", "asyncio")])
def test_a_server_ends_whatever_holds_it(kind: str, loop: str, forced: bool) -> None:
    """Within its limits, or a second; its lifespans are shut down, unless forced; no client sees a reset."""
    if importlib.util.find_spec(loop) is None:
        pytest.skip(f"{loop} is not installed")
    for _ in range(TRIES if forced else 1):
        result = asyncio.run(run(kind, loop, forced, LOAD))
        if "reset" not in result.seen["uploads"]:
            break
    assert result.seconds < SLACK, result.log
    assert result.exit_code == int("killing it" in result.log)
    assert result.seen["websockets"] == {"1012": LOAD.websockets}
    assert set(result.clients()) <= {"whole", "end"}, result.seen
    if not forced:
        assert result.shutdowns == (2 if KINDS[kind] else 1)
        assert result.seen["blocked"] == {"whole": LOAD.blocked}, result.log
        told = f"Telling {LOAD.streams} streaming responses to end, timeout graceful streams exceeded"
        assert told in result.log or kind == "processes"
