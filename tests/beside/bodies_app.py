"""A page that asks for bodies of every size, whole and in parts, and tells which differ from what was sent."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

from tests.fakes import read_body
from tests.process.compression_app import PART

LARGEST = 100 << 20

#: Bytes of the body, and of each part it is sent in (0: whole).
BODIES = [
    *((size, 0) for size in (0, 1, 1023, 1024, 16384, 65536, 1 << 20, LARGEST)),
    *((size, 1) for size in (0, 1, 5000)),
    *((size, 1000) for size in (999, 1001, 1 << 20)),
    *((size, 1 << 20) for size in (1 << 20, 3_000_000, LARGEST)),
]

PAGE = """<!doctype html><title>bodies</title><script>
const hex = buffer => Array.from(new Uint8Array(buffer), byte => byte.toString(16).padStart(2, '0')).join('');
async function main() {
  const told = {wrong: [], codings: {}};
  for (const [path, digest] of BODIES) {
    const response = await fetch(path);
    const found = hex(await crypto.subtle.digest('SHA-256', await response.arrayBuffer()));
    if (found != digest) told.wrong.push(path);
    told.codings[path] = response.headers.get('content-encoding');
  }
  return told;
}
main().catch(error => ({failed: String(error)})).then(
  told => fetch('/result', {method: 'PUT', body: JSON.stringify(told)}));
</script>
"""

result = b""


def content(size: int) -> bytes:
    """So many bytes of lines."""
    return (PART * (size // len(PART) + 1))[:size]


def page() -> bytes:
    bodies = [(f"/{size}/{part}", hashlib.sha256(content(size)).hexdigest()) for size, part in BODIES]
    return PAGE.replace("BODIES", json.dumps(bodies)).encode()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/page`, `/SIZE/PART`, `/result`."""
    global result
    if scope["type"] != "http":
        raise NotImplementedError
    received = await read_body(receive)
    path, part = scope["path"], 0
    if path == "/page":
        body = await asyncio.to_thread(page)
    elif path == "/result":
        body = result = received or result
    elif path == "/favicon.ico":
        body = b""
    else:
        size, part = map(int, path[1:].split("/"))
        body = content(size)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    if part:
        for start in range(0, len(body), part):
            await send({"type": "http.response.body", "body": body[start : start + part], "more_body": True})
        body = b""
    await send({"type": "http.response.body", "body": body})
