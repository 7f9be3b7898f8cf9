"""How long an app may go on before it has to wait."""

from __future__ import annotations

import asyncio

import pytest

from pounce.exchange import turns
from pounce.exchange.turns import AppGivenUp, HttpTurns, Turns

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept, in no time."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return slept


async def test_a_turn_is_over_after_a_millisecond(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from the last wait, whatever it was for."""
    now = 100.0
    monkeypatch.setattr(turns, "monotonic", lambda: now)
    one = HttpTurns()
    assert one.end == pytest.approx(now + 0.001)
    assert Turns().end < now  # an app that sends before it has waited gives others a turn
    now += 5
    await one.give()
    assert pauses == [0]
    assert one.end == pytest.approx(now + 0.001)
    now += 5
    one.taken()
    assert pauses == [0]
    assert one.end == pytest.approx(now + 0.001)


async def test_a_turn_is_given(pauses: list[float]) -> None:
    """One turn of the loop."""
    await Turns().give()
    assert pauses == [0]


async def test_some_vain_calls_may_be_free(pauses: list[float]) -> None:
    """They cost a turn each, as the first one always does."""
    one = Turns()
    one.free = 3
    for _ in range(6):
        await one.give_in_vain(lambda: False)
    assert pauses == [0, 0, 0, 0, 0.001, 0.002]


async def test_vain_calls_wait_longer_and_longer(pauses: list[float]) -> None:
    """One turn of the loop at first, a tenth of a second in the end; an app that has waited meanwhile is forgiven."""
    one = Turns()
    for _ in range(20):
        await one.give_in_vain(lambda: False)
    assert pauses[0] == 0
    assert pauses[1] == 0.001
    assert pauses == sorted(pauses)
    assert pauses[-10:] == [0.1] * 10
    pauses.clear()
    one.taken()
    await one.give_in_vain(lambda: True)
    assert pauses == [0]


async def test_vain_calls_end_with_the_server(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that goes on all the same is ended when the server stops, after a pause as ever: it may ignore that."""
    monkeypatch.setattr(turns, "monotonic", lambda: 100 + sum(pauses))
    one = Turns()
    with pytest.raises(AppGivenUp):
        while True:
            await one.give_in_vain(lambda: True)
    assert 0.5 <= sum(pauses) <= 0.6
    with pytest.raises(AppGivenUp):
        await one.give_in_vain(lambda: True)
    assert pauses[-2:] == [0.1, 0.1]


async def test_a_stream_with_long_gaps_ends_with_its_second_vain_call(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is how long an app has gone on, not how often it has called meanwhile."""
    now = 100.0
    monkeypatch.setattr(turns, "monotonic", lambda: now)
    one = HttpTurns()
    await one.give_in_vain(lambda: True)
    now += 15
    with pytest.raises(AppGivenUp):
        await one.give_in_vain(lambda: True)


async def test_the_parts_of_one_response_are_no_reason_to_give_up(pauses: list[float]) -> None:
    """Behind a response that nobody takes, an app may have something to finish, also while the server stops."""
    one = HttpTurns()
    for _ in range(20):
        await one.give_in_vain(lambda: True)
    assert sum(pauses) < 0.1
