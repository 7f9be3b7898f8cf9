"""Who goes on with its input, and for how long: the connections of a worker that wait for their turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pounce.connection import input_turns
from pounce.connection.input_turns import InputTurns

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    """A clock that goes on by a step with each look at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
        self.now, self.step = 100.0, step
        monkeypatch.setattr(input_turns, "monotonic", self)

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Client:
    """A connection with so many shares left."""

    def __init__(self, turns: InputTurns, name: str, left: int, log: list[str]) -> None:
        self.loop = asyncio.get_running_loop()
        self.turns, self.name, self.left, self.log = turns, name, left, log
        self.shares: list[int] = []

    def take_turn(self) -> None:
        self.log.append(self.name)
        self.shares.append(self.turns.share)
        self.left -= 1
        if self.left:
            self.turns.wait(self)


async def test_they_go_on_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share each, as long as a turn of the loop lasts; then others of that loop, and on."""
    Clock(monkeypatch, input_turns.LONGEST_TURN / 2.5)
    turns, log = InputTurns(), []
    for name, left in (("a", 4), ("b", 1), ("c", 3)):
        turns.wait(Client(turns, name, left, log))
    for _ in range(4):
        await asyncio.sleep(0)
        log.append("turn")
    assert "".join(log).replace("turn", " ") == "abc aca ca  "


async def test_a_turn_is_over_behind_a_share_that_was_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, one more of them is all that a turn of the loop gets then."""
    Clock(monkeypatch, 1.0)
    turns, log = InputTurns(), []
    for name in "abc":
        turns.wait(Client(turns, name, 1, log))
    for expected in ("a", "ab", "abc"):
        await asyncio.sleep(0)
        assert "".join(log) == expected


async def test_apps_that_run_behind_a_turn_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take their time in the same turn of the loop."""

    class Starter(Client):
        def take_turn(self) -> None:
            super().take_turn()
            self.turns.on_app()

    Clock(monkeypatch, 0.0)
    turns, log = InputTurns(), []
    for number in range(25):
        turns.wait(Starter(turns, str(number), 1, log))
    counts = []
    for _ in range(3):
        await asyncio.sleep(0)
        counts.append(len(log))
    assert counts == [10, 20, 25]


async def test_it_waits_once_and_may_leave() -> None:
    """Who waits already does not wait twice, and who is gone is not called."""
    turns, log = InputTurns(), []
    stays, goes = Client(turns, "stays", 1, log), Client(turns, "goes", 1, log)
    for client in (stays, goes, stays, goes):
        turns.wait(client)
    turns.leave(goes)
    turns.leave(goes)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["stays"]


async def test_those_that_wait_are_not_overtaken_by_much() -> None:
    """What has just come gets a small share while others wait; the others' own is the usual one."""
    turns, log = InputTurns(), []
    usual = turns.share
    client = Client(turns, "a", 2, log)
    turns.wait(client)
    assert turns.share < usual / 10
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert client.shares == [client.shares[0]] * 2
    assert usual / 10 < client.shares[0] < usual
    assert turns.share == usual


async def test_an_error_of_one_is_not_the_end_of_others() -> None:
    """It is the loop's, and those behind it have their turn."""
    turns, log = InputTurns(), []
    errors: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: errors.append(context["exception"]))
    broken, error = Client(turns, "broken", 1, log), RuntimeError("broken")

    def take_turn() -> None:
        raise error

    broken.take_turn = take_turn  # type: ignore[method-assign]
    turns.wait(broken)
    turns.wait(Client(turns, "next", 1, log))
    for _ in range(3):
        await asyncio.sleep(0)
    assert (errors, log) == ([error], ["next"])
