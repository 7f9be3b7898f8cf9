"""The choice between HTTP/2 and HTTP/1.1 by a connection's first bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pounce.connection.http2 import HTTP2Protocol
from pounce.connection.http2_auto import negotiator
from pounce.connection.state import ServerState
from pounce.settings import Settings
from pounce.wire.http2_frames import PREFACE
from tests.fakes import PROTOCOLS, FakeTransport, echo, get, plain_config, settle
from tests.wire.http2_peer import split

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def connect(parser: str, wire: str = "native") -> tuple[Any, FakeTransport]:
    """A connection that has said nothing yet."""
    config = plain_config(echo, settings=Settings.of({"http2": {"wire": wire}}))
    protocol = negotiator(PROTOCOLS[parser])(config, ServerState(), {}, asyncio.get_running_loop())
    transport = FakeTransport(tells_end=False)
    transport.protocol = protocol
    protocol.connection_made(transport)  # type: ignore[arg-type]
    return protocol, transport


@pytest.mark.parametrize("data", [get("/a"), b"\r\n" + get("/a"), b"GET / HTTP/1.1", b"GET / HTTP/2.0\r\n\r\n", b"GE"])
async def test_requests_of_http_1(parser: str, data: bytes) -> None:
    """What begins like a request of HTTP/1, whole or not, is one."""
    _, transport = connect(parser)
    transport.protocol.data_received(data)
    assert type(transport.protocol) is PROTOCOLS[parser]
    transport.protocol.connection_lost(None)
    await settle()


@pytest.mark.parametrize("cut", [0, 1, 4, 14, 23])
async def test_the_preface(parser: str, http2_wire: str, cut: int) -> None:
    """Cut anywhere, it is waited for."""
    _, transport = connect(parser, http2_wire)
    for part in (PREFACE[:cut], PREFACE[cut:]):
        if part:
            assert type(transport.protocol) is not HTTP2Protocol
            transport.protocol.data_received(part)
    assert type(transport.protocol) is HTTP2Protocol
    transport.protocol.connection_lost(None)


@pytest.mark.parametrize(
    "data",
    [b"INVALID CONNECTION PREFACE\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\n", b"x\n"],
)
async def test_an_invalid_preface(parser: str, http2_wire: str, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """RFC 9113 section 3.4: a connection error, in frames: SETTINGS, GOAWAY with PROTOCOL_ERROR, the end."""
    _, transport = connect(parser, http2_wire)
    transport.protocol.data_received(data)
    frames = split(bytes(transport.written))
    assert frames[0][0] == 4
    assert frames[-1][0] == 7
    assert frames[-1][3][4:8] == b"\0\0\0\1"
    assert transport.closed
    assert len(caplog.records) == 1
    transport.protocol.connection_lost(None)


def test_the_class_of_a_class() -> None:
    """Each class for HTTP/1.1 has one class that chooses."""
    assert negotiator(PROTOCOLS["h11"]) is negotiator(PROTOCOLS["h11"])
    assert negotiator(PROTOCOLS["h11"]) is not negotiator(PROTOCOLS["httptools"])
