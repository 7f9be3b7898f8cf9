"""Tells a client as JSON what came of its request; echoes over a WebSocket; the script of `/page` asks for both."""

from __future__ import annotations

import json
from typing import Any

PAGE = """<!doctype html><title>page</title><script>
const tell = result => fetch('/result', {method: 'PUT', body: JSON.stringify(result)});
async function main() {
  const numbers = [...Array(60).keys()];
  const answers = await Promise.all(numbers.map(n => fetch('/many/' + n).then(r => r.json())));
  const posted = await fetch('/posted', {method: 'POST', body: 'x'.repeat(300000)}).then(r => r.json());
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/ws');
  const echoed = await new Promise((resolve, reject) => {
    socket.onopen = () => socket.send('over the socket');
    socket.onmessage = event => resolve(event.data);
    socket.onerror = () => reject('no socket');
  });
  await tell({
    inOrder: answers.every((answer, n) => answer.path === '/many/' + n), version: answers[0].http_version,
    size: posted.size, echoed,
  });
}
main().catch(error => tell({failed: String(error)}));
</script>
"""

#: What the page's script has found out; to be asked for, in the same process.
result = b""


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
    else:
        global result
        received, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            received += message["body"]
            more = message["more_body"]
        told = {
            name: scope[name] for name in ("method", "path", "root_path", "http_version", "scheme", "client", "server")
        }
        told["host"] = dict(scope["headers"]).get(b"host", b"").decode()
        body, kind = json.dumps({**told, "size": len(received)}).encode(), b"application/json"
        if scope["path"] == "/page":
            body, kind = PAGE.encode(), b"text/html"
        elif scope["path"] == "/result":
            body = result = received or result
        elif scope["path"].startswith("/size/"):
            body, kind = b"x" * int(scope["path"][6:]), b"text/plain"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})
