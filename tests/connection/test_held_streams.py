"""Parts of a response that come in quick succession are written together; no other part waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pounce.connection.flow import FlowControl
from pounce.connection.held_streams import HeldStreams
from tests.connection.held_fakes import Clock, Holder
from tests.fakes import Connection, FakeTransport, answer, get, settle

pytestmark = pytest.mark.anyio

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Stream(Holder):
    """Goes on for some turns, then pauses."""

    def __init__(self, turns: int = 0, broken: bool = False) -> None:
        super().__init__(broken)
        self.turns = turns
        self.asked = self.released = 0

    def goes_on(self) -> bool:
        self.asked += 1
        return self.asked <= self.turns

    def release(self, goes_on: bool) -> None:
        self.went_on = goes_on
        self.released += 1
        self.write()


async def start(send: Send, *fields: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(fields)})


async def part(send: Send, body: bytes, more_body: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more_body})


# The worker's list


async def test_a_stream_is_released_when_it_pauses(clock: Clock) -> None:
    """After the first turn in which it does not go on, and once."""
    held, stream = HeldStreams(), Stream(turns=3)
    held.add(stream, asyncio.get_running_loop())
    for _ in range(3):
        await asyncio.sleep(0)
        assert not stream.released
    await asyncio.sleep(0)
    assert stream.released == 1
    await settle()
    assert (stream.asked, stream.released, stream.went_on) == (4, 1, False)


async def test_a_stream_that_does_not_pause_is_released_in_time(clock: Clock) -> None:
    """Nothing waits for more than a millisecond and the turn in which that passes."""
    held, stream = HeldStreams(), Stream(turns=1000)
    held.add(stream, asyncio.get_running_loop())
    await asyncio.sleep(0)
    clock.now += 0.0009
    await asyncio.sleep(0)
    assert not stream.released
    clock.now += 0.0002
    await asyncio.sleep(0)
    assert (stream.released, stream.went_on) == (1, True)
    assert held.wait_from <= clock.now


async def test_each_pauses_for_itself(clock: Clock) -> None:
    """A stream that goes on keeps no other back, and a broken one harms none."""
    held, streams = HeldStreams(), [Stream(), Stream(turns=2), Stream(broken=True), Stream()]
    for stream in streams:
        held.add(stream, asyncio.get_running_loop())
    await asyncio.sleep(0)
    assert [stream.released for stream in streams] == [1, 0, 1, 1]
    assert [stream.aborted for stream in streams] == [False, False, True, False]
    await settle()
    assert [stream.released for stream in streams] == [1, 1, 1, 1]


def test_none_waits_after_the_loop_was_blocked(clock: Clock) -> None:
    """A part that was held for milliseconds was one too many: for a second, none is."""
    held = HeldStreams()
    held.on_written(clock.now - 0.004)
    assert held.wait_from <= clock.now
    held.on_written(clock.now - 0.006)
    assert held.wait_from == clock.now + 1.0


async def test_another_loop_takes_over(clock: Clock) -> None:
    """What was scheduled on a loop that has ended keeps nobody waiting."""
    held, stopped, stream = HeldStreams(), asyncio.new_event_loop(), Stream()
    held.add(Stream(), stopped)
    stopped.close()
    held.add(stream, asyncio.get_running_loop())
    await asyncio.sleep(0)
    assert stream.released == 1


# On a connection


async def test_a_part_that_comes_alone_is_written_at_once(parser: str, loop: Any, clock: Clock) -> None:
    """With its head, before `send` returns; and so is the next, a moment later."""
    written: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for _ in range(3):
            await part(send, b"tick")
            written.append(bytes(connection.transport.written).count(b"tick"))
            clock.now += 0.002
        await part(send, b"", False)

    async with Connection(parser, app, loop=loop) as connection:
        await connection.feed(get())
        assert written == [1, 2, 3]
        assert connection.responses()[0].body == b"tick" * 3


@pytest.mark.parametrize("turns", [0, 1])
async def test_parts_in_quick_succession_are_written_together(turns: int, parser: str, clock: Clock) -> None:
    """In one step of the app or over turns of the loop. The first leaves at once; the last takes the others with it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for number in range(20):
            await part(send, b"%d," % number)
            for _ in range(turns):
                await asyncio.sleep(0)
        await part(send, b"", False)

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        await connection.apps_done()
        await settle()
        [response] = connection.responses()
        assert response.body == b"".join(b"%d," % number for number in range(20))
        assert response.complete
        assert connection.transport.writes <= 3


async def test_a_part_waits_for_no_more_than_a_quiet_turn(parser: str, clock: Clock) -> None:
    """Two parts in quick succession, then the app waits for something else."""
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await part(send, b"one,")
        await part(send, b"two,")
        await gate.wait()
        await part(send, b"three", False)

    async with Connection(parser, app) as connection:
        await connection.feed(get())  # some turns
        assert b"two," in connection.transport.written
        gate.set()
        await connection.apps_done()
        assert connection.responses()[0].body == b"one,two,three"


@pytest.mark.parametrize("turns", [0, 1])
async def test_no_part_waits_after_the_loop_was_blocked(turns: int, parser: str, clock: Clock) -> None:
    """The app computes behind its second part: that one is late, those behind it are written at once."""
    written: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for _ in range(2):
            await settle(turns)
            await part(send, b"tick")
        clock.now += 0.2
        await settle(2)
        for _ in range(3):
            await part(send, b"tick")
            written.append(bytes(connection.transport.written).count(b"tick"))
        await part(send, b"", False)

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        await connection.apps_done()
        assert written == [3, 4, 5]


@pytest.mark.parametrize(("size", "pieces", "held"), [(10, 64, 10_000), (5000, 64, 65_536), (40_000, 64, 65_536)])
async def test_what_is_held_is_bounded(size: int, pieces: int, held: int, parser: str, clock: Clock) -> None:
    """An app that never pauses writes every so often: many small parts, or few large ones."""
    seen: list[tuple[int, int]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for _ in range(300):
            connection.protocol.flow._unhindered = 0  # the client has not proved fast
            await part(send, b"x" * size)
            seen.append((len(connection.protocol._out), sum(map(len, connection.protocol._out))))
        await part(send, b"", False)

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        await connection.apps_done()
        assert max(count for count, _ in seen) <= pieces
        assert max(count for _, count in seen) < held
        assert any(count for count, _ in seen) or size == 40_000  # large parts are joined with none on old asyncio
        assert connection.responses()[0].body == b"x" * size * 300


@pytest.mark.parametrize("size", [10, 40_000])
async def test_parts_that_waited_for_nothing_wait_no_more(size: int, parser: str, clock: Clock) -> None:
    """They come quickly, but each in a turn of its own, with quiet ones between: from another thread, say."""
    held = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal held
        await start(send)
        for _ in range(60):
            await part(send, b"x" * size)
            held += bool(connection.protocol._out)
            await settle(5)
        await part(send, b"", False)

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        await connection.apps_done()
        assert held <= 1
        assert connection.responses()[0].body == b"x" * size * 60


@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_part_that_waited_long_enough_waited_not_in_vain(goes_on: bool, parser: str, clock: Clock) -> None:
    """It is written because time is up, not because its stream paused: the next ones may wait again."""
    gate = asyncio.Event()
    in_vain: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await part(send, b"one")
        await asyncio.sleep(0)
        await part(send, b"two")
        connection.protocol.release(goes_on)
        in_vain.append(connection.protocol._parts_at_once > 0)
        gate.set()
        await part(send, b"three")
        await part(send, b"", False)

    async with Connection(parser, app) as connection:
        connection.transport.feed(get())
        await gate.wait()
        await connection.apps_done()
        assert in_vain == [not goes_on]
        assert connection.responses()[0].body == b"onetwothree"


async def test_the_first_part_waits_for_nothing(parser: str, clock: Clock) -> None:
    """Even if the response before it has ended this very moment."""
    written: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await settle(2)
        await part(send, b"first")
        written.append(bytes(connection.transport.written).endswith(b"first\r\n"))
        await part(send, b"x" * 20_000, False)

    async with Connection(parser, app) as connection:
        for _ in range(3):
            await connection.feed(get())
            await connection.apps_done()
        assert written == [True] * 3


async def test_a_response_behind_a_stream(parser: str, clock: Clock) -> None:
    """Answers keep their order and their bytes where one begins while the connection is still looked at."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/plain":
            return await answer(send, b"plain")
        await start(send)
        for _ in range(5):
            await part(send, b"tick")
        await part(send, b"", False)

    async with Connection(parser, app) as connection:
        await connection.feed(get("/stream") + get("/plain") + get("/stream") + get("/plain"))
        await settle()
        await connection.apps_done()
        bodies = [response.body for response in connection.responses()]
        assert bodies == [b"tick" * 5, b"plain", b"tick" * 5, b"plain"]


@pytest.mark.parametrize("end", ["lost", "eof", "disconnect"])
async def test_a_client_that_leaves_a_held_stream(end: str, parser: str, clock: Clock) -> None:
    """What is held is written where it still can be, and nothing is written to a transport that is gone."""
    sent = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for _ in range(3):
            await part(send, b"tick")
        sent.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    async with Connection(parser, app) as connection:
        connection.transport.feed(get())
        await sent.wait()
        if end == "eof":
            connection.protocol.eof_received()
            assert bytes(connection.transport.written).count(b"tick") == 3
            connection.transport.close()
        elif end == "lost":
            connection.transport.lose()
        else:
            connection.protocol.close()
            assert bytes(connection.transport.written).count(b"tick") == 3
        await connection.apps_done()


async def test_head_requests_hold_nothing(parser: str, clock: Clock) -> None:
    """Their parts are not written at all, and do not count as held."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for size in (4, 40_000, 4):
            await part(send, b"x" * size)
        await part(send, b"", False)

    async with Connection(parser, app) as connection:
        await connection.feed(get(method="HEAD"))
        await connection.apps_done()
        await settle()
        assert connection.responses(heads=(0,))[0].body == b""
        assert connection.protocol._held_size == 0


async def test_a_long_turn_is_no_harm_where_nothing_waited(parser: str, clock: Clock) -> None:
    """Other connections take their time behind a stream that has ended: it was not late."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for _ in range(5):
            await part(send, b"tick")
        await part(send, b"", False)
        clock.now += 0.2

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        await connection.apps_done()
        await settle()
        assert connection.state.held_streams.wait_from == 0.0


@pytest.mark.parametrize("patient", [False, True])
async def test_the_end_of_a_stream_waits_for_nothing(patient: bool, parser: str, clock: Clock) -> None:
    """Its last message takes with it what is held, under load as well."""
    written: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        connection.protocol._held_output.patient = patient
        await start(send)
        for _ in range(3):
            await part(send, b"tick")
        await part(send, b"", False)
        written.append(bytes(connection.transport.written))

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        await connection.apps_done()
        assert written[0].count(b"tick") == 3
        assert connection.responses()[0].complete


# How much may be held


def test_a_fast_client_may_have_more_in_one_go() -> None:
    """The burst doubles for a client that took four times as much without a pause, up to half a mebibyte."""
    flow = FlowControl(FakeTransport())  # type: ignore[arg-type]
    sizes = []
    for _ in range(200):
        flow.wrote(65536)
        sizes.append(flow.burst_size)
    assert sorted(set(sizes)) == [65536, 131072, 262144, 524288]
    assert sizes.index(131072) == 4
    assert sizes[-1] == 524288


def test_a_slow_client_gets_small_bursts_again() -> None:
    """One pause, and it has to show its speed anew."""
    flow = FlowControl(FakeTransport())  # type: ignore[arg-type]
    for _ in range(100):
        flow.wrote(65536)
    flow.pause_writing()
    assert flow.burst_size == 65536
    flow.resume_writing()
    flow.wrote(65536)
    assert flow.burst_size == 65536


def test_a_write_that_pauses_proves_nothing() -> None:
    """The transport says so while it is written to, before the connection can tell how much it wrote."""
    flow = FlowControl(FakeTransport())  # type: ignore[arg-type]
    for _ in range(10):
        flow.pause_writing()
        flow.wrote(1024 * 1024)
        assert flow.burst_size == 65536
        flow.resume_writing()


async def test_a_fast_download_is_written_in_bursts(parser: str, clock: Clock) -> None:
    """Once the client has proved fast, chunks that the app sends in a row leave many at a time."""
    chunk = bytes(65536)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, (b"content-length", b"%d" % (len(chunk) * 64)))
        for _ in range(64):
            await part(send, chunk)
        await part(send, b"", False)

    async with Connection(parser, app) as connection:
        if not connection.protocol._writes_vectors:
            pytest.skip("asyncio before 3.14 joins what it is to write in one go: nothing would be won")
        await connection.feed(get())
        await connection.apps_done()
        assert connection.responses()[0].body == chunk * 64
        assert connection.transport.writes < 32
