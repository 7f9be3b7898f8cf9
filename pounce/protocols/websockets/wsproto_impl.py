"""uvicorn's path for the class of `--ws wsproto`. Importing it needs wsproto.

The buffer is for who imports it: here, messages are collected in `pounce.wire.ws`.
"""

from __future__ import annotations

from typing import Any

from pounce.connection.websocket_wsproto import WSProtocol as WSProtocol


class FrameTooLargeError(Exception):
    """A message is longer than its buffer may be."""


class WebsocketBuffer:
    """The parts of one message, of `max_length` bytes at most."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.clear()

    def clear(self) -> None:
        """Begin a new message."""
        self.value: Any = None
        self.length = 0

    def extend(self, event: Any) -> None:
        """Add a part, a wsproto event. Raises FrameTooLargeError."""
        self.value = event.data if self.value is None else self.value + event.data
        self.length += len(event.data.encode() if isinstance(event.data, str) else event.data)
        if self.length > self.max_length:
            raise FrameTooLargeError

    def to_message(self) -> dict[str, Any]:
        """The whole as the app gets it."""
        return {"type": "websocket.receive", "text" if isinstance(self.value, str) else "bytes": self.value}
