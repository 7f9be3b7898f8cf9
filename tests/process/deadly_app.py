"""An app whose process ends when `/die` is asked for; `/slow` takes a second, `/hang` for ever."""

from __future__ import annotations

import asyncio
import os
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The app."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["path"] == "/die":
        os._exit(7)
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    if scope["path"] == "/hang":
        await asyncio.Event().wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})


async def with_lifespan(scope: Any, receive: Any, send: Any) -> None:
    """The same with a lifespan."""
    if scope["type"] != "lifespan":
        await app(scope, receive, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
