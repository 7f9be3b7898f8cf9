"""What an HTTP/2 client can send cheaply keeps neither the loop nor memory: frames and requests have their turns."""

from __future__ import annotations

import asyncio
import itertools
from itertools import pairwise
from typing import Any

import pytest

from pounce.connection import http2_turns, input_turns
from tests.connection.http2_client import POST, Connection
from tests.connection.test_http2 import responds
from tests.wire.http2_peer import data, frame, ping, split

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("http2_wire")]

#: The most frames that are parsed in one turn.
SHARE = 128


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast the machine is: what takes turns by time has had its time with each step."""
    monkeypatch.setattr(input_turns, "LONGEST_TURN", 0.0)
    monkeypatch.setattr(http2_turns, "LONGEST_TURN", 0.0)


class Waiting:
    """An app that answers with a body of this size, and notes which paths it was asked for."""

    def __init__(self, size: int, parts: int = 1) -> None:
        self.size, self.parts = size, parts
        self.paths: list[str] = []
        self.sent = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(self.parts):
            await send({"type": "http.response.body", "body": b"x" * self.size, "more_body": True})
            self.sent += self.size
        await send({"type": "http.response.body"})


@pytest.mark.usefixtures("slow_clock")
async def test_pings_are_answered_in_turns() -> None:
    """No turn of the loop answers more than a share; nothing is read meanwhile; all are answered in order."""
    payloads = [b"%08d" % number for number in range(1000)]
    async with Connection(responds()) as connection:
        connection.transport.take()
        connection.protocol.data_received(b"".join(map(ping, payloads)))
        answered = split(connection.transport.take())
        while len(answered) < 1000:
            assert not connection.transport.reading
            await asyncio.sleep(0)
            new = split(connection.transport.take())
            assert len(new) <= SHARE
            answered += new
        assert [payload for _, _, _, payload in answered] == payloads
        await asyncio.sleep(0)
        assert connection.transport.reading


@pytest.mark.usefixtures("slow_clock")
async def test_tiny_parts_of_a_body_are_read_in_turns() -> None:
    """The app gets all of it, and other streams are answered."""
    got: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        more = scope["method"] == "POST"
        while more:
            message = await receive()
            got.append(len(message["body"]))
            more = message["more_body"]
        await responds()(scope, receive, send)

    async with Connection(app) as connection:
        stream_id = connection.request(POST, end=False)
        await connection.exchange()
        connection.protocol.data_received(data(stream_id, b"x") * 2000 + data(stream_id, b"", 1))
        assert not connection.transport.reading
        await connection.until(lambda: stream_id in connection.answers and connection.answers[stream_id].ended)
        assert sum(got) == 2000
        assert max(got) <= SHARE
        await connection.get()
        assert connection.transport.reading


async def test_what_comes_although_reading_is_paused() -> None:
    """It is parsed behind what is left, wherever it was cut."""
    pings = b"".join(ping(b"%08d" % number) for number in range(900))
    async with Connection(responds()) as connection:
        connection.transport.take()
        for at in range(0, len(pings), 4000):
            connection.protocol.data_received(pings[at : at + 4000])
        output = b""
        for _ in range(100):
            await asyncio.sleep(0)
            output += connection.transport.take()
        assert [payload for _, _, _, payload in split(output)] == [b"%08d" % number for number in range(900)]


@pytest.mark.parametrize("size", [500, 10_000])
async def test_who_comes_while_others_wait(size: int) -> None:
    """A little is dealt with at once, in part if it is many frames; a large read waits as a whole."""

    class Other:
        loop = asyncio.get_running_loop()

        def take_turn(self) -> None:
            """Nothing to do."""

    async with Connection(responds()) as connection:
        connection.transport.take()
        connection.state.input_turns.wait(Other())
        connection.protocol.data_received(ping() * (size // 17))
        answered = len(split(connection.transport.take()))
        assert 0 < answered <= 8 if size == 500 else answered == 0
        for _ in range(40):
            await asyncio.sleep(0)
        assert answered + len(split(connection.transport.take())) == size // 17


@pytest.mark.usefixtures("slow_clock")
async def test_requests_of_one_segment_run_in_turns() -> None:
    """Where their apps take long, others have their turn in between; each is answered, in order."""
    app = Waiting(1)
    async with Connection(app) as connection:
        for number in range(60):
            connection.request([*POST[:3], (":path", f"/{number}")])
        connection.send()
        begun = [len(app.paths)]
        while len(app.paths) < 60:
            await asyncio.sleep(0)
            begun.append(len(app.paths))
        assert max(after - before for before, after in pairwise(begun)) <= 2
        assert app.paths == [f"/{number}" for number in range(60)]
        await connection.until(lambda: len(connection.answers) == 60)


@pytest.mark.usefixtures("slow_clock")
@pytest.mark.parametrize("how", ["reset", "lost", "fault"])
async def test_a_request_that_was_not_begun_never_is(how: str) -> None:
    """Where it is reset or its connection ends before its turn."""
    app = Waiting(1)
    async with Connection(app) as connection:
        numbers = [connection.request() for _ in range(20)]
        connection.send()
        if how == "reset":
            for number in numbers:
                connection.client.reset_stream(number)
            connection.send()
        elif how == "fault":
            connection.protocol.data_received(frame(4, 0, 1))
        else:
            connection.protocol.connection_lost(ConnectionResetError())
        for _ in range(40):
            await asyncio.sleep(0)
        assert len(app.paths) < 6
        if how == "reset":
            assert (await connection.get()).body == b"x"


@pytest.mark.parametrize("quick", [None, 0, 5, 40], ids=["clock", "fast", "5 at first", "40 at first"])
async def test_responses_that_wait_hold_new_requests_up(quick: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a bound of all of them together; as the client takes some, the next ones run. All are answered.

    However fast the machine is: no time passes, or a turn's behind the first few.
    """
    if quick is not None:
        times = itertools.chain(itertools.repeat(0.0, quick), itertools.repeat(1.0))
        monkeypatch.setattr(http2_turns, "monotonic", lambda: next(times))
        monkeypatch.setattr(input_turns, "monotonic", lambda: 1.0)
    app = Waiting(20_000)
    limits = {"waiting_size": 200_000}
    async with Connection(app, limits=limits) as connection:
        connection.acknowledges = False
        for number in range(100):
            connection.request([*POST[:3], (":path", f"/{number}")])
        await connection.exchange(40)
        waiting = connection.protocol.wire.queued_size
        assert 200_000 - 65535 < waiting <= 200_000 + 32 * 20_000
        assert len(app.paths) < 60
        connection.client.increment_flow_control_window(1 << 24)
        await connection.until(lambda: sum(one.ended for one in connection.answers.values()) == 100)
        assert app.paths == [f"/{number}" for number in range(100)]
        assert {len(one.body) for one in connection.answers.values()} == {20_000}


async def test_a_few_large_responses_hold_nobody_up() -> None:
    """Whatever their size: a client may leave eight of them alone, and ask for more."""
    app = Waiting(300_000)
    async with Connection(app, limits={"waiting_size": 200_000}) as connection:
        connection.acknowledges = False
        connection.client.increment_flow_control_window(1 << 24)
        for _ in range(8):
            connection.request()
        await connection.exchange()
        assert connection.protocol.wire.queued_size == 8 * (300_000 - 65535)
        app.size = 5
        assert (await connection.get()).body == b"x" * 5


async def test_send_waits_sooner_where_much_waits() -> None:
    """Beyond the bound, and but for a few, a stream adds no more than one part, though its own limit is far."""
    app = Waiting(1000, parts=60)
    async with Connection(app, limits={"waiting_size": 20_000}, client_settings={4: 0}) as connection:
        for _ in range(30):
            connection.request()
        await connection.exchange(100)
        assert len(app.paths) > 8
        assert app.sent <= connection.protocol.wire.queued_size <= 9 * 60_000 + 30 * 1000
        for number in range(1, 61, 2):
            connection.client.increment_flow_control_window(1 << 20, number)
        await connection.until(lambda: sum(one.ended for one in connection.answers.values()) == 30)
        assert {len(one.body) for one in connection.answers.values()} == {60_000}
