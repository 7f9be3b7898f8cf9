"""The app of test_proxy_protocol.py and test_trust.py: it tells, as JSON, whom it sees."""

from __future__ import annotations

import json
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    names = ("client", "server", "scheme", "http_version", "root_path", "path")
    hosts = [value.decode() for name, value in scope["headers"] if name == b"host"]
    told = json.dumps({name: scope[name] for name in names} | {"hosts": hosts})
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": told})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": told.encode()})
