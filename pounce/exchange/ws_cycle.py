"""One WebSocket's life as its ASGI app sees it: the scope, `receive()`, `send()`, and what its messages may follow.

Runs on the worker's loop, in the app's task. Knows neither parser nor transport: both are behind a channel. Answers
to: the ASGI WebSocket specification 2.4 with `websocket.http.response`, and the order rules, messages and log lines
of uvicorn's WebSocket protocols.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import sys
from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Any, Protocol

from pounce.errors import ClientDisconnected, MisusedByApp
from pounce.exchange.access_log import get_client_addr, get_path_with_query_string
from pounce.exchange.app_errors import is_running, log_app_exception, log_error
from pounce.exchange.turns import AppGivenUp, Turns

Header = tuple[bytes, bytes]


class WebSocketState(enum.Enum):
    """Where a WebSocket stands."""

    CONNECTING = "connecting"  # the handshake is not answered yet
    DENYING = "denying"  # the app answers it with an HTTP response of its own
    OPEN = "open"
    CLOSING = "closing"  # the app has closed; the peer's close frame is awaited
    CLOSED = "closed"  # nothing is sent or expected any more


OPEN = WebSocketState.OPEN

#: The client still waits for the answer to its handshake.
UNANSWERED = (WebSocketState.CONNECTING, WebSocketState.DENYING)


class WebSocketChannel(Protocol):
    """What a cycle asks of the connection below it. What answers the handshake or closes moves `state` on.

    Raises `MisusedByApp`, with nothing sent, for what the app got wrong.
    """

    state: WebSocketState
    transport: Any
    flow: Any
    server_state: Any

    def accept(self, subprotocol: str | None, headers: Iterable[Header]) -> None:
        """Answer that the WebSocket is open."""

    def refuse(self, status: int, text: str) -> None:
        """Answer with a response of the server's."""

    def start_response(self, status: int, headers: Iterable[Header]) -> None:
        """Begin a response of the app's."""

    def send_body(self, body: bytes, more: bool) -> None:
        """Continue it."""

    def read_on(self) -> None:
        """The app has received all messages so far: it can have more."""

    def send_message(self, message: str | bytes) -> None:
        """Send a text or binary message."""

    def start_close(self, code: int | None, reason: str) -> None:
        """Send a close frame, and wait for the peer's."""

    def on_app_done(self) -> None:
        """The app has ended: answer the handshake if it did not, and close."""


class WebSocketCycle:
    """The app's end of one WebSocket.

    Messages wait in `queue` until the app receives them. The disconnect comes after them, and again for each further
    `receive()`: an app that asks once more than it should is answered instead of left hanging.
    """

    def __init__(self, app: Any, scope: dict[str, Any], channel: WebSocketChannel, logger: logging.Logger) -> None:
        self.app = app
        self.scope = scope
        self.channel = channel
        self.logger = logger
        self.queue: deque[dict[str, Any]] = deque([{"type": "websocket.connect"}])
        self.disconnect: dict[str, Any] | None = None
        #: Whether a waiting `receive()` was woken since the connection last set this to False.
        self.woken = False
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._turns = Turns()
        #: Whether nothing more is read and parsed, since a message is not received.
        self.paused = False
        self._told = False  # the app has received the disconnect
        self._closed_by_app = False
        self._lost = False

    # Told by the connection

    def on_message(self, message: dict[str, Any]) -> None:
        """A `websocket.receive` for the app."""
        self.queue.append(message)
        if self._waiters:
            self._wake()
        elif not self.woken:
            # One unread message is enough. An app that was just woken runs before the next read.
            self.paused = True
            self.channel.flow.pause_reading()

    def on_disconnect(self, code: int, reason: str | None = None) -> None:
        """The WebSocket has ended. The first cause counts."""
        if self.disconnect is None:
            self.disconnect = {"type": "websocket.disconnect", "code": code}
            if reason is not None:
                self.disconnect["reason"] = reason
            while self._waiters:
                self._wake()

    def on_lost(self, code: int) -> None:
        """The connection is gone: from here on `send()` raises `ClientDisconnected`."""
        self._lost = True
        self.on_disconnect(code)

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self.woken = True
                return

    # The app's task

    async def run(self) -> None:
        """Run the app; whatever it does, the WebSocket is answered and ends."""
        try:
            result = await self.app(self.scope, self.receive, self.send)
        except (ClientDisconnected, AppGivenUp):
            pass
        except BaseException as exc:
            if isinstance(exc, GeneratorExit) and not is_running(sys._getframe()):
                raise
            log_app_exception(self.logger, exc)
        else:
            if self.channel.state in UNANSWERED:
                log_error(self.logger, "ASGI callable returned without completing handshake.")
            elif result is not None:
                log_error(self.logger, "ASGI callable should return None, but returned '%s'.", result)
        self.channel.on_app_done()

    async def receive(self) -> dict[str, Any]:
        """The ASGI `receive`."""
        queue = self.queue
        while not queue:
            if self.disconnect is not None:
                if self._told:
                    await self._turns.give_in_vain(self._server_stops)
                self._told = True
                return dict(self.disconnect)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                elif queue or self.disconnect is not None:
                    self._wake()  # it may have been this one's turn
                raise
            self._turns.taken()
        message = queue.popleft()
        if self.paused and not queue:
            self.paused = False
            if self.channel.state is OPEN:  # before that, reading pauses for what is held back
                self.channel.read_on()
        return message

    async def send(self, message: Any) -> None:
        """The ASGI `send`. Raises `ClientDisconnected` once the peer is gone, `MisusedByApp` on a misplaced message."""
        channel, turns = self.channel, self._turns
        if channel.flow.write_paused:
            await channel.flow.drain()
            turns.taken()
        try:
            if channel.state is not OPEN:
                if self._send_unopened(message):
                    return
            elif message["type"] == "websocket.send":
                data = message.get("bytes")
                if data is None:
                    data = message.get("text")
                if data is not None:
                    channel.send_message(data)
            elif message["type"] == "websocket.close":
                self._close(message)
            else:
                raise MisusedByApp(
                    f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{message['type']}'."
                )
        except BaseException:
            await turns.give_in_vain(self._server_stops)
            raise
        # A write that failed closes the transport, which the loop tells in its next turn.
        if monotonic() > turns.end or channel.transport.is_closing():
            await turns.give()

    def _server_stops(self) -> bool:
        return self.channel.server_state.stopping  # type: ignore[no-any-return]

    def _send_unopened(self, message: Any) -> bool:
        """Before the WebSocket is open, or when it is so no more. Returns whether it is open now."""
        channel, kind = self.channel, message["type"]
        if self._lost:
            raise ClientDisconnected
        if channel.state is WebSocketState.DENYING:
            self._continue_response(message)
        elif channel.state is not WebSocketState.CONNECTING:
            if self._closed_by_app:
                raise MisusedByApp(f"Unexpected ASGI message '{kind}', after sending 'websocket.close'.")
            raise ClientDisconnected
        elif kind == "websocket.accept":
            if self.logger.isEnabledFor(logging.INFO):
                self._log("[accepted]")
            channel.accept(message.get("subprotocol"), message.get("headers", ()))
            return True
        elif kind == "websocket.close":
            if self.logger.isEnabledFor(logging.INFO):
                self._log("403")
            self._closed_by_app = True
            self.on_disconnect(1006)
            channel.refuse(403, "")
        elif kind == "websocket.http.response.start":
            status = message["status"]
            if not 100 <= status < 600:
                raise MisusedByApp(f"Invalid HTTP status code '{status:d}' in response.")
            if self.logger.isEnabledFor(logging.INFO):
                self._log("%d", status)
            channel.start_response(status, message.get("headers", ()))
        else:
            raise MisusedByApp(
                "Expected ASGI message 'websocket.accept', 'websocket.close' "
                f"or 'websocket.http.response.start' but got '{kind}'."
            )
        return False

    def _continue_response(self, message: Any) -> None:
        kind = message["type"]
        if kind != "websocket.http.response.body":
            raise MisusedByApp(f"Expected ASGI message 'websocket.http.response.body' but got '{kind}'.")
        more = message.get("more_body", False)
        if not more:
            self._closed_by_app = True
            self.on_disconnect(1006)
        self.channel.send_body(message.get("body", b""), more)

    def _close(self, message: Any) -> None:
        code, reason = message.get("code", 1000), message.get("reason", "") or ""
        if code is None and reason:
            code = 1000
        self.channel.start_close(code, reason)
        self._closed_by_app = True
        self.on_disconnect(1005 if code is None else code, reason)

    def _log(self, outcome: str, *status: int) -> None:
        client, path = get_client_addr(self.scope), get_path_with_query_string(self.scope)
        self.logger.info(f'%s - "WebSocket %s" {outcome}', client, path, *status)
