"""An app that fails as its path says: `/MOMENT/KIND`, each of `MOMENTS` or `WEBSOCKET_MOMENTS` and of `EXCEPTIONS`.

`/marker/TEXT` writes a line to the log, and `/` answers.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import unquote

from tests.failures.exceptions import EXCEPTIONS

START: Any = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
PART: Any = {"type": "http.response.body", "body": b"part", "more_body": True}
LAST: Any = {"type": "http.response.body", "body": b"last"}

logger = logging.getLogger("uvicorn.error")


def fail(kind: str) -> None:
    raise EXCEPTIONS[kind]()


async def before_the_head(kind: str, receive: Any, send: Any) -> None:
    fail(kind)


async def before_the_head_after_waiting(kind: str, receive: Any, send: Any) -> None:
    await asyncio.sleep(0.001)
    fail(kind)


async def behind_the_head(kind: str, receive: Any, send: Any) -> None:
    await send(START)
    fail(kind)


async def between_parts(kind: str, receive: Any, send: Any) -> None:
    await send(START)
    await send(PART)
    await asyncio.sleep(0)
    fail(kind)


async def behind_the_end(kind: str, receive: Any, send: Any) -> None:
    await send(START)
    await send(LAST)
    fail(kind)


async def in_receive(kind: str, receive: Any, send: Any) -> None:
    """While another task of the app waits for the client."""
    await receive()
    waiting = asyncio.ensure_future(receive())
    try:
        await asyncio.sleep(0)
        fail(kind)
    finally:
        waiting.cancel()


async def in_a_task_group(kind: str, receive: Any, send: Any) -> None:
    async def streams() -> None:
        await send(START)
        await send(PART)
        exc = EXCEPTIONS[kind]()
        # What a task of its own must not raise, since it would end the loop: asyncio's rule.
        raise exc if isinstance(exc, Exception) else RuntimeError(kind)

    async with asyncio.TaskGroup() as group:
        group.create_task(streams())
        group.create_task(receive())


async def in_a_callback(kind: str, receive: Any, send: Any) -> None:
    """What a task's callback raises goes to the loop's exception handler; the app goes on, and fails by itself."""

    def callback(_: Any) -> None:
        exc = EXCEPTIONS[kind]()
        raise exc if isinstance(exc, Exception) else RuntimeError(kind)

    asyncio.ensure_future(asyncio.sleep(0)).add_done_callback(callback)
    await asyncio.sleep(0.001)
    await send(START)
    await send(LAST)


MOMENTS = {
    function.__name__: function
    for function in (
        before_the_head,
        before_the_head_after_waiting,
        behind_the_head,
        between_parts,
        behind_the_end,
        in_receive,
        in_a_task_group,
    )
}


async def before_the_accept(kind: str, receive: Any, send: Any) -> None:
    fail(kind)


async def behind_the_accept(kind: str, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    fail(kind)


async def at_a_message(kind: str, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    fail(kind)


async def behind_the_close(kind: str, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 1000})
    fail(kind)


async def in_a_denial(kind: str, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
    fail(kind)


WEBSOCKET_MOMENTS = {
    function.__name__: function
    for function in (before_the_accept, behind_the_accept, at_a_message, behind_the_close, in_a_denial)
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The app."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    _, moment, *kind = unquote(scope["path"]).split("/", 2)
    if scope["type"] == "websocket":
        await WEBSOCKET_MOMENTS[moment](kind[0], receive, send)
    elif moment in MOMENTS:
        await MOMENTS[moment](kind[0], receive, send)
    else:
        if moment == "marker":
            logger.warning("marker %s", kind[0])
        await send(START)
        await send(LAST)
