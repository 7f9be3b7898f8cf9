"""A vector of `conformance/vectors/logs` through a whole connection on a fake transport, and what the log has of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from conformance.vectors.log_line import LogVector
from conformance.vectors.vector import SECOND
from pounce.logs import TRACE_LOG_LEVEL, AccessFormatter, DefaultFormatter
from pounce.middleware.message_logger import MessageLoggerMiddleware
from pounce.middleware.proxy_headers import ProxyHeadersMiddleware
from tests.connection import http2_client
from tests.connection.response_runs import WEBSOCKETS
from tests.connection.test_http2_websocket import CONNECT
from tests.fakes import Connection, answer
from tests.wire.ws_frames import close, handshake

#: The line of what is sent behind a request.
SECOND_LINE = '127.0.0.2:9000 - "GET /second HTTP/{}" 200 OK'

#: What an app answers a handshake with, by the kind of its line.
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "accepted": [{"type": "websocket.accept"}],
    "closed": [{"type": "websocket.close"}],
    "denied": [
        {"type": "websocket.http.response.start", "status": 401, "headers": []},
        {"type": "websocket.http.response.body", "body": b"no"},
    ],
}


class Lines(logging.Handler):
    """What a terminal has of the records, without colours."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._access = AccessFormatter('%(client_addr)s - "%(request_line)s" %(status_code)s', use_colors=False)
        self._other = DefaultFormatter("%(message)s", use_colors=False)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((self._access if record.name == "uvicorn.access" else self._other).format(record))


@contextmanager
def logged(level: int = logging.INFO) -> Iterator[list[str]]:
    """The lines of all that is logged meanwhile at this level and above."""
    handler = Lines()
    loggers = [logging.getLogger(name) for name in ("uvicorn.access", "uvicorn.error", "uvicorn.asgi")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    yield handler.lines
    for logger, (former, propagates) in zip(loggers, before, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(former)
        logger.propagate = propagates


def app_of(kind: str, level: int) -> Any:
    """An app that answers, behind a proxy that is trusted; its messages are logged where that is asked for."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await answer(send)
            return
        await receive()
        for message in ANSWERS[kind]:
            await send(message)
        if kind == "accepted":
            with suppress(asyncio.CancelledError):  # where the test ends first
                await receive()

    inner: Any = MessageLoggerMiddleware(app) if level <= TRACE_LOG_LEVEL else app
    return ProxyHeadersMiddleware(inner, "127.0.0.2")


async def lines_of_http1(
    parser: str, vector: LogVector, kind: str, size: int, *, level: int = logging.INFO, **settings: Any
) -> list[str]:
    """By one of the parsers, in reads of `size` bytes, with another request behind it."""
    fields = [b"%b: %b" % field for field in vector.fields]
    if kind == "http1":
        line = b"%b %b HTTP/1.1" % (vector.method, vector.target)
        data = b"\r\n".join([line, b"Host: a", *fields, b"", b""]) + SECOND
    else:
        data = handshake(*fields, target=vector.target)
    with logged(level) as lines:
        async with Connection(parser, app_of(kind, level), **WEBSOCKETS, **settings) as connection:
            for at in range(0, len(data), size):
                connection.transport.feed(data[at : at + size])
                await asyncio.sleep(0)
            await connection.settle()
            if vector.reason and kind == "accepted":
                await connection.feed(close(1000, vector.reason))
    return lines


async def lines_of_http2(
    wire: str, vector: LogVector, kind: str, size: int, *, level: int = logging.INFO, **settings: Any
) -> list[str]:
    """By one of the wires."""
    pseudo: list[Any] = [(":method", vector.method), *http2_client.GET[1:3], (":path", vector.target)]
    if kind != "http2":
        pseudo = [field for field in CONNECT if field[0][0] == ":" and field[0] != ":path"]
        pseudo += [(":path", vector.target), ("sec-websocket-version", "13")]
    with logged(level) as lines:
        async with http2_client.Connection(app_of(kind, level), limits={"wire": wire}, **WEBSOCKETS, **settings) as own:
            own.client.config.normalize_outbound_headers = False
            fields = [(name.lower(), value) for name, value in vector.fields]
            first = own.request([*pseudo, *fields], end=kind == "http2")
            second = own.request([*http2_client.GET[:3], (":path", "/second")]) if kind == "http2" else 0
            data = own.client.data_to_send()
            for at in range(0, len(data), size):
                own.protocol.data_received(data[at : at + size])
                await asyncio.sleep(0)
            await own.exchange()
            if vector.reason and kind == "accepted":
                own.client.send_data(first, close(1000, vector.reason))
                await own.exchange()
            if second:
                await own.until(lambda: own.answers[second].ended)
    return lines
