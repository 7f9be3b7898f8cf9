"""What the apps send and the probes expect, in one place. Stands alone: no server, no framework."""

from __future__ import annotations

HELLO = b"Hello, world!"
MISSING = b"Not Found"

#: About 1 KiB once it is JSON.
RECORDS = [
    {"id": number, "name": f"item number {number:02}", "price": number * 1.25, "tags": ["small", "blue"], "stock": True}
    for number in range(12)
]

ECHO_SIZE = 64 * 1024
CHUNK = b"0123456789abcdef" * 4096  # 64 KiB
CHUNKS = 16  # 1 MiB in all

EVENTS = [f'data: {{"event": {number}, "text": "something happened"}}\n\n'.encode() for number in range(100)]
