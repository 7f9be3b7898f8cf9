"""What holds up the end of a server: event streams, WebSockets, uploads, threads that are blocked."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

START: Any = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
EVENT: Any = {"type": "http.response.body", "body": b"data: event\n\n", "more_body": True}

_own = threading.local()


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")  # one write, so that workers do not cut into each other's lines


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/listens` and `/sends` stream events, `/upload` answers with the size of the body, `/blocked` does not end."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    elif scope["path"] == "/listens":
        await send(START)
        await send(EVENT)
        await receive()  # the request
        sending = asyncio.ensure_future(stream(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        sending.cancel()
    elif scope["path"] == "/sends":
        await send(START)
        await stream(send)
    else:
        if scope["path"] == "/blocked":
            say("blocked")
            await asyncio.get_running_loop().run_in_executor(_own.executor, time.sleep, 1000)
        body = b"%d" % await size_of_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


async def stream(send: Any) -> None:
    """Ten events a second."""
    while True:
        await send(EVENT)
        await asyncio.sleep(0.1)


async def size_of_body(receive: Any) -> int:
    """What an upload comes to."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return size


async def websocket(receive: Any, send: Any) -> None:
    """Says back what it is told."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def lifespan(receive: Any, send: Any) -> None:
    """Has an executor with a thread for each that is to be blocked, and takes a moment to shut down."""
    await receive()
    _own.executor = ThreadPoolExecutor(16, "blocked")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.sleep(0.1)
    say("lifespan ends")
    await send({"type": "lifespan.shutdown.complete"})
