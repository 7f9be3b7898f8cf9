"""A vector of `conformance/vectors/responses` through a whole connection on a fake transport, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import h11

from conformance.vectors.response import Answer, Observed, ResponseVector
from conformance.vectors.vector import SECOND
from tests.connection import http2_client
from tests.connection.test_http2_websocket import CONNECT
from tests.fakes import Connection, answer, get
from tests.wire.ws_frames import TEXT, frame, handshake, server_frames

#: What the client says behind the handshake of a WebSocket, and hears again where that was accepted.
ECHOED = b"second"

#: What it offers there.
PROTOCOLS = "a, b"

WEBSOCKETS: dict[str, Any] = {
    "ws_max_size": 2**20,
    "ws_per_message_deflate": False,
    "ws_ping_interval": None,
    "ws_ping_timeout": None,
}


class Way(NamedTuple):
    """How the request is cut, and whether the app waits for a turn of the loop before each of its messages."""

    name: str
    size: int
    is_apart: bool
    waits: bool


WAYS = (
    Way("in one piece", 1 << 20, False, False),
    Way("byte by byte", 1, False, True),
    Way("the second apart", 1 << 20, True, False),
    Way("the second apart, the app in turns", 1 << 20, True, True),
)


class App:
    """Sends the messages of a vector, and lets what `send` raises through; answers whatever comes behind."""

    def __init__(self, vector: ResponseVector, way: Way) -> None:
        self.vector = vector
        self.waits = way.waits
        self.told = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/second":
            await answer(send)
            return
        for message in self.vector.messages:
            if self.waits:
                await asyncio.sleep(0)
            try:
                await send(message)
            except RuntimeError:
                self.told = True
                raise
        if message["type"] == "websocket.accept":
            await receive()
            await send({"type": "websocket.send", "text": (await receive())["text"]})
            await receive()


async def observe_http1(parser: str, vector: ResponseVector, way: Way, **settings: Any) -> Observed:
    """By one of the parsers; what is sent behind it is a second request, or a WebSocket's first message."""
    app = App(vector, way)
    if vector.is_websocket:
        first, second = handshake(b"Sec-WebSocket-Protocol: " + PROTOCOLS.encode()), frame(TEXT, ECHOED)
    else:
        first = get("/", "TE: trailers", version=vector.version, method=vector.method)
        second = SECOND
    async with Connection(parser, app, **WEBSOCKETS, **settings) as connection:
        for part in (first, second) if way.is_apart else (first + second,):
            for at in range(0, len(part), way.size):
                connection.transport.feed(part[at : at + way.size])
                await asyncio.sleep(0)
            await connection.settle()
        found, rest = read(connection.take(), vector, connection.closed)
        if found.status == 101:
            is_answered = server_frames(rest) == [(0x81, ECHOED)]
        else:
            is_answered = bool(rest) and read(rest, None, connection.closed) == (SECOND_ANSWER, b"")
        assert is_answered or not rest, rest
        return Observed(found, app.told, connection.closed, is_answered)


async def observe_http2(wire: str, vector: ResponseVector, way: Way, **settings: Any) -> Observed:
    """By one of the wires; what is sent behind it is a request of its own, and, to a WebSocket, a message."""
    app = App(vector, way)
    async with http2_client.Connection(app, limits={"wire": wire}, **WEBSOCKETS, **settings) as connection:
        connection.client.config.header_encoding = "latin-1"
        if vector.is_websocket:
            fields = [*CONNECT, ("sec-websocket-protocol", PROTOCOLS)]
            stream_id = connection.request(fields, end=False)
        else:
            fields = [(":method", vector.method), *http2_client.GET[1:], ("te", "trailers")]
            stream_id = connection.request(fields)
        parts = [connection.client.data_to_send()]
        second = connection.request([*http2_client.GET[:3], (":path", "/second")])
        parts.append(connection.client.data_to_send())
        for part in parts if way.is_apart else [b"".join(parts)]:
            for at in range(0, len(part), way.size):
                connection.protocol.data_received(part[at : at + way.size])
                await asyncio.sleep(0)
            await connection.exchange()
        await connection.until(lambda: second in connection.answers and connection.answers[second].ended)
        there = connection.answers.get(stream_id, http2_client.Answer())
        body, status, is_open = there.body, int(there.status or 0), False
        if vector.is_websocket and status == 200:
            connection.client.send_data(stream_id, frame(TEXT, ECHOED))
            await connection.until(lambda: there.body or there.ended)
            assert server_frames(there.body) == [(0x81, ECHOED)]
            status, is_open = 101, not there.ended
        await connection.until(lambda: there.ended or is_open or not status)
        found = Answer(
            status,
            _pairs(there.headers),
            body,
            _pairs(there.trailers or []),
            tuple(value.encode("latin-1") for _, hint in there.informational for name, value in hint if name == "link"),
            (there.ended or is_open) and not there.reset,
        )
        is_answered = connection.answers[second].status == "200" and not connection.transport.closed
        return Observed(found, app.told, bool(there.reset), is_answered)


def _pairs(fields: list[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in fields if not name.startswith(":")
    )


SECOND_ANSWER = Answer(200, ((b"server", b"pounce"), (b"content-length", b"2")), b"ok")


def read(data: bytes, vector: ResponseVector | None, closed: bool) -> tuple[Answer, bytes]:
    """The first answer (to a GET, where there is no vector), as an independent client (h11) reads it; what is behind.

    Raises AssertionError for bytes that are no answer.
    """
    if not data:
        return Answer(is_whole=False), b""
    client = h11.Connection(h11.CLIENT)
    fields = [("host", "a")]
    if vector is not None and vector.is_websocket:
        fields += [("connection", "upgrade"), ("upgrade", "websocket")]
    client.send(h11.Request(method=vector.method if vector else "GET", target="/", headers=fields))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    if closed:
        client.receive_data(b"")
    found = Answer(is_whole=False)
    for event in _events(client):
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                return Answer(101, tuple(event.headers)), client.trailing_data[0]
            assert event.status_code == 103
            found = found._replace(hints=(*found.hints, *[value for name, value in event.headers if name == b"link"]))
        elif isinstance(event, h11.Response):
            found = found._replace(status=event.status_code, fields=tuple(event.headers))
        elif isinstance(event, h11.Data):
            found = found._replace(body=found.body + bytes(event.data))
        else:
            found = found._replace(trailers=tuple(event.headers), is_whole=True)
    assert found.status, data
    return found, client.trailing_data[0] if found.is_whole else b""


def _events(client: h11.Connection) -> Iterator[Any]:
    """What the client reads, until there is no more of it, or it ends too early."""
    while True:
        try:
            event = client.next_event()
        except h11.RemoteProtocolError as exc:
            if "peer" not in str(exc):
                raise
            return  # it closed in the middle of a body
        if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            return
        yield event
        if isinstance(event, h11.EndOfMessage) or getattr(event, "status_code", 0) == 101:
            return
