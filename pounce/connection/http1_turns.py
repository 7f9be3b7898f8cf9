"""The part of an HTTP/1.1 connection that makes what comes wait: bytes not parsed yet, and requests not begun.

Runs on the worker's loop. Heads and chunks cost a client a few bytes each: of one read a share of lines is parsed,
and of its requests a share begun; the rest has its turn (`InputTurns`), so that a client that sends them without a
pause keeps nobody else waiting. Reading is held meanwhile. Implements RFC 9112 section 9.3.2.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Any

from pounce.connection.base import HttpConnection, Input
from pounce.connection.flow import HIGH_WATER_LIMIT
from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.exchange.http_cycle import RequestResponseCycle, ResponseState


class InputInTurns(HttpConnection):
    """What a connection has of it."""

    __slots__ = ("active", "cycle", "ends_behind_held", "held", "input", "pipeline")

    input: Input

    #: Whether the wire parses a pipelined request only when the response before it is complete (`start_next`).
    holds_requests_back = True

    def __init__(
        self,
        config: ConfigView,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """See `HttpConnection`."""
        super().__init__(config, server_state, app_state, _loop)
        # The requests: the latest one parsed, those not begun, and the one being answered
        self.cycle: RequestResponseCycle | None = None
        self.pipeline: deque[RequestResponseCycle] = deque()
        self.active: RequestResponseCycle | None = None
        #: Not parsed yet: the pipeline is full, or others have their turn.
        self.held = b""
        #: The server stops: if that is no request, the connection ends.
        self.ends_behind_held = False

    @property
    def share(self) -> int:
        """Lines that may be parsed now."""
        return self.server_state.input_turns.share if self.holds_heads else sys.maxsize

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the transport behind what was sent, once."""
        raise NotImplementedError

    def go_on(self) -> None:
        """Start the apps of requests that were parsed, in a later turn of the loop."""
        raise NotImplementedError

    def put_off(self, data: bytes) -> None:
        """Parse it in another turn of the loop."""
        self.held = data
        self.flow.hold()
        self.wait_for_turn()

    def wait_for_turn(self) -> None:
        """Go on with what is held, or with the next request, in another turn of the loop."""
        self.server_state.input_turns.wait(self)

    def take_turn(self) -> None:
        """See `TakesTurns.take_turn`."""
        if self.transport.is_closing():
            return
        latest = self.cycle
        is_complete = latest is None or not latest.more_body
        if self.pipeline and (is_complete or not self.held):
            self.go_on()
        elif self.held and not (
            # The wire keeps what is behind a request until that is answered (`read_on`).
            self.holds_requests_back and is_complete and latest is not None and latest.state is not ResponseState.ALL
        ):
            self._feed_held()
            latest = self.cycle
            if self.active is not None and (latest is None or len(latest.body) <= HIGH_WATER_LIMIT):
                self._read_more()
        if self.active is not None:
            self.server_state.input_turns.on_app()

    def read_on(self) -> None:
        """Everything that was parsed is answered."""
        if self.held:
            self.loop.call_later(0, self._take_held)
        else:
            self.flow.release()

    def _take_held(self) -> None:
        """Go on with what was not parsed yet."""
        if self.held and self.active is None and not self.pipeline and not self.transport.is_closing():
            self._feed_held()

    def _feed_held(self) -> None:
        data, self.held = self.held, b""
        self.flow.held = False
        self.data_received(data)
        if self.active is None:
            if self.ends_behind_held and not self.held and not self.pipeline:
                self.close()
                return
            self._read_more()

    def _read_more(self) -> None:
        # Behind what ends the requests, reading is for who answers it.
        if not self.pipeline and not self.held and self.input is Input.OPEN:
            self.flow.resume_reading()
