"""Whole responses wait for the end of the turn under load, and only then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pounce.connection.held_output import REVIEWED, HeldOutput
from tests.connection.held_fakes import Clock, Holder
from tests.fakes import Connection, answer, get, settle

pytestmark = pytest.mark.anyio


class Writer(Holder):
    """Counts how often it was flushed."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__(broken)
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1
        self.write()


def review(held: HeldOutput, clock: Clock, seconds: float, times: int = 1) -> None:
    """Let `times` reviews pass, as many seconds apart."""
    for _ in range(times):
        clock.now += seconds
        held.review()


def patient(clock: Clock) -> HeldOutput:
    """One that has seen load."""
    held = HeldOutput()
    review(held, clock, 0.1, times=2)
    assert held.patient
    return held


async def test_they_are_flushed_when_the_turn_ends(clock: Clock) -> None:
    """In the order in which they came, with one callback, and not before."""
    held, writers = HeldOutput(), [Writer() for _ in range(3)]
    for writer in writers:
        held.add(writer, asyncio.get_running_loop())
    assert [writer.flushed for writer in writers] == [0, 0, 0]
    await asyncio.sleep(0)
    assert [writer.flushed for writer in writers] == [1, 1, 1]
    await asyncio.sleep(0)
    assert [writer.flushed for writer in writers] == [1, 1, 1]


async def test_a_broken_one_harms_no_other(clock: Clock) -> None:
    """It is aborted; those behind it are written."""
    held, writers = HeldOutput(), [Writer(broken=True), Writer()]
    for writer in writers:
        held.add(writer, asyncio.get_running_loop())
    await asyncio.sleep(0)
    assert writers[0].aborted
    assert writers[1].flushed == 1
    assert not writers[1].aborted


async def test_many_are_not_held_until_the_end(clock: Clock) -> None:
    """So many in one turn are written before it ends; the rest when it does."""
    held, writers = HeldOutput(), [Writer() for _ in range(40)]
    for writer in writers:
        held.add(writer, asyncio.get_running_loop())
    assert [writer.flushed for writer in writers] == [1] * 32 + [0] * 8
    await asyncio.sleep(0)
    assert [writer.flushed for writer in writers] == [1] * 40


async def test_none_waits_for_slow_ones(clock: Clock) -> None:
    """Once the first has waited for a millisecond, what is held is written."""
    held, writers = HeldOutput(), [Writer() for _ in range(3)]
    for writer in writers:
        held.add(writer, asyncio.get_running_loop())
        clock.now += 0.0006
    assert [writer.flushed for writer in writers] == [1, 1, 1]


def test_patience_needs_load(clock: Clock) -> None:
    """A thousand responses a second and more, not fewer."""
    held = HeldOutput()
    assert not held.patient
    review(held, clock, 0.2, times=3)
    assert not held.patient
    review(held, clock, 0.1)
    assert held.patient
    review(held, clock, 0.2)
    assert not held.patient


async def test_patience_ends_where_nothing_is_shared(clock: Clock) -> None:
    """Responses that came alone in their turns are written at once for a while."""
    held = patient(clock)
    for _ in range(REVIEWED):
        held.add(Writer(), asyncio.get_running_loop())
        await asyncio.sleep(0)
    review(held, clock, 0.1)
    assert not held.patient
    review(held, clock, 0.1, times=8)
    assert not held.patient
    review(held, clock, 0.1)
    assert held.patient


async def test_patience_ends_where_the_loop_is_blocked(clock: Clock) -> None:
    """A response that was held for milliseconds was one too many."""
    held = patient(clock)
    held.add(Writer(), asyncio.get_running_loop())
    clock.now += 0.2  # something blocks
    await asyncio.sleep(0)
    assert not held.patient
    review(held, clock, 0.1, times=8)
    assert not held.patient


async def test_an_app_that_works_on_after_its_response(parser: str, loop: Any) -> None:
    """Without load its response is on the wire before the work begins, as with uvicorn."""
    written: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"done")
        written.append(bytes(connection.transport.written))

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get())
        assert written[0].endswith(b"done")


@pytest.mark.parametrize("waits", [False, True])
async def test_responses_of_a_turn_are_written_in_a_row(waits: bool, parser: str, clock: Clock) -> None:
    """Under load: no response is written before the last app of the turn has answered; then all are."""
    seen: list[int] = []
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if waits:
            await gate.wait()
        await answer(send, b"done")
        seen.append(sum(len(connection.transport.written) for connection in connections))

    connections = [Connection(parser, app, loop=asyncio.get_running_loop()) for _ in range(3)]
    for connection in connections:
        connection.protocol._held_output = connections[0].state.held_output
        connection.protocol._held_output.patient = True
        connection.protocol.data_received(get())
    gate.set()
    await settle()
    assert seen == [0, 0, 0]
    assert [connection.responses()[0].body for connection in connections] == [b"done"] * 3
    for connection in connections:
        connection.protocol.transport.close()
    await settle()


@pytest.mark.parametrize("seconds", [0.0, 0.0006, 0.002, 0.01])
@pytest.mark.parametrize("count", [3, 40])
async def test_every_response_is_written_however_long_apps_take(
    count: int, seconds: float, parser: str, clock: Clock
) -> None:
    """Those that are written before the turn ends and those that are not, the one that made it too late included."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clock.now += seconds
        await answer(send, b"done")

    connections = [Connection(parser, app, loop=asyncio.get_running_loop()) for _ in range(count)]
    for connection in connections:
        connection.protocol._held_output = connections[0].state.held_output
        connection.protocol._held_output.patient = True
        connection.protocol.data_received(get())
    await settle()
    assert [connection.responses()[0].body for connection in connections] == [b"done"] * count
    for connection in connections:
        connection.protocol.transport.close()
    await settle()


async def test_a_client_that_half_closes_gets_its_response(parser: str, clock: Clock) -> None:
    """Behind its request comes the end of its side, in the same turn: asyncio closes then, so it is written first."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"done")

    connection = Connection(parser, app, loop=asyncio.get_running_loop())
    connection.protocol._held_output.patient = True
    connection.protocol.data_received(get())
    if not connection.protocol._eager:
        await asyncio.sleep(0)  # the app's step; the turn is not over
    assert not connection.transport.written
    connection.protocol.eof_received()
    connection.transport.close()
    assert connection.responses()[0].body == b"done"
    await settle()


async def test_another_loop_takes_over(clock: Clock) -> None:
    """A loop that was stopped before its turn ended leaves nothing that would keep the next loop from flushing."""
    held, first, second = HeldOutput(), Writer(), Writer()
    stopped = asyncio.new_event_loop()
    held.add(first, stopped)
    stopped.close()
    held._connections.clear()
    held.add(second, asyncio.get_running_loop())
    await asyncio.sleep(0)
    assert second.flushed == 1


async def test_load_makes_patience_and_blocking_ends_it(parser: str, clock: Clock) -> None:
    """On a connection: many quick requests in a row begin it, one app that blocks the loop ends it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"done")
        if scope["path"] == "/blocks":
            clock.now += 0.006

    async with Connection(parser, app, loop=asyncio.get_running_loop()) as connection:
        held = connection.state.held_output
        held._reviewed = clock.now
        await connection.feed(b"".join([get()] * REVIEWED))
        async with asyncio.timeout(5):
            while connection.state.total_requests < REVIEWED:
                await settle()
        assert held.patient
        await connection.feed(get("/blocks"))
        await settle()
        assert not held.patient
