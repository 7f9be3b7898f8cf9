"""The second Ctrl+C, and SIGQUIT: the process ends within a second, whatever the app does, and wherever it does it.

Before, one worker with a blocked loop, a blocked thread or a lifespan's shutdown that hangs was alive after four of
them, as uvicorn is; the others took up to two seconds. What it takes now is what `python -m benchmarks.ends` measures.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.process.serving import PATIENCE, Log, Served, command, environment, served
from tests.process.test_ends import WORKERS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

APP = "tests.process.held_app:app"

#: Seconds for what takes one on a machine that does nothing else. Nothing here would end in a minute by itself.
SOON = 10.0


def ends_by(server: Served, number: signal.Signals) -> int:
    """Signal the whole group, as a terminal does, and wait for the end. Returns the exit code."""
    told = time.monotonic()
    os.killpg(server.process.pid, number)
    code = server.stop()
    assert time.monotonic() - told < SOON, str(server.log)
    return code


@contextlib.contextmanager
def held(hold: str, *options: str, exit_code: int | None = 0, workers: int = 1) -> Iterator[Served]:
    """A server that is up, and at the request that is held, where it is one."""
    env = environment(HOLD=hold)
    with served(APP, *options, env=env, exit_code=exit_code) as server, contextlib.ExitStack() as stack:
        server.log.wait_for("Application startup complete", count=workers)
        if hold.startswith("request"):
            client = stack.enter_context(server.connect())
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server.log.wait_for("in flight")
        yield server


def interrupt(server: Served, hold: str, number: signal.Signals = signal.SIGINT) -> None:
    """The first Ctrl+C, and time to take note of it."""
    os.killpg(server.process.pid, number)
    if hold.startswith("shutdown"):
        server.log.wait_for("in flight")
    time.sleep(0.6)  # a parent takes what comes sooner for the same wish; no event tells that a held process has it
    assert server.process.poll() is None, str(server.log)


@pytest.mark.parametrize(
    "hold",
    [
        "request spins",
        "request in_c",
        "request stubborn",
        "request executor sleeps",
        "request thread sleeps",
        "request atexit sleeps",
        "shutdown awaits",
        "shutdown sleeps",
    ],
)
def test_a_second_interrupt_ends_one_worker(hold: str) -> None:
    """In the loop, in threads, in C with the GIL free, in the app's shutdown; the log says who would have gone on."""
    with held(hold) as server:
        interrupt(server, hold)
        assert ends_by(server, signal.SIGINT) == 0
        if hold == "shutdown awaits":
            assert "ERROR" not in server.log, str(server.log)
        else:
            assert server.log.wait_for("This process does not end by itself. Leaving it with exit code 0")
            assert server.log.wait_for(r"held_app\.py.* in (sleeps|spins|in_c|stubborn|hold)")


def test_an_interrupt_behind_sigterm_is_the_second_wish() -> None:
    """Whoever waits for a stop that somebody else has asked for need not press twice."""
    with held("request executor sleeps", "--loop", "asyncio") as server:
        interrupt(server, "request", signal.SIGTERM)
        assert ends_by(server, signal.SIGINT) == 0
        assert server.log.wait_for("Thread asyncio_0:")


@pytest.mark.parametrize(
    ("kind", "loop", "hold"),
    [
        ("processes", "asyncio", "request in_c"),
        ("processes", "uvloop", "shutdown spins"),
        ("threads", "asyncio", "request executor spins"),
        ("threads", "uvloop", "request spins"),
    ],
)
def test_a_second_interrupt_ends_several_workers(kind: str, loop: str, hold: str) -> None:
    """Their parent has it as well, and ends with them.

    1 where it had to kill one, which a busy machine may bring; 0 where that one has ended while it was told so.
    """
    pytest.importorskip(loop)
    with held(hold, *WORKERS[kind], "--loop", loop, exit_code=None, workers=2) as server:
        interrupt(server, hold)
        code = ends_by(server, signal.SIGINT)
        assert code == 0 or (code == 1 and "killing it" in server.log)


def test_a_startup_that_goes_on_has_the_limit_of_requests() -> None:
    """SIGTERM while the app starts: it is waited for as long as requests would be."""
    command_line = command(APP, "--port", "0", "--timeout-graceful-shutdown", "0")
    process = subprocess.Popen(command_line, env=environment(HOLD="startup awaits"), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process:
        log = Log(process.stderr)
        log.wait_for("in flight")
        process.terminate()
        assert process.wait(PATIENCE) == 1
        log.finish()
        assert log.wait_for("This process does not end by itself")
        assert log.wait_for(r"held_app\.py.* in awaits")


@pytest.mark.parametrize(
    ("kind", "hold"),
    [("one worker", "request spins"), ("processes", "request awaits"), ("threads", "request awaits")],
)
def test_sigquit_means_now(kind: str, hold: str) -> None:
    """Without a signal before it: no request is waited for, no shutdown runs, and no core is dumped."""
    workers = 1 if kind == "one worker" else 2
    with held(hold, *WORKERS[kind], workers=workers) as server:
        assert ends_by(server, signal.SIGQUIT) == 0
        assert server.log.wait_for("Received SIGQUIT, exiting without|This process does not end by itself")
        assert "lifespan ends" not in server.log


@pytest.mark.parametrize(
    ("kind", "hold"),
    [
        ("one worker", "shutdown awaits"),
        ("one worker", "shutdown sleeps"),
        ("processes", "shutdown awaits"),
        ("threads", "shutdown sleeps"),
    ],
)
def test_the_apps_shutdown_has_a_limit(kind: str, hold: str) -> None:
    """`--timeout-lifespan-shutdown`: one that goes on is left, be its loop blocked; then the process ends."""
    code = int((kind, hold) == ("one worker", "shutdown sleeps"))
    options = [*WORKERS[kind], "--timeout-lifespan-shutdown", "0.5", "--timeout-graceful-shutdown", "1"]
    with held(hold, *options, exit_code=code, workers=1 if kind == "one worker" else 2) as server:
        assert server.stop(signal.SIGTERM) == code, str(server.log)
        if hold == "shutdown awaits":
            assert server.log.wait_for("Application shutdown has not completed within 0.5 seconds. Exiting.")
        else:
            assert server.log.wait_for("is blocked|is stuck at")
            assert server.log.wait_for(r"held_app\.py.* in sleeps")
        assert "killing it" not in server.log
