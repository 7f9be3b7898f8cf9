"""The part of an HTTP/2 connection that makes what comes wait: frames and requests of one read, and for the client.

Runs on the worker's loop. A client can ask for a hundred responses at once, and take none of them: frames are parsed in
shares (`InputTurns`), apps started for no longer than a turn, and none as long as too much waits to be sent. Implements
RFC 9113 section 10.5.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from pounce.connection.flow import FlowControl
from pounce.connection.http2_stream import HttpStream
from pounce.connection.http2_websocket import WebSocketStream
from pounce.connection.state import ServerState
from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.exchange.turns import LONGEST_TURN
from pounce.exchange.ws_cycle import WebSocketCycle
from pounce.settings import Http2
from pounce.wire.http2 import Http2Wire

#: Streams whose responses may wait for the client, however large they are, before they hold new requests up.
_FEW_WAITING = 8

#: Apps that are started before the first of them has run, where that is in another turn: until then none of them has
#: sent what might be too much.
_MOST_TO_RUN = 32


class RequestsInTurns:
    """What a connection has of it."""

    server_state: ServerState
    flow: FlowControl
    wire: Http2Wire
    limits: Http2
    loop: asyncio.AbstractEventLoop
    eager: bool
    holds_heads: bool
    start_app: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        #: Requests whose apps are not started.
        self.fresh: deque[tuple[HttpStream | WebSocketStream, RequestResponseCycle | WebSocketCycle]] = deque()
        #: Of several at once, those whose apps are started, and run in the next turn of the loop.
        self.to_run = 0
        #: Frames are left for another turn. Reading is paused.
        self.has_more = False
        #: Nothing is parsed any more.
        self.ended = False
        #: Bytes of frames that were written since the transport was full.
        self.unread_frames = 0

    def share(self) -> int:
        """See `Http2Sink.share`."""
        return self.server_state.input_turns.share

    def take_turn(self) -> None:
        """See `TakesTurns.take_turn`: go on with frames that were not parsed, and requests that were not begun."""
        self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`; there may be nothing new."""
        raise NotImplementedError

    def on_more(self, has_more: bool) -> None:
        """Frames are left for another turn, or none of those any more."""
        self.has_more = has_more
        if not has_more:
            self.resume_reading()
        elif not self.ended:
            self.flow.pause_reading()
            self.server_state.input_turns.wait(self)

    def resume_reading(self) -> None:
        """Read on, if nothing else keeps us from it."""
        if not self.has_more and self.unread_frames <= self.limits.unread_size:
            self.flow.resume_reading()

    def start_fresh(self) -> None:
        """Run the apps of new requests, one after the other, while there is time and not too much waits already."""
        fresh = self.fresh
        end = 0.0
        wire = self.wire
        while fresh and self.to_run < _MOST_TO_RUN and not (wire.queued_size and self.is_crowded):
            stream, exchange = fresh.popleft()
            if stream.local_open:  # and not reset meanwhile
                stream.task = self.start_app(exchange.run())
            if fresh:
                if self.holds_heads and not self.eager:  # not where a test's double is the loop
                    if not self.to_run:
                        self.loop.call_soon(self._on_run)
                    self.to_run += 1
                now = monotonic()
                end = end or now + LONGEST_TURN
                if now >= end:
                    self.server_state.input_turns.wait(self)
                    return

    def _on_run(self) -> None:
        """The first of the apps that were started has run, and the others are about to."""
        self.to_run = 0
        if self.fresh:
            self.server_state.input_turns.wait(self)

    def forget(self, stream: HttpStream | WebSocketStream) -> None:
        """It is over before its app was started."""
        self.fresh = deque(one for one in self.fresh if one[0] is not stream)

    @property
    def is_crowded(self) -> bool:
        """Whether so much of all responses waits for the client that its new requests do."""
        wire = self.wire
        if wire.queued_size <= self.limits.waiting_size:
            return False
        return sum(1 for stream in wire.streams.values() if stream.queue) > _FEW_WAITING
