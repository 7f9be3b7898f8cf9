"""What an app behind a server gets: the three ASGI arguments, and the points of its case; and the apps by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]


@dataclass
class Stage:
    """One call: what ASGI gives, and two words between the app and the case's client."""

    scope: Message
    receive: Callable[[], Awaitable[Message]]
    send: Callable[[Message], Awaitable[None]]
    #: Tell the client that the app came to this point.
    reach: Callable[[str], None]
    #: Wait until the client lets the app go on.
    released: Callable[[str], Awaitable[None]]

    async def start(self, status: int = 200, headers: Any = (), **more: Any) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers, **more})

    async def body(self, body: Any = b"", more_body: bool = False) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more_body})

    async def read(self) -> bytes:
        """The request's body. An end of the connection in between raises EOFError."""
        parts = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise EOFError("the client left")
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                return b"".join(parts)


APPS: dict[str, Callable[[Stage], Awaitable[None]]] = {}


def app(function: Callable[[Stage], Awaitable[None]]) -> Callable[[Stage], Awaitable[None]]:
    """Enter a function under its name."""
    APPS[function.__name__] = function
    return function
