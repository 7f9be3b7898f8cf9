"""One HTTP request and its response as the app sees them: scope, `receive` and `send`, in the order ASGI allows.

Runs on the worker's loop. Knows no parser, no transport and no thread: a channel (an HTTP/1.1 connection, an HTTP/2
stream) turns messages into bytes. Answers to: the ASGI HTTP specification 2.3 and uvicorn's messages and order checks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from pounce.asgi import ASGI3Application, ASGIReceiveEvent, ASGISendEvent
from pounce.errors import MisusedByApp
from pounce.exchange.access_log import log_access
from pounce.exchange.app_errors import log_app_exception
from pounce.exchange.canned import CLOSE_HEADER, INTERNAL_SERVER_ERROR


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


class HttpChannel(Protocol):
    """Where a cycle's messages go."""

    @property
    def flow(self) -> Flow:
        """Flow control of both directions."""

    @property
    def sends_length_of_500(self) -> bool:
        """Whether a 500 carries a length (a matter of the dialect)."""

    def send_head(self, cycle: RequestResponseCycle, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the response's head. Raises MisusedByApp."""

    def send_body(self, cycle: RequestResponseCycle, body: bytes, more_body: bool) -> None:
        """Send a part of the response's body. Raises MisusedByApp."""

    def send_continue(self) -> None:
        """Send `100 Continue`, if the connection still stands."""

    def on_response_complete(self, cycle: RequestResponseCycle) -> None:
        """The last message of the response was sent."""

    def abandon(self, cycle: RequestResponseCycle) -> None:
        """The response can't be completed: end the connection (or stream)."""


class RequestResponseCycle:
    """One exchange. The channel tells it what arrives (`on_body`, `on_end`, `on_disconnect`)."""

    __slots__ = (
        "_something_to_tell",
        "_told",
        "access_logger",
        "app",
        "body",
        "channel",
        "disconnected",
        "keep_alive",
        "logger",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
        "waiting_for_100_continue",
    )

    def __init__(
        self,
        channel: HttpChannel,
        app: ASGI3Application,
        scope: Any,
        logger: logging.Logger,
        access_logger: logging.Logger | None,
        keep_alive: bool,
        expect_continue: bool,
    ) -> None:
        """`access_logger` is None where nobody listens to access lines."""
        self.channel = channel
        self.app = app
        self.scope = scope
        self.logger = logger
        self.access_logger = access_logger
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expect_continue
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.body: bytes | bytearray = b""
        self.more_body = True
        self._something_to_tell = False
        self._told: asyncio.Event | None = None  # made when the app first has to wait

    def __repr__(self) -> str:
        state = "complete" if self.response_complete else "started" if self.response_started else "waiting"
        return f"<{type(self).__name__} {self.scope['method']} {self.scope['path']} {state}>"

    # Told by the channel

    def on_body(self, data: bytes) -> None:
        """More of the request's body."""
        if not self.body:
            self.body = data
        elif isinstance(self.body, bytearray):
            self.body += data
        else:
            self.body = bytearray(self.body) + data
        self._tell()

    def on_end(self) -> None:
        """The request is complete."""
        self.more_body = False
        self._tell()

    def on_disconnect(self) -> None:
        """The client is gone."""
        if not self.response_complete:
            self.disconnected = True
        self._tell()

    def _tell(self) -> None:
        self._something_to_tell = True
        if self._told is not None:
            self._told.set()

    # The app's side

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Run the app on this exchange. Never raises: what goes wrong is logged and answered."""
        try:
            result: Any = await app(self.scope, self.receive, self.send)  # type: ignore[func-returns-value]
        except GeneratorExit:
            raise  # not the app's: the coroutine is thrown away with its loop, and may not wait for anything any more
        except BaseException as exc:
            log_app_exception(self.logger, exc)
            if self.response_started:
                self.channel.abandon(self)
            else:
                await self._send_500()
        else:
            if result is None and self.response_complete:
                return
            if result is not None:
                self.logger.error("ASGI callable should return None, but returned '%s'.", result)
                self.channel.abandon(self)
            elif self.disconnected:
                return
            elif not self.response_started:
                self.logger.error("ASGI callable returned without starting response.")
                await self._send_500()
            else:
                self.logger.error("ASGI callable returned without completing response.")
                self.channel.abandon(self)

    async def _send_500(self) -> None:
        headers = [(b"content-type", b"text/plain; charset=utf-8"), CLOSE_HEADER]
        if self.channel.sends_length_of_500:
            headers.insert(1, (b"content-length", b"%d" % len(INTERNAL_SERVER_ERROR)))
        try:
            await self.send({"type": "http.response.start", "status": 500, "headers": headers})
            await self.send({"type": "http.response.body", "body": INTERNAL_SERVER_ERROR, "more_body": False})
        except MisusedByApp as exc:  # a default header that no response can have
            log_app_exception(self.logger, exc)
            self.channel.abandon(self)

    async def send(self, message: ASGISendEvent) -> None:
        """ASGI `send`. Messages after a disconnect are dropped (spec_version 2.3). Raises RuntimeError on misuse."""
        channel = self.channel
        if channel.flow.write_paused and not self.disconnected:
            await channel.flow.drain()
        if self.disconnected:
            # Dropped; but an app that only sends must not keep the loop from everybody else.
            await asyncio.sleep(0)
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
            self.response_started = True
            self.waiting_for_100_continue = False
            status: int = message["status"]  # type: ignore[typeddict-item]
            if self.access_logger is not None:
                log_access(self.access_logger, self.scope, status)
            channel.send_head(self, status, message.get("headers", ()))  # type: ignore[arg-type]
        elif not self.response_complete:
            if kind != "http.response.body":
                raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
            more_body: bool = message.get("more_body", False)  # type: ignore[assignment]
            channel.send_body(self, message.get("body", b""), more_body)  # type: ignore[arg-type]
            if not more_body:
                self.response_complete = True
                self._something_to_tell = True
                if self._told is not None:
                    self._told.set()
                channel.on_response_complete(self)
        else:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' sent, after response already completed.")

    async def receive(self) -> ASGIReceiveEvent:
        """ASGI `receive`: what has arrived of the body, or `http.disconnect` once there is nobody to answer."""
        channel = self.channel
        if self.waiting_for_100_continue:
            self.waiting_for_100_continue = False
            channel.send_continue()
        if not self.disconnected and not self.response_complete:
            if channel.flow.read_paused:
                channel.flow.resume_reading()
            if not self._something_to_tell:
                told = self._told
                if told is None:
                    told = self._told = asyncio.Event()
                else:
                    told.clear()  # it may be set for what an earlier call took without waiting
                await told.wait()
            self._something_to_tell = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body = self.body
        self.body = b""
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}
