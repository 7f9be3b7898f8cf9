"""The app of the soak: several kinds of answers by path, among them header fields that no other answer has."""

from __future__ import annotations

from typing import Any

from payload import HELLO, MISSING
from plain import HELLO_HEADERS, MISSING_HEADERS, _lifespan, echo

PIECES = (b"one ", b"two ", b"three")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    path, query = scope["path"], scope["query_string"]
    if path == "/echo":
        return await echo(scope, receive, send)
    if path == "/chunked":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for piece in PIECES:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    status, headers, body = 404, MISSING_HEADERS, MISSING
    if path == "/hello":
        status, headers, body = 200, HELLO_HEADERS, HELLO
    elif path == "/fields":  # a name and a value that come once: what the server keeps of them must have a limit
        status, headers, body = 200, [*HELLO_HEADERS, (b"x-" + query.partition(b"=")[2], query)], HELLO
    elif path == "/cookie":  # apart from those: a server may take such an answer for one that comes once
        status, headers, body = 200, [*HELLO_HEADERS, (b"set-cookie", query)], HELLO
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
