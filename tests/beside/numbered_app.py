"""Answers each request with its number, over and over, so that a client sees whose answer it reads.

`/N` is answered with a length or in chunks, at once or later, before or behind the request's body. `/doubled` tells how
many numbers came more than once, in one process.
"""

from __future__ import annotations

import asyncio
from typing import Any

#: More than any run has. A byte each, there from the start: the app's own memory does not grow.
_seen = bytearray(1_000_000)

#: Sizes of bodies, in repetitions of the number.
SIZES = (1, 10, 100, 1000, 20_000)


def body_of(number: int) -> bytes:
    """What a client has to read."""
    return b"%d," % number * SIZES[number % 97 % len(SIZES) if number % 97 else -1]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/doubled":
        await reply(send, b"", b"%d" % sum(count > 1 for count in _seen), False)
        return
    number = int(scope["path"][1:])
    _seen[number] = min(_seen[number] + 1, 255)
    if number % 5 == 0:
        await asyncio.sleep(number % 7 / 1000)
    if number % 3 == 0:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            if not message["more_body"]:
                break
    await reply(send, b"%d" % number, body_of(number), number % 4 == 0)


async def reply(send: Any, number: bytes, body: bytes, in_parts: bool) -> None:
    headers = [(b"x-number", number)]
    if not in_parts:
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if in_parts:
        half = len(body) // 2
        await send({"type": "http.response.body", "body": body[:half], "more_body": True})
        await asyncio.sleep(0)
        body = body[half:]
    await send({"type": "http.response.body", "body": body})
