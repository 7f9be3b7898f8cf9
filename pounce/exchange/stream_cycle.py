"""What an exchange over HTTP/2 can do beyond one over HTTP/1.1: trailers and early hints.

All else is `RequestResponseCycle`, so that the two versions cannot disagree. Answers to: the ASGI extensions
`http.response.trailers` and `http.response.early_hint`, and uvicorn's order checks for them.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, Protocol

from pounce.asgi import ASGISendEvent
from pounce.exchange.http_cycle import HttpChannel, RequestResponseCycle


class StreamChannel(HttpChannel, Protocol):
    """An `HttpChannel` that also takes these."""

    def send_early_hint(self, links: Iterable[bytes]) -> None:
        """Send 103 with a Link field each. Raises MisusedByApp."""

    def check_trailers(self, fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The fields that can be sent. Raises MisusedByApp."""

    def send_trailers(self, cycle: RequestResponseCycle, fields: list[tuple[bytes, bytes]]) -> None:
        """End the response with checked trailers; without, where the client does not want any."""


class StreamCycle(RequestResponseCycle):
    """One exchange over HTTP/2."""

    #: The trailers so far, once the app has promised some.
    trailers: list[tuple[bytes, bytes]] | None = None
    body_complete = False

    def send(self, message: ASGISendEvent) -> Coroutine[Any, Any, None]:
        """See `RequestResponseCycle.send`."""
        if self.trailers is not None or message.get("trailers") or message["type"] == "http.response.early_hint":
            return self._send_extended(message)
        return RequestResponseCycle.send(self, message)

    async def _send_extended(self, message: Any) -> None:
        send = RequestResponseCycle.send
        kind = message["type"]
        channel: StreamChannel = self.channel  # type: ignore[assignment]
        if kind == "http.response.early_hint" and not self.response_started:
            if not self.disconnected:
                channel.send_early_hint(message.get("links", ()))
        elif kind == "http.response.start" and not self.response_started:
            await send(self, message)
            if message.get("trailers"):
                self.trailers = []
        elif kind == "http.response.body" and self.trailers is not None and not self.body_complete:
            if not message.get("more_body", False):
                message = {**message, "more_body": True}
                self.body_complete = True
            await send(self, message)
        elif self.body_complete and not self.response_complete:
            await self._send_trailers(channel, message)
        else:
            await send(self, message)

    async def _send_trailers(self, channel: StreamChannel, message: Any) -> None:
        if channel.flow.write_paused and not self.disconnected:
            await channel.flow.drain()
        if self.disconnected:
            await self._give_in_vain()
            return
        if message["type"] != "http.response.trailers":
            raise RuntimeError(f"Expected ASGI message 'http.response.trailers', but got '{message['type']}'.")
        assert self.trailers is not None
        self.trailers += channel.check_trailers(message.get("headers", ()))
        if not message.get("more_trailers", False):
            channel.send_trailers(self, self.trailers)
            self._complete_response()
