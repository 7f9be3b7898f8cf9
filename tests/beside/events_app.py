"""A page that listens to events, and tells when each has arrived; `/result` keeps what it has told."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.fakes import read_body

COUNT = 300
WARM_UP = 50

#: Each event says when it was sent, by the clock that the page reads, too.
PAGE = """<!doctype html><title>events</title><script>
const tell = result => fetch('/result', {method: 'PUT', body: JSON.stringify(result)});
async function main() {
  const coding = (await fetch('/events', {method: 'HEAD'})).headers.get('content-encoding');
  const late = [], source = new EventSource('/events');
  source.onmessage = event => {
    late.push(performance.timeOrigin + performance.now() - Number(event.data));
    if (late.length == LAST) { source.close(); tell({coding, late}); }
  };
  source.onerror = () => tell({failed: late.length});
}
main().catch(error => tell({failed: String(error)}));
</script>
""".replace("LAST", str(COUNT + WARM_UP))

result = b""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/page`, `/events` every 10 ms, `/result`."""
    global result
    if scope["type"] != "http":
        raise NotImplementedError
    received = await read_body(receive)
    is_events = scope["path"] == "/events"
    kind = b"text/event-stream" if is_events else b"text/html"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    if is_events and scope["method"] == "GET":
        for _ in range(COUNT + WARM_UP):
            await asyncio.sleep(0.01)
            event = b"data: %.3f\n\n" % (time.time() * 1000)
            await send({"type": "http.response.body", "body": event, "more_body": True})
    elif is_events:
        await send({"type": "http.response.body", "body": b"", "more_body": True})
    body = PAGE.encode() if scope["path"] == "/page" else b""
    if scope["path"] == "/result":
        body = result = received or result
    await send({"type": "http.response.body", "body": body})
