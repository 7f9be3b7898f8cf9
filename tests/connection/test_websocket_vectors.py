"""Handshakes that are none, and frames that are none (RFC 6455 sections 4.2.1 and 5): the same verdict everywhere.

Each is sent whole and byte by byte, to both parsers and both libraries, with more behind it that must not count.
FIELD: upgrade on POST and HTTP/1.0, bad keys and versions, fields that are not ASCII, close codes that none may send.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from pounce.settings import Settings
from tests.connection.test_websocket_upgrade import SETTINGS, App
from tests.fakes import Connection, get, settle
from tests.wire.ws_frames import BINARY, CONT, PING, TEXT, close, frame, handshake, server_frames

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[WSProtocol, WebSocketsSansIOProtocol], ids=["wsproto", "websockets"])
def ws(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings with one of our classes."""
    return {**SETTINGS, "ws_protocol_class": request.param, "ws_per_message_deflate": True}


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


NAME = b"Sec-WebSocket-"

REFUSED: dict[str, bytes] = {
    "POST": handshake().replace(b"GET", b"POST"),
    "HTTP/1.0": handshake().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no Host": handshake().replace(b"Host: example.org\r\n", b""),
    "no key": handshake().replace(NAME + b"Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
    "an empty key": handshake(key=b""),
    "a short key": handshake(key=b"c2hvcnQ="),
    "a long key": handshake(key=b"dGhlIHNhbXBsZSBub25jZSEh"),
    "a key that is not base64": handshake(key=b"dGhlIHNhbXBsZSBub25jZ!=="),
    "a key with bytes behind it": handshake(key=b"dGhlIHNhbXBsZSBub25jZQ==x"),
    "two keys": handshake(NAME + b"Key: dGhlIHNhbXBsZSBub25jZQ=="),
    "no version": handshake().replace(NAME + b"Version: 13\r\n", b""),
    "version 8": handshake(version=b"8"),
    "version 13, 8": handshake(version=b"13, 8"),
    "a subprotocol that is not ASCII": handshake(NAME + b"Protocol: \xff"),
    "a subprotocol in UTF-8": handshake(NAME + b"Protocol: caf\xc3\xa9"),
    "an extension that is not ASCII": handshake(NAME + b"Extensions: \xff\xfe"),
    "a parameter that is not ASCII": handshake(NAME + b"Extensions: permessage-deflate; x=\xe9"),
    "a body": handshake(b"Content-Length: 5") + b"hello",
    "a chunked body": handshake(b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
}


@pytest.mark.parametrize("cut", [1, 10_000], ids=["byte by byte", "whole"])
@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_handshake(parser: str, ws: Any, name: str, cut: int) -> None:
    """The app is not asked, one answer says 4xx, and nothing behind it is read."""
    app = App()
    data = REFUSED[name] + frame(TEXT, b"early") + get("/next")
    async with Connection(parser, app, **ws) as connection:
        for at in range(0, len(data), cut):
            connection.transport.feed(data[at : at + cut])
        await settle()
        answer = connection.take()
        assert answer.startswith(b"HTTP/1.1 4"), answer[:60]
        assert answer.count(b"HTTP/1.1") == 1
        assert connection.transport.closed
    assert app.scope == {}


@pytest.mark.parametrize("name", ["HTTP/1.0", "a short key"])
async def test_what_uvicorn_takes(parser: str, name: str) -> None:
    """With `--parsing uvicorn` both are, as there on wsproto."""
    app = App()
    settings = {**SETTINGS, "ws_protocol_class": WSProtocol, "settings": Settings.of({"parsing": {"rules": "uvicorn"}})}
    async with Connection(parser, app, **settings) as connection:
        connection.transport.feed(REFUSED[name])
        await settle()
        assert connection.take().startswith(b"HTTP/1.1 101 ")
    assert app.scope["type"] == "websocket"


async def test_the_origin_is_the_apps_matter(parser: str, ws: Any) -> None:
    """It is passed on as it came, whatever it says (RFC 6455 section 4.2.2)."""
    for origin in (b"https://evil.example", b"null", b"\xff"):
        app = App()
        async with Connection(parser, app, **ws) as connection:
            connection.transport.feed(handshake(b"Origin: " + origin))
            await settle()
            assert connection.take().startswith(b"HTTP/1.1 101 ")
        assert (b"origin", origin) in app.scope["headers"]


BREACHES: dict[str, tuple[bytes, int]] = {
    "no mask": (frame(TEXT, b"x", masked=False), 1002),
    **{f"reserved bit {bit}": (frame(TEXT, b"x", rsv=bit), 1002) for bit in (1, 2, 3)},
    **{f"opcode {opcode}": (frame(opcode, b"x"), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a control frame of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a fragmented control frame": (frame(PING, b"x", fin=False), 1002),
    "nothing to continue": (frame(CONT, b"x"), 1002),
    "a message within one": (frame(TEXT, b"x", fin=False) + frame(BINARY, b"y"), 1002),
    "half a close code": (frame(8, b"\x03"), 1002),
    **{f"close code {code}": (close(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)},
    "a reason that is no UTF-8": (close(1000, b"\xff"), 1007),
    "no UTF-8": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "no UTF-8, in two frames": (frame(TEXT, b"\xc3", fin=False) + frame(CONT, b"\x28"), 1007),
    "half a character at the end": (frame(TEXT, b"\xe2\x82", fin=False) + frame(CONT), 1007),
    "a frame over the limit": (frame(BINARY, b"x" * 1001), 1009),
    "a message over the limit": (frame(BINARY, b"x" * 600, fin=False) + frame(CONT, b"x" * 401), 1009),
}


@pytest.mark.parametrize("cut", [1, 10_000], ids=["byte by byte", "whole"])
@pytest.mark.parametrize("name", BREACHES)
async def test_what_is_no_frame(ws: Any, name: str, cut: int) -> None:
    """Both ends hear the same code, once; nothing behind it is read, and the connection ends."""
    data, code = BREACHES[name]
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while not told or told[-1]["type"] == "websocket.receive":
            told.append(await receive())

    async with Connection("h11", app, **{**ws, "ws_max_size": 1000}) as connection:
        connection.transport.feed(handshake())
        await settle()
        connection.take()
        data += frame(TEXT, b"behind")
        for at in range(0, len(data), cut):
            connection.transport.feed(data[at : at + cut])
        await settle()
        [(first, payload)] = server_frames(connection.take())
        assert (first, int.from_bytes(payload[:2], "big")) == (0x88, code)
        assert connection.transport.closed
    assert [(message["type"], message["code"]) for message in told] == [("websocket.disconnect", code)]


async def test_data_behind_a_close_frame(ws: Any) -> None:
    """It is read by nobody, whoever closed first."""
    told: list[Any] = []
    closes = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if closes.is_set():
            await send({"type": "websocket.close"})
        told.append(await receive())

    for app_closes in (False, True):
        if app_closes:
            closes.set()
        async with Connection("h11", app, **ws) as connection:
            connection.transport.feed(handshake())
            await settle()
            connection.take()
            connection.transport.feed(close(1000) + frame(TEXT, b"behind") + close(1001))
            await settle()
            assert connection.take() == (b"" if app_closes else b"\x88\x02\x03\xe8")
            assert connection.transport.closed
    assert [message["code"] for message in told] == [1000, 1000]
