"""100 MiB of JSON lines, whole or in parts of 1 MiB, and a small page."""

from __future__ import annotations

import json
import random
from typing import Any

TYPE = (b"content-type", b"application/x-ndjson")


def part() -> bytes:
    """1 MiB of lines, the same in every process."""
    dice = random.Random(14)
    lines = [json.dumps({"id": number, "price": dice.randrange(10**6), "stock": True}) for number in range(25_000)]
    return "\n".join(lines).encode()[: 1 << 20]


PART = part()
PARTS = 100


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/whole`, `/parts`, or a page of 2000 bytes."""
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": [TYPE]})
    if scope["path"] == "/whole":
        await send({"type": "http.response.body", "body": PART * PARTS})
    elif scope["path"] == "/parts":
        for _ in range(PARTS):
            await send({"type": "http.response.body", "body": PART, "more_body": True})
        await send({"type": "http.response.body"})
    else:
        await send({"type": "http.response.body", "body": PART[:2000]})
