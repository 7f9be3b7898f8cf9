"""The apps that the scripts serve. Bare ASGI; `/` answers on every one."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
_MODULE_LEVEL = object()


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _answer(send: Any, body: bytes) -> None:
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """The bare hello."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


async def busy(scope: Any, receive: Any, send: Any) -> None:
    """About a millisecond of pure Python per request."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    total = 0
    for number in range(25_000):
        total += number & 7
    await _answer(send, b"%d" % total)


async def who(scope: Any, receive: Any, send: Any) -> None:
    """Says who answers: process, thread, and the `id()` of an object of this module. Streams, and blocks its loop."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["path"] == "/block":
        time.sleep(40)  # noqa: ASYNC251 - this is what it is for
    if scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
            await asyncio.sleep(0.05)
    text = f"{os.getpid()} {threading.current_thread().name} {id(_MODULE_LEVEL)}"
    await _answer(send, text.encode())
