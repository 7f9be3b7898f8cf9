"""`Server.handle_exit`: what counts as being told twice."""

from __future__ import annotations

import signal
from multiprocessing import process
from types import SimpleNamespace
from typing import Any

import pytest

from pounce import ending
from pounce.config import Config
from pounce.server import Server
from tests.supervisors.apps import app

INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.mark.parametrize("is_child", [True, False], ids=["child", "no child"])
@pytest.mark.parametrize(
    ("signals", "is_forced"),
    [
        # Signals and the seconds at which they come; whether a child, and another server, stops waiting for requests.
        ([(INT, 0.0)], (False, False)),
        ([(TERM, 0.0)], (False, False)),
        ([(TERM, 0.0), (TERM, 1.0)], (False, False)),
        ([(INT, 0.0), (TERM, 0.01)], (False, False)),
        ([(TERM, 0.0), (INT, 0.001)], (False, True)),
        ([(TERM, 0.0), (INT, 0.3)], (False, True)),
        ([(TERM, 0.0), (INT, 0.5)], (True, True)),
        ([(INT, 0.0), (INT, 0.01)], (True, True)),
        ([(INT, 0.0), (TERM, 0.01), (INT, 0.02)], (True, True)),
        ([(TERM, 0.0), (INT, 0.01), (INT, 0.02)], (True, True)),
    ],
)
def test_what_counts_as_told_twice(
    signals: list[tuple[signal.Signals, float]],
    is_forced: tuple[bool, bool],
    is_child: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A parent's SIGTERM and its group's SIGINT are one wish; two SIGINT are two, in a child as elsewhere."""
    clock = SimpleNamespace(now=0.0)
    fake_time = SimpleNamespace(monotonic=lambda: clock.now)
    server = Server(Config(app, log_config=None))
    monkeypatch.setattr(ending, "time", fake_time)
    parent: Any = object() if is_child else None
    monkeypatch.setattr(process, "parent_process", lambda: parent)
    for number, at in signals:
        clock.now = 100.0 + at
        server.handle_exit(number, None)
    assert server.should_exit
    assert server.force_exit is is_forced[0 if is_child else 1]
