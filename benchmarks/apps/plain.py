"""Bare ASGI apps, one per case, so that no case pays for another's routing."""

from __future__ import annotations

import asyncio
from typing import Any

from payload import CHUNK, CHUNKS, EVENTS, HELLO, MISSING


def _headers(media_type: bytes, length: int | None) -> list[tuple[bytes, bytes]]:
    known = [] if length is None else [(b"content-length", str(length).encode())]
    return [(b"content-type", media_type), *known]


HELLO_HEADERS = _headers(b"text/plain; charset=utf-8", len(HELLO))
MISSING_HEADERS = _headers(b"text/plain; charset=utf-8", len(MISSING))
DOWNLOAD_HEADERS = _headers(b"application/octet-stream", len(CHUNK) * CHUNKS)
EVENTS_HEADERS = _headers(b"text/event-stream", None)


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": HELLO_HEADERS})
    await send({"type": "http.response.body", "body": HELLO})


async def missing(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    await send({"type": "http.response.start", "status": 404, "headers": MISSING_HEADERS})
    await send({"type": "http.response.body", "body": MISSING})


async def cpu_bound(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    total = 0
    for number in range(5000):
        total += number & 7
    await send({"type": "http.response.start", "status": 200, "headers": HELLO_HEADERS})
    await send({"type": "http.response.body", "body": HELLO if total else b""})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    body = b"".join(parts)
    headers = _headers(b"application/octet-stream", len(body))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def download(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": DOWNLOAD_HEADERS})
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def events(scope: Any, receive: Any, send: Any) -> None:
    """One event after the other, with a turn of the loop between two."""
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    await _send_events(send, 0)


async def paced_events(scope: Any, receive: Any, send: Any) -> None:
    """Events so far apart that each has to leave by itself."""
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    await _send_events(send, 0.002)


async def _send_events(send: Any, pause: float) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": EVENTS_HEADERS})
    for event in EVENTS:
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(pause)
    await send({"type": "http.response.body", "body": b""})


async def websocket_echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "bytes": message["bytes"]})
