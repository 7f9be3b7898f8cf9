"""HTTP/1.1: connections whose clients owe something end in time, and nobody else does; nothing of them is kept."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pounce.connection.state import ServerState
from tests.fakes import PROTOCOLS, Clock, Connection, FakeTransport, answer, get, post, read_body, settle

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("parser", PROTOCOLS)]

HEAD = b"GET /slow HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    with contextlib.suppress(ConnectionResetError):  # kept in the log, it would keep all the rest
        await answer(send, await read_body(receive))


def connected(parser: str, app: Any = echo, *, state: ServerState | None = None, **deadlines: float) -> Any:
    """A connection that a worker looks after, and its clock."""
    state = ServerState() if state is None else state
    clock = Clock(state, **deadlines)
    return Connection(parser, app, sweeps=True, state=state), clock


# Heads


async def test_a_silent_client_just_ends(parser: str) -> None:
    """A browser that has connected ahead would take an answer for that to its next request."""
    connection, clock = connected(parser)
    async with connection:
        clock.run(30)
        assert not connection.closed
        clock.run(1)
        assert (connection.closed, connection.take()) == (True, b"")


async def test_half_a_head_is_answered(parser: str) -> None:
    """408, however often a little more of it comes."""
    connection, clock = connected(parser)
    async with connection:
        await connection.feed(HEAD)
        for number in range(30):
            clock.run(1)
            assert not connection.closed
            await connection.feed(b"X-%d: y\r\n" % number)
        clock.run(1)
        [response] = connection.responses()
        assert (connection.closed, response.status) == (True, 408)
        await connection.feed(b"\r\n")
        assert connection.take() == b""


async def test_the_first_head_counts_from_accept(parser: str) -> None:
    """Over TLS the object is made when the socket is accepted, and connected when hands are shaken."""
    connection, clock = connected(parser)
    async with connection:
        made = PROTOCOLS[parser](connection.config, connection.state, {}, _loop=asyncio.get_running_loop())
        clock.run(20)
        transport = FakeTransport()
        transport.protocol = made
        made.connection_made(transport)  # type: ignore[arg-type]
        transport.feed(HEAD)
        clock.run(9.5)
        assert not transport.closed
        clock.run(1)
        assert transport.closed
        assert transport.take().startswith(b"HTTP/1.1 408 ")
        await settle()


async def test_so_is_half_of_a_later_one(parser: str) -> None:
    """Its time begins with its first byte, behind the idle time, which has a limit of its own."""
    connection, clock = connected(parser)
    async with connection:
        for _ in range(20):
            await connection.feed(get())
            clock.run(4)
        await connection.feed(HEAD)
        connection.take()
        clock.run(29.5)
        assert not connection.closed
        clock.run(1)
        assert connection.closed
        assert connection.take().startswith(b"HTTP/1.1 408 ")


async def test_each_head_has_its_own_time(parser: str) -> None:
    """A client whose requests are always cut where the clock looks is not late."""
    connection, clock = connected(parser)
    async with connection:
        await connection.feed(HEAD)
        for _ in range(60):
            clock.run(1)
            await connection.feed(b"\r\n" + HEAD)
        assert not connection.closed
        assert len(connection.responses()) == 60


async def test_a_hundred_heads_at_a_byte_a_second(parser: str) -> None:
    """All are cut when their time is over, and told."""
    state = ServerState()
    clock = Clock(state)
    connections = [Connection(parser, echo, sweeps=True, state=state) for _ in range(100)]
    head = (HEAD * 2)[:31]
    for second in range(29):
        for connection in connections:
            connection.transport.feed(head[second : second + 1])
        clock.run(1)
    assert not any(connection.closed for connection in connections)
    clock.run(2)
    assert all(connection.closed for connection in connections)
    assert {connection.take()[:13] for connection in connections} == {b"HTTP/1.1 408 "}
    await settle()
    clock.run(0.5)
    assert (state.connections, clock.held) == (set(), 0)


async def test_a_loop_that_stands_still_counts_for_nobody(parser: str) -> None:
    """What has come meanwhile is not read yet; of the time one second counts."""
    connection, clock = connected(parser)
    async with connection:
        await connection.feed(HEAD)
        clock.run(1)
        clock.now += 1000
        clock.run(20)
        assert not connection.closed
        await connection.feed(b"\r\n")
        clock.run(1)
        clock.now += 1000
        clock.run(1)
        assert not connection.closed, "it was not idle for as long as that"
        assert [response.status for response in connection.responses()] == [200]


@pytest.mark.parametrize("method", ["owed", "on_late", "timeout_keep_alive_handler"])
async def test_a_connection_that_fails_is_cut(parser: str, method: str, caplog: pytest.LogCaptureFixture) -> None:
    """The pass goes on with the others, in whichever order they come, and the server lives."""

    def fail(self: Any, *_: Any) -> None:
        raise ValueError("a bug")

    state = ServerState()
    clock = Clock(state)
    broken, other = [Connection(parser, echo, sweeps=True, state=state) for _ in range(2)]
    broken.protocol.__class__ = type("Broken", (PROTOCOLS[parser],), {method: fail, "__slots__": ()})
    for connection in broken, other:
        await connection.feed(get() if method == "timeout_keep_alive_handler" else HEAD)
    clock.run(0.5)
    await settle()
    clock.run(31)
    assert (broken.closed, other.closed) == (True, True)
    assert caplog.messages.count("Cannot look after a connection, which is cut") == 1
    await settle()
    clock.run(0.5)
    assert (clock.held, state.connections) == (0, set())


async def test_without_limits(parser: str) -> None:
    """As with uvicorn: for ever."""
    connection, clock = connected(parser, head=0)
    async with connection:
        await connection.feed(HEAD)
        clock.run(1000)
        assert not connection.closed
    async with Connection(parser, echo, sweeps=True, state=connection.state) as connection:
        await connection.feed(post(b"hello")[:-1])
        clock.run(1000)
        assert not connection.closed


# Bodies


async def test_an_app_and_a_body_have_their_time(parser: str) -> None:
    """Neither is a head."""
    opened = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await opened.wait()
        await echo(scope, receive, send)

    connection, clock = connected(parser, slow, body=10)
    async with connection:
        await connection.feed(post(b"12")[:-1])
        clock.run(100)
        assert not connection.closed, "nobody waits for the rest of it"
        opened.set()
        await settle()
        clock.run(9.5)
        await connection.feed(b"2")
        assert [response.body for response in connection.responses()] == [b"12"]


async def test_a_body_that_does_not_come(parser: str) -> None:
    """408 where there is no response yet; the app is told that its client is gone. A piece in time is enough."""
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            told.append(message["type"])
            if message["type"] == "http.disconnect":
                break

    connection, clock = connected(parser, app, body=10)
    async with connection:
        await connection.feed(post(b"0123456789" * 2)[:-20])
        for _ in range(10):
            await connection.feed(b"x")
            clock.run(9)
        assert not connection.closed
        clock.run(1.5)
        assert connection.closed
        await settle()
        [response] = connection.responses()
        assert response.status == 408
        assert told == [*["http.request"] * 10, "http.disconnect"]


async def test_a_body_that_stops_behind_the_beginning_of_its_response(parser: str) -> None:
    """There is nothing more to say: the connection ends in the middle of the response."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        await read_body(receive)

    connection, clock = connected(parser, app, body=10)
    async with connection:
        await connection.feed(post(b"12")[:-1])
        clock.run(11)
        [response] = connection.responses()
        assert (connection.closed, response.body, response.complete) == (True, b"so far", False)


async def test_framing_is_no_body(parser: str) -> None:
    """A chunk extension, byte by byte, brings nothing."""
    connection, clock = connected(parser, body=10)
    async with connection:
        await connection.feed(get("/", "Transfer-Encoding: chunked", method="POST") + b"1;")
        for _ in range(10):
            await connection.feed(b"x")
            clock.run(1)
        assert not connection.closed
        clock.run(1)
        assert (connection.closed, connection.responses()[0].status) == (True, 408)


async def test_an_app_that_asks_for_a_moment_at_a_time(parser: str) -> None:
    """Each of its calls is a new one, but the client has not sent anything: its time goes on."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message: Any = {"type": None}
        while message["type"] != "http.disconnect":
            call = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if not call.done():
                call.cancel()
                calls.append(call)
            else:
                message = call.result()

    calls: list[Any] = []
    connection, clock = connected(parser, app, body=10)
    async with connection:
        await connection.feed(post(b"12")[:-1])
        for _ in range(100):
            while not connection.protocol.cycle.readers:
                await asyncio.sleep(0)
            clock.run(0.5)
            await asyncio.sleep(0)
            if connection.closed:
                break
        assert connection.closed
        assert len(calls) > 10


# Output


async def test_a_response_that_is_not_taken(parser: str) -> None:
    """The connection is cut, and the app goes on as behind any client that has left."""
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        ended.set()

    connection, clock = connected(parser, app, write=10)
    async with connection:
        connection.transport.limit = 100
        await connection.feed(get())
        clock.run(9)
        del connection.transport.written[:1]  # which is not enough for the app to go on
        clock.run(9)
        assert not connection.closed
        assert not ended.is_set()
        clock.run(2)
        assert connection.closed
        await ended.wait()


async def test_a_whole_response_that_is_not_taken(parser: str) -> None:
    """The connection is idle for the server; its client is late all the same, and not for the keep-alive time alone."""
    connection, clock = connected(parser, sends_nothing_else, write=3)
    async with connection:
        connection.transport.limit = 100
        await connection.feed(get())
        clock.run(2.5)
        connection.take()
        clock.run(2)
        assert not connection.closed
        await connection.feed(get())
        clock.run(2.5)
        assert not connection.closed
        clock.run(1)
        assert connection.closed


async def test_so_is_the_end_of_one(parser: str) -> None:
    """A transport that is closed waits for its client to take the rest: its time counts from then."""
    state = ServerState()
    clock = Clock(state, write=10)
    connection = Connection(parser, sends_nothing_else, sweeps=True, state=state)
    transport = Slow()
    transport.protocol = connection.protocol
    connection.transport = connection.protocol.transport = connection.protocol.writer.transport = transport
    async with connection:
        await connection.feed(get("/", "Connection: close"))
        assert transport.closed
        clock.run(9)
        assert not transport.aborted
        clock.run(2)
        assert transport.aborted


async def sends_nothing_else(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"x" * 1000)


class Slow(FakeTransport):
    """One whose client has not taken what was written when it is closed."""

    aborted = False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True
        self.lose()


# What is kept


async def _answered(connection: Connection) -> None:
    await connection.feed(get("/", "Connection: close"))


async def _refused(connection: Connection) -> None:
    await connection.feed(HEAD + b"nonsense\r\n\r\n")


async def _half_closed(connection: Connection) -> None:
    if not connection.protocol.eof_received():
        connection.transport.close()


ENDS: dict[str, Callable[[Connection], Awaitable[object] | None] | None] = {
    "the client's end": lambda c: c.transport.lose(),
    "a reset": lambda c: c.transport.lose(ConnectionResetError()),
    "the client's half": _half_closed,
    "the last response": _answered,
    "a broken request": _refused,
    "a shutdown": lambda c: c.protocol.shutdown(),
    "an abort": lambda c: c.protocol.abort(),
    "the deadline": None,
}


@pytest.mark.parametrize("sent", [b"", HEAD, post(b"hello")[:-1]], ids=["nothing", "a head", "a body"])
@pytest.mark.parametrize("end", ENDS)
async def test_nothing_is_kept_of_a_connection_that_ends(parser: str, end: str, sent: bytes) -> None:
    """Not longer than to the next pass, whichever way it ends: no debt, no object, no timer."""
    gc.disable()
    try:
        connection, clock = connected(parser, body=10)
        if sent:
            await connection.feed(sent)
        clock.run(1)
        assert clock.held == 1
        ends = ENDS[end]
        ended = ends and ends(connection)
        if ended is not None:
            await ended
        if not connection.closed:
            clock.run(31)
        await settle()
        assert connection.closed
        clock.run(0.5)
        assert (clock.held, connection.state.connections) == (0, set())
        await connection.apps_done()
        protocol = weakref.ref(connection.protocol)
        connection.transport.protocol = connection.protocol = None  # type: ignore[assignment]
        await settle()
        assert protocol() is None
    finally:
        gc.enable()
