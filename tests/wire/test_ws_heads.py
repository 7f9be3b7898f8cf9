"""What an app may add to the answer of a WebSocket handshake, and how it may close one: the same for both libraries."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import pytest

from pounce.errors import MisusedByApp
from pounce.wire.ws import WebSocketWire
from pounce.wire.ws_websockets import WebsocketsWire
from pounce.wire.ws_wsproto import WsprotoWire
from tests.fakes import Response, responses
from tests.wire.test_ws_wires import RecordingSink
from tests.wire.ws_frames import ACCEPT, CLOSE, handshake, parsed, server_frames

WireClass = type[WsprotoWire] | type[WebsocketsWire]
Fields = list[Any]


@pytest.fixture(params=[WsprotoWire, WebsocketsWire])
def wire_class(request: pytest.FixtureRequest) -> WireClass:
    return request.param


def asked(wire_class: WireClass) -> WebSocketWire:
    """A wire that waits for the app's answer."""
    wire = wire_class(RecordingSink(), None, False, logging.getLogger("tests.quiet"))
    assert wire.open(*parsed(handshake(b"Sec-WebSocket-Protocol: chat"))) == b""
    return wire


def fields_of(head: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of a 101, names in lower case."""
    line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert line == b"HTTP/1.1 101 Switching Protocols"
    parted = [line.partition(b": ") for line in lines]
    return [(name.lower(), value) for name, _, value in parted]


USUAL = [(b"connection", b"Upgrade"), (b"sec-websocket-accept", ACCEPT), (b"upgrade", b"websocket")]


@pytest.mark.parametrize(
    "field",
    [
        (b"x y", b"v"),
        (b"", b"v"),
        (b"a/b", b"v"),
        (b"x\xff", b"v"),
        (b"x", b"a\x01"),
        (b"x", b"a\r\nb: c"),
        ("x", b"v"),
        (b"Sec-WebSocket-Accept", b"x"),
        (b"sec-websocket-accept", ACCEPT),
        (b"sec-websocket-extensions", b"permessage-deflate"),
        (b"sec-websocket-key", b"x"),
    ],
)
def test_what_no_101_may_carry_is_refused(wire_class: WireClass, field: Any) -> None:
    """A client would fail the handshake for it; a 500 can still be sent."""
    wire = asked(wire_class)
    for _ in range(2):
        with pytest.raises(MisusedByApp):
            wire.accept(None, [(b"x-good", b"1"), field])
    (response,) = responses(wire.refuse(500, "Internal Server Error"))
    assert (response.status, response.body) == (500, b"Internal Server Error")


def test_a_101_that_was_refused_can_be_sent_again(wire_class: WireClass) -> None:
    """Nothing has changed by it."""
    wire = asked(wire_class)
    with pytest.raises(MisusedByApp):
        wire.accept(None, [(b"x y", b"1")])
    assert sorted(fields_of(wire.accept(None, []))) == USUAL


@pytest.mark.parametrize(
    "field",
    [
        (b"content-length", b"0"),
        (b"Content-Length", b"7"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"keep-alive"),
        (b"Upgrade", b"websocket"),
    ],
)
def test_a_101_has_no_body_and_one_upgrade(wire_class: WireClass, field: Any) -> None:
    """What frames a body, and what the handshake says itself, is left out: a proxying app copies such fields."""
    assert sorted(fields_of(asked(wire_class).accept(None, [field]))) == USUAL


def test_the_101_takes_any_kind_of_buffer(wire_class: WireClass) -> None:
    """bytearrays, memoryviews and lists of two."""
    head = asked(wire_class).accept(None, [[bytearray(b"x"), memoryview(b"1")], (memoryview(b"y"), bytearray(b" 2 "))])
    assert {(b"x", b"1"), (b"y", b"2")} <= set(fields_of(head))


def test_one_subprotocol_however_it_is_said(wire_class: WireClass) -> None:
    """As an argument or as a field, but not twice."""
    field = (b"sec-websocket-protocol", b"chat")
    for subprotocol, headers in (("chat", []), (None, [field])):
        sent = fields_of(asked(wire_class).accept(subprotocol, headers))
        assert [value for name, value in sent if name == b"sec-websocket-protocol"] == [b"chat"]
    for subprotocol, headers in (("chat", [field]), (None, [field, field])):
        with pytest.raises(MisusedByApp, match="subprotocol"):
            asked(wire_class).accept(subprotocol, headers)


def refused(wire: WebSocketWire, status: int, headers: Fields, *parts: Any) -> Response:
    """The app's own answer, as a client reads it once the connection has ended."""
    data = wire.start_response(status, headers)
    for index, part in enumerate(parts):
        data += wire.response_body(part, index + 1 < len(parts))
    (response,) = responses(data, closed=True)
    return response


@pytest.mark.parametrize("status", [200, 403, 418, 503, 599])
def test_a_refusal_has_a_reason_phrase(wire_class: WireClass, status: int) -> None:
    """Where there is one; the space before it is always there (RFC 9112 section 4)."""
    wire = asked(wire_class)
    data = wire.start_response(status, []) + wire.response_body(b"", False)
    phrase = HTTPStatus(status).phrase if status != 599 else ""
    assert data.startswith(f"HTTP/1.1 {status} {phrase}\r\n".encode())


def test_the_servers_own_refusals_have_one_too(wire_class: WireClass) -> None:
    """403, 500, and the answer to a handshake that is none."""
    assert asked(wire_class).refuse(403, "").startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert asked(wire_class).refuse(500, "Internal Server Error").startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    wire = wire_class(RecordingSink(), None, False, logging.getLogger("tests.quiet"))
    assert wire.open(*parsed(handshake(version=b"12"))).startswith(
        (b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.1 426 Upgrade Required\r\n")
    )


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"4")], [(b"transfer-encoding", b"chunked")]])
def test_the_body_of_a_refusal(wire_class: WireClass, headers: Fields) -> None:
    """It is framed as its head says, in parts of any kind; None is an empty one."""
    wire = asked(wire_class)
    response = refused(wire, 403, headers, bytearray(b"no"), None, memoryview(b"pe"), None)
    assert (response.status, response.body, response.complete) == (403, b"nope", True)
    assert wire.refusal_body is not None
    assert not wire.refusal_body.is_short
    assert not wire.refusal_body.dropped


def test_a_refusal_that_is_too_short_is_sent_whole(wire_class: WireClass) -> None:
    """All that the app sent leaves; the connection ends, and the client knows that there was more."""
    wire = asked(wire_class)
    response = refused(wire, 403, [(b"content-length", b"9")], b"no", b"pe")
    assert (response.body, response.complete) == (b"nope", False)
    assert wire.refusal_body is not None
    assert wire.refusal_body.is_short


def test_a_refusal_that_is_too_long_is_refused(wire_class: WireClass) -> None:
    """As with any response."""
    wire = asked(wire_class)
    wire.start_response(403, [(b"content-length", b"3")])
    wire.response_body(b"no", True)
    with pytest.raises(MisusedByApp, match="longer than Content-Length"):
        wire.response_body(b"pe", False)


@pytest.mark.parametrize("status", [204, 304])
def test_a_refusal_without_a_body(wire_class: WireClass, status: int) -> None:
    """What is sent as its body is left out, and said to be."""
    wire = asked(wire_class)
    response = refused(wire, status, [], b"no", b"pe")
    assert (response.status, response.body) == (status, b"")
    assert not {b"content-length", b"transfer-encoding"} & set(response.headers)
    assert wire.refusal_body is not None
    assert wire.refusal_body.dropped


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1015 + 1, 2999, 5000, 65535, 70_000, "1000", 1000.5])
def test_codes_that_no_close_frame_may_carry(wire_class: WireClass, code: Any) -> None:
    """They are refused (RFC 6455 section 7.4), and a proper close can follow."""
    wire = asked(wire_class)
    wire.accept(None, [])
    with pytest.raises(MisusedByApp, match="Cannot close with code"):
        wire.close(code, "")
    assert server_frames(wire.close(1001, "bye")) == [(0x80 | CLOSE, b"\x03\xe9bye")]


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1012, 1013, 1014, 3000, 4999])
def test_codes_that_a_close_frame_may_carry(wire_class: WireClass, code: int) -> None:
    """The registered ones, and those of libraries and apps."""
    wire = asked(wire_class)
    wire.accept(None, [])
    assert server_frames(wire.close(code, "")) == [(0x80 | CLOSE, code.to_bytes(2, "big"))]


@pytest.mark.parametrize(("code", "payload"), [(1005, b""), (1006, b"\x03\xe8"), (1015, b"\x03\xe8")])
def test_codes_that_only_stand_for_something(wire_class: WireClass, code: int, payload: bytes) -> None:
    """1005, 1006 and 1015 are never sent: wsproto says what comes nearest, `websockets` refuses, as with uvicorn."""
    wire = asked(wire_class)
    wire.accept(None, [])
    if wire_class is WsprotoWire:
        assert server_frames(wire.close(code, "")) == [(0x80 | CLOSE, payload)]
    else:
        with pytest.raises(MisusedByApp, match="Cannot close with code"):
            wire.close(code, "")
