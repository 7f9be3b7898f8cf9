"""Shared by the tests of held output: a clock that they set, and a connection whose transport may be broken."""

from __future__ import annotations

import pytest

from pounce.connection import held_output, held_streams, http1_output


class Clock:
    """Stands where the monotonic clock stood."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (held_output, held_streams, http1_output):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)


class Holder:
    """A connection that holds output back. Where it is broken it can neither be written nor aborted."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.aborted = False

    def write(self) -> None:
        if self.broken:
            raise RuntimeError("no transport")

    def abort(self) -> None:
        self.aborted = True
        raise RuntimeError("no transport either")
