"""HTTP/2: connections and streams whose clients owe something end in time, and no other ones."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest

from pounce.connection.http2_auto import negotiator
from pounce.connection.state import ServerState
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from pounce.settings import Settings
from pounce.wire import http2_frames as frames
from pounce.wire.http2_frames import PREFACE, frame_head, settings_frame
from tests.connection import http2_client
from tests.connection.http2_client import GET, POST, Connection
from tests.connection.test_http2_websocket import Socket
from tests.fakes import PROTOCOLS, Clock, FakeTransport, answer, plain_config, read_body, settle
from tests.wire.http2_peer import describe, split

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("http2_wire")]

CANCEL, ENHANCE_YOUR_CALM = 8, 11
BEGINNING = PREFACE + settings_frame({})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, await read_body(receive))


def connected(app: Any = echo, *, limits: Any = None, **deadlines: float) -> tuple[Connection, Clock]:
    """A connection that a worker looks after, and its clock."""
    settings = Settings.of({"http2": {"wire": http2_client.WIRE} | (limits or {}), "deadlines": deadlines})
    connection = Connection(app, sweeps=True, settings=settings)
    clock = Clock(connection.state, **deadlines)
    connection.protocol.connection_made(connection.transport)  # type: ignore[arg-type]
    return connection, clock


def said(connection: Connection) -> list[str]:
    """The frames that the server has sent, but for what every connection begins with."""
    return [describe(*one) for one in split(connection.transport.take())]


@pytest.mark.parametrize("begun", [PREFACE[:20], PREFACE, PREFACE + settings_frame({4: 65535})[:5]])
async def test_a_preface_that_does_not_come(begun: bytes) -> None:
    """Whole, SETTINGS included, and however its bytes drip in: it counts from accept, like the first head."""
    connection, clock = connected()
    clock.run(3)
    for byte in begun[: len(begun) // 2], begun[len(begun) // 2 :]:
        connection.protocol.data_received(byte)
        clock.run(13)
    assert not connection.transport.closed
    clock.run(1.5)
    assert connection.transport.closed
    assert said(connection)[-1].startswith("GOAWAY 0 ENHANCE_YOUR_CALM")


async def test_a_silent_connection_is_idle() -> None:
    """As with uvicorn: it has the keep-alive time, whether it has said its preface or not."""
    for begun in (b"", BEGINNING):
        connection, clock = connected()
        if begun:
            connection.protocol.data_received(begun)
        clock.run(5)
        assert not connection.transport.closed
        clock.run(1)
        assert connection.transport.closed
        assert said(connection)[-1].startswith("GOAWAY 0 NO_ERROR")


async def test_pings_are_signs_of_life() -> None:
    """As with uvicorn: a client that has no request, but asks whether we are there, is not idle."""
    connection, clock = connected()
    connection.protocol.data_received(BEGINNING)
    for _ in range(20):
        connection.protocol.data_received(frame_head(8, frames.PING, 0, 0) + bytes(8))
        clock.run(4)
    assert not connection.transport.closed


@pytest.mark.parametrize("as_continuations", [False, True])
@pytest.mark.parametrize("answers_before", [0, 3])
async def test_a_header_block_that_drips(as_continuations: bool, answers_before: int) -> None:
    """Byte by byte, or a byte in each CONTINUATION: its time is a head's, from its first byte."""
    connection, clock = connected(limits={"continuations": 1000})
    async with connection:
        for _ in range(answers_before):
            await connection.get()
            clock.run(4)
        stream_id = connection.request()
        sent = connection.client.data_to_send()
        block = sent[9:] + b"\x00\x01a\x01b" * 20
        if as_continuations:
            parts = [frame_head(1, frames.HEADERS, frames.END_STREAM, stream_id) + block[:1]]
            parts += [frame_head(1, frames.CONTINUATION, 0, stream_id) + bytes([byte]) for byte in block[1:]]
        else:
            whole = frame_head(len(block), frames.HEADERS, frames.END_STREAM | frames.END_HEADERS, stream_id) + block
            parts = [bytes([byte]) for byte in whole]
        connection.transport.take()
        for part in parts[:30]:
            connection.protocol.data_received(part)
            assert not connection.transport.closed
            clock.run(1)
        clock.run(1)
        assert connection.transport.closed
        assert said(connection)[-1].startswith(f"GOAWAY {stream_id - 2 if answers_before else 0} ENHANCE_YOUR_CALM")


async def test_a_header_block_beside_streams() -> None:
    """Those of others are cut off with it, as nothing can be read any more."""
    connection, clock = connected()
    async with connection:
        connection.request(POST, end=False)
        await connection.exchange()
        connection.request()
        connection.protocol.data_received(connection.client.data_to_send()[:12])
        clock.run(29)
        assert not connection.transport.closed
        clock.run(2)
        assert connection.transport.closed


async def test_each_head_has_its_own_time() -> None:
    """A client whose requests are always cut where the clock looks is not late."""
    connection, clock = connected()
    async with connection:
        begun = b""
        for _ in range(60):
            connection.request()
            sent = connection.client.data_to_send()
            connection.protocol.data_received(begun + sent[:12])
            begun = sent[12:]
            await settle()
            clock.run(1)
            connection.receive()
        assert not connection.transport.closed
        assert len(connection.answers) == 59
        connection.protocol.data_received(begun)


async def test_without_a_limit_for_heads() -> None:
    """As with uvicorn: whatever comes renews the idle time."""
    connection, clock = connected(head=0)
    for byte in BEGINNING[:-1]:
        connection.protocol.data_received(bytes([byte]))
        clock.run(4)
    assert not connection.transport.closed
    clock.run(6)
    assert connection.transport.closed


async def test_a_body_that_does_not_come() -> None:
    """408 for its stream, and the app is told; other streams go on. A piece in time is enough, so is a part of one."""
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            while told[-1:] != ["http.disconnect"]:
                told.append((await receive())["type"])
        await answer(send)

    connection, clock = connected(app, body=10)
    async with connection:
        slow = connection.request(POST, b"x", end=False)
        await connection.exchange()
        connection.client.send_data(slow, b"y" * 30)
        piece = connection.client.data_to_send()
        for part in (piece[:9], piece[9:20], piece[20:]):
            clock.run(9)
            connection.protocol.data_received(part)
            await settle()
        clock.run(9)
        assert told == ["http.request"] * 2
        clock.run(2)
        await connection.exchange()
        assert told == [*["http.request"] * 2, "http.disconnect"]
        response = connection.answers[slow]
        assert (response.status, response.body, response.reset) == (
            "408",
            b"The body of the request did not come in time.",
            0,
        )
        assert (await connection.get("/other")).status == "200"
        assert not connection.transport.closed


async def test_a_body_that_stops_behind_the_beginning_of_its_response() -> None:
    """Its stream is reset."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        await read_body(receive)

    connection, clock = connected(app, body=10)
    async with connection:
        stream_id = connection.request(POST, b"x", end=False)
        await connection.exchange()
        clock.run(11)
        await connection.exchange()
        assert (connection.answers[stream_id].body, connection.answers[stream_id].reset) == (b"so far", CANCEL)
        assert not connection.transport.closed


def sends(size: int) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x" * size)

    return app


async def test_a_stream_that_is_not_taken() -> None:
    """It is reset; one that the client takes goes on, however little that is."""
    connection, clock = connected(sends(200000), write=10)
    async with connection:
        connection.acknowledges = False
        [taken, left] = [connection.request(), connection.request()]
        await connection.exchange()
        connection.client.increment_flow_control_window(1000000)
        await connection.exchange()
        for _ in range(3):
            clock.run(5)
            connection.client.increment_flow_control_window(1, taken)
            await connection.exchange()
        assert connection.answers[left].reset == CANCEL
        assert connection.answers[taken].reset is None
        assert list(connection.protocol.wire.streams) == [taken]
        clock.run(11)
        await connection.exchange()
        assert connection.answers[taken].reset == CANCEL
        assert (connection.protocol.wire.queued_size, connection.transport.closed) == (0, False)


@pytest.mark.parametrize("ws", [WSProtocol, WebSocketsSansIOProtocol])
async def test_a_websocket_that_is_not_taken(ws: Any) -> None:
    """Its stream is reset, and `send()` fails."""
    failed = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 30000})
        except OSError:
            failed.set()

    connection = Connection(app, sweeps=True, ws_protocol_class=ws)
    clock = Clock(connection.state, write=10)
    async with connection:
        connection.acknowledges = False
        socket = Socket(connection)
        await socket.opened()
        await connection.exchange()
        clock.run(11)
        await connection.exchange()
        assert connection.answers[socket.stream_id].reset == CANCEL
        await asyncio.wait_for(failed.wait(), 5)


async def test_a_client_that_reads_nothing_at_all() -> None:
    """The connection is cut: a GOAWAY would not reach it."""
    connection, clock = connected(sends(200000), write=10)
    connection.transport.limit = 1000
    async with connection:
        connection.acknowledges = False
        connection.request()
        connection.send()
        await settle()
        clock.run(9)
        assert not connection.transport.closed
        clock.run(2)
        assert connection.transport.closed


@pytest.mark.parametrize("takes", [False, True])
async def test_responses_that_nobody_takes_end_the_connection(takes: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A window that stays shut, with much waiting behind it; one byte taken in the meantime is a sign of life."""
    connection, clock = connected(sends(200000))
    async with connection:
        connection.acknowledges = False
        for _ in range(3):
            connection.request()
        await connection.exchange()
        clock.run(59)
        if takes:
            connection.client.increment_flow_control_window(1)
            for stream_id in (1, 3, 5):
                connection.client.increment_flow_control_window(1, stream_id)
            await connection.exchange()
        assert not connection.transport.closed
        clock.run(2)
        connection.receive()
        assert connection.transport.closed == (not takes)
        assert (connection.goaways == [(5, ENHANCE_YOUR_CALM)]) == (not takes)
        assert ("responses are not taken" in caplog.text) == (not takes)


async def test_a_little_that_waits_is_no_stall() -> None:
    """A video that is paused, say: it may wait for as long as it likes."""
    connection, clock = connected(sends(200000))
    async with connection:
        connection.acknowledges = False
        connection.request()
        await connection.exchange()
        assert connection.protocol.wire.queued_size == 200000 - 65535
        clock.run(1000)
        assert not connection.transport.closed


@pytest.mark.parametrize("deadlines", [{}, {"write": 10}], ids=["", "write"])
@pytest.mark.parametrize("parser", PROTOCOLS)
async def test_a_connection_of_unknown_version(parser: str, deadlines: Any, http2_wire: str) -> None:
    """As with uvicorn a silent one is idle. Once it is HTTP/1.1, the first head counts from accept."""
    config = plain_config(echo, settings=Settings.of({"http2": {"wire": http2_wire}}))
    for said_at in (None, 4):
        state = ServerState()
        state.sweeps_idle = True
        clock = Clock(state, **deadlines)
        transport = FakeTransport()
        transport.protocol = protocol = negotiator(PROTOCOLS[parser])(config, state, {}, asyncio.get_running_loop())
        protocol.connection_made(transport)  # type: ignore[arg-type]
        if said_at is None:
            transport.feed(PREFACE[:3])
            clock.run(6)
            assert (transport.closed, transport.take()) == (True, b"")
        else:
            clock.run(said_at)
            transport.feed(b"GET / ")
            clock.run(29.5 - said_at)
            assert not transport.closed
            clock.run(1)
            assert transport.take().startswith(b"HTTP/1.1 408 ")
        await settle()
        clock.run(1)
        assert (clock.held, state.connections) == (0, set())


@pytest.mark.parametrize("end", ["lost", "reset", "closed", "shut down", "at fault", "late"])
async def test_nothing_is_kept_of_a_connection_that_ends(end: str) -> None:
    """Not longer than to the next pass, whichever way it ends."""

    async def patient(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    gc.disable()
    logging.disable(logging.CRITICAL)  # a record would keep the fault, and that all the rest
    try:
        connection, clock = connected(patient, body=40, write=10)
        connection.client.initiate_connection()
        connection.request(POST, b"x", end=False)
        await connection.exchange()
        connection.request(GET)
        connection.protocol.data_received(connection.client.data_to_send()[:12])
        clock.run(1)
        assert clock.held == 2
        match end:
            case "reset":
                connection.protocol.connection_lost(ConnectionResetError())
            case "closed":
                connection.protocol.close()
            case "shut down":
                connection.protocol.shutdown()
                connection.protocol.close()
            case "at fault":
                connection.protocol.data_received(bytes(5000))
            case "late":
                clock.run(31)
        assert connection.transport.closed == (end not in ("lost", "reset"))
        if end != "reset":
            connection.protocol.connection_lost(None)
        clock.run(0.5)
        assert (clock.held, connection.state.connections) == (0, set())
        await settle()
        assert not connection.state.tasks
        protocol = weakref.ref(connection.protocol)
        connection.transport.protocol = connection.protocol = None  # type: ignore[assignment]
        await settle()
        assert protocol() is None
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)
