"""An app that can hang or block its loop until the file `$GATE` exists."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

GATE = Path(os.environ["GATE"])


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")  # one write, so that workers do not cut into each other's lines


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The app: `/block` and `/hang` wait for the gate, `/` answers with the process's id."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("lifespan ends")
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/block":
        say("blocking")
        while not GATE.exists():
            time.sleep(0.05)
    elif scope["path"] == "/hang":
        say("hanging")
        while not GATE.exists():
            await asyncio.sleep(0.05)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
