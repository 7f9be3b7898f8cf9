"""pounce/ending.py: who gets the signals, and how long a process may live once its end was asked for."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pounce import ending
from pounce.ending import Ending
from pounce.settings import Settings

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


class FakeWatchdog:
    """Takes note of what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.loop = None

    ends_with_server = False

    def expect_end(self, seconds: float, exit_code: int, why: str = "", words: float = 0.0) -> None:
        self.told.append(("end", round(seconds, 1), exit_code))

    def expect_end_of_interpreter(self, seconds: float, exit_code: int, words: float = 0.0) -> None:
        self.told.append(("interpreter", round(seconds, 1), exit_code))

    def call_off(self) -> None:
        self.told.append("off")


@pytest.fixture
def watchdog(monkeypatch: pytest.MonkeyPatch) -> FakeWatchdog:
    fake = FakeWatchdog()
    monkeypatch.setattr(ending, "watchdog", fake)
    monkeypatch.setattr(ending, "time", SimpleNamespace(monotonic=lambda: 100.0))
    return fake


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Signals that come to whoever had them before."""
    numbers: list[int] = []
    before = {number: signal.signal(number, lambda sig, _: numbers.append(sig)) for number in ending.HANDLED_SIGNALS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def an_ending(limit: float | None, lifespan: float | None = None) -> Ending:
    settings = Settings.of({"deadlines": {"lifespan_shutdown": lifespan}})
    return Ending(SimpleNamespace(timeout_graceful_shutdown=limit, settings=settings))  # type: ignore[arg-type]


TERM, INT = signal.SIGTERM, signal.SIGINT


@pytest.mark.parametrize(
    "signals,limit,grace",
    [
        ([], None, None),
        ([], 5, None),
        ([INT], None, None),  # as long as it takes, as with uvicorn
        ([TERM], None, 1.0),
        ([INT], 5, 5.0),
        ([TERM], 5, 5.0),
        ([TERM], 0, 1.0),
    ],
)
def test_what_is_left_of_the_limit_bounds_the_rest(
    watchdog: FakeWatchdog, signals: list[int], limit: float | None, grace: float | None
) -> None:
    """A second at least; nobody's process is bounded where no signal asked for its end."""
    end = an_ending(limit)
    for number in signals:
        end.on_signal(number)
    assert end.grace() == grace


@pytest.mark.parametrize(
    ("lifespan", "threads", "deadline"), [(None, False, "off"), (7, False, ("end", 9.0, 1)), (7, True, "off")]
)
def test_deadlines_follow_the_way_of_a_shutdown(
    watchdog: FakeWatchdog, heard: list[int], lifespan: float | None, threads: bool, deadline: Any
) -> None:
    """Requests have the limit and two seconds, the app's shutdown its own, where it has one, the rest what is left."""
    end = an_ending(3, lifespan)
    with end.owning_process():
        end.on_signal(INT)
        end.on_drain()
        end.on_drained(is_looked_after=threads)
        end.on_finished()
    # Behind that nothing is bounded: the limit was not exceeded, and Ctrl+C gives the process back to its program.
    assert watchdog.told == [("end", 5.0, 1), deadline, ("end", 3.0, 0), "off"]


def test_an_unbounded_end_has_no_deadline_of_the_lifespan(watchdog: FakeWatchdog, heard: list[int]) -> None:
    """Ctrl+C, and a shutdown in time: what comes then takes as long as it takes; behind a late one it has a second."""
    for is_late in (False, True):
        watchdog.told.clear()
        end = an_ending(None, 7)
        with end.owning_process():
            end.on_signal(INT)
            end.on_drain()
            end.on_drained()
            end.exceeded_limit = is_late
            end.on_finished()
            assert watchdog.told == [("end", 9.0, 1), ("end", 1.0, 0) if is_late else "off"]


@pytest.mark.parametrize("reason", ["SIGTERM", "limit", "force"])
def test_the_interpreters_end_is_bounded_where_it_must_come(
    watchdog: FakeWatchdog, heard: list[int], reason: str
) -> None:
    """After SIGTERM, where the limit was exceeded, and after a forced stop, within the time of that."""
    end = an_ending(None)
    with pytest.raises(SystemExit), end.owning_process():
        end.on_signal(TERM if reason == "SIGTERM" else INT)
        end.exceeded_limit = reason == "limit"
        if reason == "force":
            end.on_force()
        raise SystemExit(5)
    assert watchdog.told[-2:] == ["off", ("interpreter", 0.4 if reason == "force" else 1.0, 5)]


def test_a_forced_stop_has_one_deadline(watchdog: FakeWatchdog, heard: list[int]) -> None:
    """Neither a third signal nor what follows in the shutdown moves it."""
    end = an_ending(3)
    with end.owning_process():
        end.on_signal(INT)
        end.on_force()
        end.on_force()
        end.on_drain()
        end.on_drained()
        end.on_finished()
        assert watchdog.told == [("end", 0.4, 0)]


def test_a_forced_stop_keeps_its_deadline_whenever_it_comes(
    watchdog: FakeWatchdog, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the signal arrives while another deadline is being set or called off."""
    end = an_ending(3)
    with end.owning_process():
        end.on_signal(INT)

        def interrupted(*_: Any) -> None:
            end.on_force()
            watchdog.told.append("off")

        monkeypatch.setattr(watchdog, "call_off", interrupted)
        end.on_drained()
        assert watchdog.told == [("end", 0.4, 0), "off", ("end", 0.4, 1)]
        monkeypatch.undo()


def test_behind_the_command_an_interrupt_ends_the_interpreter(
    watchdog: FakeWatchdog, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its threads and `atexit` may take for ever once the server is done; a program that goes on is left alone."""
    for ends_with_server in (True, False):
        monkeypatch.setattr(watchdog, "ends_with_server", ends_with_server)
        end = an_ending(None)
        with end.owning_process():
            end.on_signal(INT)
        watchdog.told.clear()
        before = signal.getsignal(INT)
        signal.raise_signal(INT)
        assert watchdog.told == ([("end", 0.4, 0)] if ends_with_server else [])
        assert heard == ([] if ends_with_server else [INT])
        if ends_with_server:
            assert callable(before)
            signal.signal(INT, lambda sig, _: heard.append(sig))


@pytest.mark.parametrize("owns", [True, False])
def test_sigquit_is_for_a_process_of_ones_own(watchdog: FakeWatchdog, heard: list[int], owns: bool) -> None:
    """It is not raised again. A program that embeds the server keeps what it has there; so does one with its own."""
    before = signal.getsignal(ending.SIGQUIT)
    end, got = an_ending(None), []
    with contextlib.ExitStack() as stack:
        if owns:
            stack.enter_context(end.owning_process())
        stack.enter_context(end.capturing(lambda sig, _: (got.append(sig), end.on_signal(sig))))
        if owns:
            signal.raise_signal(ending.SIGQUIT)
        assert (signal.getsignal(ending.SIGQUIT) is before) is not owns
    assert signal.getsignal(ending.SIGQUIT) is before
    assert got == [ending.SIGQUIT] * owns
    assert end.is_told_to_quit is owns
    assert (end.signals, heard) == ([], [])
    mine = signal.signal(ending.SIGQUIT, lambda *_: None)
    try:
        with end.owning_process(), end.capturing(lambda *_: None):
            assert signal.getsignal(ending.SIGQUIT) is not mine
            signal.raise_signal(ending.SIGQUIT)
    finally:
        signal.signal(ending.SIGQUIT, before)


def test_a_process_of_somebody_else_has_no_deadlines(watchdog: FakeWatchdog, heard: list[int]) -> None:
    """A program that embeds a server decides itself how long it lives."""
    end = an_ending(3)
    end.on_signal(TERM)
    end.on_force()
    end.on_drain()
    end.on_drained()
    end.on_finished()
    assert watchdog.told == []


@pytest.mark.parametrize("original,code", [(signal.SIG_DFL, 143), (lambda *_: None, 0)], ids=["default", "own"])
def test_the_exit_code_is_what_the_signal_would_have_made_it(
    watchdog: FakeWatchdog, heard: list[int], original: Any, code: int
) -> None:
    """Where SIGTERM would have ended the process: what a shell shows for that."""
    end = an_ending(3)
    signal.signal(TERM, original)
    with end.owning_process(), end.capturing(lambda *_: None):
        end.on_signal(TERM)
        end.on_finished()
        end.signals.clear()  # lest it comes again
    assert ("end", 3.0, code) in watchdog.told


def test_signals_are_raised_again_once_by_the_outermost(heard: list[int]) -> None:
    """The last one first, as uvicorn does."""
    end = an_ending(None)

    def handler(sig: int, frame: object) -> None:
        end.on_signal(sig)

    with end.capturing(handler):
        with end.capturing(handler):
            signal.raise_signal(TERM)
        assert heard == []
        signal.raise_signal(INT)
        assert heard == []
    assert heard == [INT, TERM]


def test_a_fork_gets_the_former_effect(heard: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that the app has forked has handlers that it did not ask for: it gets those before, and this signal."""
    end = an_ending(None)

    def handler(sig: int, frame: object) -> None:
        if not end.is_for_a_fork(sig):
            end.on_signal(sig)

    with end.capturing(handler):
        monkeypatch.setattr(os, "getpid", lambda: -1)
        signal.raise_signal(TERM)
        signal.raise_signal(TERM)
        assert heard == [TERM, TERM]
    assert end.signals == []


def test_a_handler_that_is_called_directly_takes_it_as_it_comes() -> None:
    """Programs that handle signals themselves call `Server.handle_exit`; where a server was made says nothing."""
    assert not an_ending(None).is_for_a_fork(TERM)
