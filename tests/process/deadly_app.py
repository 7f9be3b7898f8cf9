"""An app whose process ends when `/die` is asked for, and at once if `$DEADLY` says so."""

from __future__ import annotations

import os
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The app."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["path"] == "/die":
        os._exit(7)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
