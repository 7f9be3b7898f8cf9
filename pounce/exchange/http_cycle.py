"""One HTTP request and its response as the app sees them: scope, `receive` and `send`, in the order ASGI allows.

Runs on the worker's loop. Knows no parser, no transport and no thread: a channel (an HTTP/1.1 connection, an HTTP/2
stream) turns messages into bytes, and says which messages it takes (`MESSAGES`, and the rows of `extensions`).
Implements the ASGI HTTP specification, with uvicorn's order checks and the words of its errors.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from pounce.asgi import ASGI3Application, ASGIReceiveEvent, ASGISendEvent
from pounce.errors import ClientDisconnected, MisusedByApp
from pounce.exchange.access_log import log_access
from pounce.exchange.app_errors import is_of_disconnect, is_running, log_app_exception, log_error
from pounce.exchange.channel import Flow, HttpChannel, HttpWriter
from pounce.exchange.record import ExchangeRecord, Observer
from pounce.exchange.server_responses import CLOSE_HEADER, INTERNAL_SERVER_ERROR
from pounce.exchange.turns import AppGivenUp, HttpTurns, Turns


class ResponseState(enum.IntEnum):
    """What of a response has been sent, by what may follow. A number, since tables are indexed with it."""

    NOTHING = 0
    HEAD = 1  # and perhaps a part of the body
    HEAD_OF_TRAILERS = 2  # the same, where trailers are promised
    BODY = 3  # all of it; trailers are due
    ALL = 4
    REFUSED = 5  # nothing, and nothing may follow: the app's head was one that no response may have
    FILE = 6  # a part of a file, of which the rest is on its way: nothing may come in between


_NOTHING, _HEAD, _HEAD_OF_TRAILERS, _BODY, _ALL, _REFUSED, _FILE = ResponseState

#: Takes a message. Returns whether the app may send such messages on and on, and so has to give others their turn; or
#: what `send()` has to await to learn it, where a message takes longer than this turn of the loop.
Handler = Callable[["RequestResponseCycle", Any], bool | Awaitable[Any]]

#: By state: message type to handler, what is expected first. An extension is rows of this.
Messages = Sequence[Mapping[str, Handler]]


class RequestResponseCycle:
    """One exchange. The channel tells it what arrives (`on_body`, `on_end`, `on_client_done`, `on_disconnect`)."""

    __slots__ = (
        "__weakref__",  # of the bound methods that an app is given
        "_disconnect_told",
        "_has_message",
        "_request_read",
        "_turns",
        "_wakeup",
        "access_logger",
        "app",
        "body",
        "channel",
        "client_done",
        "disconnected",
        "flow",
        "is_head",
        "keep_alive",
        "logger",
        "messages",
        "more_body",
        "pieces",
        "readers",
        "record",
        "scope",
        "state",
        "trailers",
        "waiting_for_100_continue",
        "writer",
    )

    def __init__(
        self,
        channel: HttpChannel,
        writer: HttpWriter,
        flow: Flow,
        app: ASGI3Application,
        scope: Any,
        logger: logging.Logger,
        access_logger: logging.Logger | None,
        keep_alive: bool,
        expect_continue: bool,
        has_body: bool = True,
        observers: list[Observer] | None = None,
    ) -> None:
        """`access_logger` is None where nobody listens to access lines. Without `has_body` the request is complete.

        `observers` are told how it went.
        """
        self.channel = channel
        self.writer = writer
        self.flow = flow
        #: What it takes: a feature may put another table here, before the app runs.
        self.messages = channel.messages
        self.app = app
        self.scope = scope
        self.logger = logger
        self.access_logger = access_logger
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expect_continue
        #: Of the request as it came: the scope is the app's, which may change it.
        self.is_head = scope["method"] == "HEAD"
        self.disconnected = False
        #: The client sends nothing any more (it may have left, or still read), and an app that asks is told so.
        self.client_done = False
        self.state: ResponseState = _NOTHING
        #: Those of the app so far, where it has promised some.
        self.trailers: Sequence[tuple[bytes, bytes]] = ()
        self.record = ExchangeRecord(scope, observers) if observers else None
        self.body: bytes | bytearray = b""
        self.more_body = has_body
        #: Of the body, so far; and how many calls of `receive()` wait for the next.
        self.pieces = self.readers = 0
        self._request_read = False  # all of it, by the app
        self._disconnect_told = False
        self._has_message = not has_body  # for `receive()`
        self._wakeup: asyncio.Event | None = None  # made when the app first has to wait
        self._turns: Turns | None = None  # made for the first part of a longer response

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.scope.get('method')} {self.scope.get('path')} sent={self.state.name}>"

    # Told by the channel

    def on_body(self, data: bytes) -> None:
        """More of the request's body."""
        self.pieces += 1
        if self.record is not None:
            self.record.bytes_in += len(data)
        if not self.body:
            self.body = data
        elif isinstance(self.body, bytearray):
            self.body += data
        else:
            self.body = bytearray(self.body) + data
        self._notify()

    def watch(self, event: Any) -> None:
        """Before the app runs: have `event.set()` called when something arrives or the client leaves. None ends it."""
        self._wakeup = event

    def on_end(self) -> None:
        """The request is complete."""
        self.more_body = False
        self._has_message = True
        if self._wakeup is not None:
            self._wakeup.set()

    def on_client_done(self) -> None:
        """The client has closed its side behind a complete request: `receive()` reports a disconnect from now on.

        It may have left or still wait for the answer (RFC 9112 section 9.6), so what the app sends is still sent.
        """
        self.client_done = True
        self._notify()

    def on_stop(self) -> None:
        """The server ends: `receive()` reports a disconnect from now on. What the app sends is still sent."""
        self._request_read = True  # be there more of it or not
        self.on_client_done()

    def on_disconnect(self) -> None:
        """The client is gone."""
        if self.state is not _ALL:
            self.disconnected = True
            self.finish_record()
        self._notify()

    def _notify(self) -> None:
        self._has_message = True
        if self._wakeup is not None:
            self._wakeup.set()

    # The app's side

    async def run(self) -> None:
        """Run the app on this exchange. Never raises: what goes wrong is logged and answered, without waiting."""
        try:
            result: Any = await self.app(self.scope, self.receive, self.send)  # type: ignore[func-returns-value]
        except GeneratorExit as exc:
            if is_running(sys._getframe()):
                self._on_app_error(exc)
            # else this coroutine is thrown away, behind the end of its loop
        except BaseException as exc:
            self._on_app_error(exc)
        else:
            if result is not None:
                log_error(self.logger, "ASGI callable should return None, but returned '%s'.", result)
                self.abandon()
            elif self.state is not _ALL:
                self._on_missing_response()
        if self.record is not None:
            self.finish_record()

    def _on_app_error(self, exc: BaseException) -> None:
        if not isinstance(exc, AppGivenUp) and not (self.disconnected and is_of_disconnect(exc)):
            log_app_exception(self.logger, exc)
        if self.state is not _NOTHING:
            self.abandon()
        else:
            self._send_500()

    def abandon(self) -> None:
        """The response can't be completed. Of what the app has sent nothing is lost, not even a head alone."""
        if not self.disconnected:
            self.writer.flush()
        self.channel.abandon(self)

    def _on_missing_response(self) -> None:
        if self.client_done and not self.disconnected:
            self.abandon()  # the app was told that the client is gone, and has stopped
        elif self.disconnected:
            pass
        elif self.state is _NOTHING:
            log_error(self.logger, "ASGI callable returned without starting response.")
            self._send_500()
        else:
            log_error(self.logger, "ASGI callable returned without completing response.")
            self.abandon()

    def _send_500(self) -> None:
        if self.disconnected:
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8"), CLOSE_HEADER]
        if self.channel.sends_length_of_500:
            headers.insert(1, (b"content-length", b"%d" % len(INTERNAL_SERVER_ERROR)))
        try:
            self.on_start({"status": 500, "headers": headers})
            self.on_response_body({"body": INTERNAL_SERVER_ERROR})
        except Exception as exc:  # a default header that no response can have, an access log that fails
            log_app_exception(self.logger, exc)
            self.abandon()
        self._notify()

    async def send(self, message: ASGISendEvent) -> None:
        """ASGI `send`. Messages after a disconnect are dropped (ASGI 2.3), or raise. Raises RuntimeError on misuse."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            await self._give_in_vain()
            if self.channel.spec_version == "2.3":
                return
            raise ClientDisconnected
        kind = message["type"]
        handler = self.messages[self.state].get(kind)
        if handler is None:
            await self._give_in_vain()  # an app that ignores this and goes on must not keep the loop
            raise self._unexpected(kind)
        try:
            goes_on = handler(self, message)
            if goes_on and goes_on is not True:
                await goes_on
                goes_on = self.state is not _ALL
        except Exception:
            await self._give_in_vain()
            raise
        if goes_on:
            turns = self._turns
            if turns is None:
                turns = self._turns = HttpTurns()
            if self.client_done and not message.get("body"):
                await self._give_in_vain()  # whether the client still reads, only bytes can tell
            elif monotonic() > turns.end:
                await turns.give()
        elif self._wakeup is not None and self.state is _ALL:
            self._wakeup.set()  # another task of the app waits in `receive()`

    def _unexpected(self, kind: str) -> RuntimeError:
        for expected in self.messages[self.state]:
            return RuntimeError(f"Expected ASGI message '{expected}', but got '{kind}'.")
        if self.state is _FILE:
            return RuntimeError(f"Unexpected ASGI message '{kind}' sent, while a file is being sent.")
        after = "head was refused" if self.state is _REFUSED else "response already completed"
        return RuntimeError(f"Unexpected ASGI message '{kind}' sent, after {after}.")

    def on_start(self, message: Any) -> bool:
        """`http.response.start`."""
        status = message["status"]
        if not isinstance(status, int) or not 200 <= status < 600:
            raise MisusedByApp(f"Invalid HTTP status code '{status}' in response.")
        # uvicorn: a field that no response may have ends the exchange without a 500, as if the head had been sent.
        self.state = _REFUSED
        if self.waiting_for_100_continue and self.more_body:
            # RFC 9110 section 10.1.1: whether the client still sends the body that it asked about is anybody's guess.
            self.keep_alive = False
        self.writer.send_head(status, message.get("headers", ()), self.is_head, self.keep_alive)
        self.state = _HEAD_OF_TRAILERS if message.get("trailers") and self.messages[_HEAD_OF_TRAILERS] else _HEAD
        self.waiting_for_100_continue = False
        if self.record is not None:
            self.record.start(status)
        if self.access_logger is not None:
            log_access(self.access_logger, self.scope, status)
        return False

    def on_response_body(self, message: Any) -> bool:
        """`http.response.body`."""
        body = message.get("body", b"")
        more_body: bool = message.get("more_body", False)
        self.writer.send_body(body, more_body)
        if self.record is not None:
            self.record.bytes_out += len(body or b"")
        if more_body:
            return True
        self.state = _ALL
        if self.record is not None:
            self.finish_record()
        self.channel.on_response_complete(self)
        return False

    def finish_record(self) -> None:
        """Tell the observers of the worker how it went, where there are any."""
        if self.record is not None:
            self.record.finish(self.state is _ALL)

    async def _give_in_vain(self) -> None:
        """There is nobody to talk to: an app that goes on must not keep the loop from everybody else."""
        if self._turns is None:
            self._turns = HttpTurns()
        await self._turns.give_in_vain(self.channel.server_stops)

    async def receive(self) -> ASGIReceiveEvent:
        """ASGI `receive`: what has arrived of the body, or `http.disconnect` once there is nobody to answer."""
        if self.waiting_for_100_continue:
            self.waiting_for_100_continue = False
            if self.more_body or self.body:  # RFC 9110 section 10.1.1: not without a body
                self.writer.send_continue()
        if not self.disconnected and self.state is not _ALL:
            if self.flow.read_paused:
                self.flow.resume_reading()
            if not self._has_message and not self.client_done:
                wakeup = self._wakeup
                if wakeup is None:
                    wakeup = self._wakeup = asyncio.Event()
                else:
                    wakeup.clear()  # it may be set for what an earlier call took without waiting
                self.readers += 1
                try:
                    await wakeup.wait()
                finally:
                    self.readers -= 1
        if self.disconnected or self.state is _ALL or (self.client_done and self._request_read):
            if self._disconnect_told:
                await self._give_in_vain()  # an app that asks on and on must not keep the loop either
            self._disconnect_told = True
            return {"type": "http.disconnect"}
        self._has_message = False
        self._request_read = not self.more_body
        body = self.body
        self.body = b""
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}


#: What every channel takes.
MESSAGES: Messages = (
    {"http.response.start": RequestResponseCycle.on_start},
    {"http.response.body": RequestResponseCycle.on_response_body},
    {},
    {},
    {},
    {},
    {},
)
