"""What an exchange over HTTP asks of its channel: a connection of HTTP/1.1, or a stream of HTTP/2.

The channel has three sides: the writer turns messages into bytes, the flow says when to wait, and the rest is about the
exchange as a whole. One object may be all three.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class Flow(Protocol):
    """Flow control of the channel's two directions."""

    @property
    def read_paused(self) -> bool:
        """Whether the request's body waits at the client."""

    @property
    def write_paused(self) -> bool:
        """Whether the response has to wait."""

    async def drain(self) -> None:
        """Wait until writing makes sense again."""

    def resume_reading(self) -> None:
        """The app wants more of the body."""


class HttpWriter(Protocol):
    """Where a cycle's messages go."""

    def send_head(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        is_head: bool,
        keep_alive: bool,
        body_follows: bool = False,
    ) -> None:
        """Send the response's head. `body_follows`: with the very next call. Raises MisusedByApp."""

    def send_body(self, body: Any, more_body: bool) -> None:
        """Send a part of the response's body. Raises MisusedByApp."""

    def send_continue(self) -> None:
        """Send `100 Continue`, if the connection still stands."""

    def flush(self) -> None:
        """Send a head that waits for its body."""


class HttpChannel(Protocol):
    """What a cycle is an exchange of: a connection, or a stream of one."""

    @property
    def spec_version(self) -> str:
        """Of ASGI HTTP: what `send()` does once the client has left."""

    @property
    def messages(self) -> Sequence[Any]:
        """What may be sent to it."""

    @property
    def sends_length_of_500(self) -> bool:
        """Whether a 500 carries a length (a matter of the dialect)."""

    @property
    def client(self) -> tuple[str, int] | None:
        """The peer, whatever a proxy says; None where it has no address."""

    @property
    def first_byte_at(self) -> float:
        """When the request that is told to features began to arrive, by `time.monotonic`; 0: with its head's end."""

    def server_stops(self) -> bool:
        """Whether this worker is on its way out."""

    def on_response_complete(self, cycle: Any) -> None:
        """The last message of the response was sent."""

    def abandon(self, cycle: Any) -> None:
        """The response can't be completed: end the connection (or stream)."""
