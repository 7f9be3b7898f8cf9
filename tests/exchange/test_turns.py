"""When an app that sends has to wait for a turn of the loop, and what it costs to go on without a client."""

from __future__ import annotations

import asyncio

import pytest

from pounce.exchange import turns
from pounce.exchange.turns import Pauses, SendTurns

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(turns, "monotonic", clock)
    return clock


@pytest.mark.parametrize("size", [0, 1, 100, 1000, 65536, 10_000_000])
def test_a_turn_is_due_after_so_many_bytes_or_messages(size: int, clock: Clock) -> None:
    """At least every 64 messages and, but for the message that reaches it, every 256 KiB."""
    counter = SendTurns()
    sent = messages = 0
    for _ in range(1000):
        sent += size
        messages += 1
        if counter.is_due(size):
            assert messages <= 64
            assert sent <= 256 * 1024 + size
            sent = messages = 0
    assert messages <= 64


def test_a_turn_is_due_after_some_time(clock: Clock) -> None:
    """An app that blocks for 5 ms and more between its messages gives a turn with each; not with its first."""
    counter = SendTurns()
    assert not counter.is_due(1)
    clock.now += 0.004
    assert not counter.is_due(1)
    for _ in range(5):
        clock.now += 0.006
        assert counter.is_due(1)


async def test_pauses_grow_to_a_tenth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A while of mere turns, then pauses that double and stay at 100 ms."""
    slept: list[float] = []

    class Recording(Pauses):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)

    counter = SendTurns()
    for _ in range(100):
        await counter.pause(Recording())
    assert slept[:8] == [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.1]
    assert set(slept[8:]) == {0.1}
    assert 10 <= 100 - len(slept) <= 64


async def test_a_stop_ends_pauses() -> None:
    """Who is in a pause is cancelled at once, who comes into one behind it."""
    pauses = Pauses()
    paused = asyncio.create_task(pauses.sleep(60))
    await asyncio.sleep(0)
    pauses.end()
    with pytest.raises(asyncio.CancelledError):
        await paused
    with pytest.raises(asyncio.CancelledError):
        await pauses.sleep(0.001)


async def test_a_cancelled_pause_leaves_nothing() -> None:
    """An app may be cancelled in its pause by somebody else."""
    pauses = Pauses()
    paused = asyncio.create_task(pauses.sleep(60))
    await asyncio.sleep(0)
    paused.cancel()
    with pytest.raises(asyncio.CancelledError):
        await paused
    assert not pauses._waiting
    await pauses.sleep(0)
