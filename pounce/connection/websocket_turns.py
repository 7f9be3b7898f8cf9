"""The part of a WebSocket connection that deals with what was not parsed at once, and with pings: both come cheaply.

Runs on the worker's loop. What is parsed in one turn is a share (`InputTurns`), and no more than the app takes: bytes
that inflate to more than was read stay as they came until then. Implements RFC 6455 sections 5.5.2 and 5.5.3.
"""

from __future__ import annotations

from typing import Any

from pounce.connection.flow import FlowControl
from pounce.connection.state import ServerState
from pounce.exchange.ws_cycle import OPEN, WebSocketCycle, WebSocketState
from pounce.wire.ws import WebSocketWire


class FramesInTurns:
    """What a connection has of it. Reading is paused while bytes are left, and while the app has messages to take."""

    server_state: ServerState
    transport: Any
    flow: FlowControl
    wire: WebSocketWire
    cycle: WebSocketCycle
    state: WebSocketState
    #: Answers to the pings of this read.
    pongs: bytearray

    def share(self) -> int:
        """See `WebSocketSink.share`."""
        return self.server_state.input_turns.share

    def puts_off(self, data: bytes) -> bool:
        """Whether a large read is kept as it is, since others wait for their turn already."""
        if self.wire.is_collecting or not self.server_state.input_turns.are_awaited:
            return False
        self.wire.keep(data)
        self.wait_for_turn()
        return True

    def wait_for_turn(self) -> None:
        """Go on with what is left in another turn of the loop."""
        self.flow.pause_reading()
        self.server_state.input_turns.wait(self)  # type: ignore[arg-type]

    def take_turn(self) -> None:
        """See `TakesTurns.take_turn`."""
        if self.state is OPEN:
            if self.cycle.paused:
                return  # until `read_on`
            self.cycle.woken = False
        if self.wire.has_more and self.wire.go_on():
            self.wait_for_turn()
        elif not self.cycle.paused or self.state is WebSocketState.CLOSING:
            self.flow.resume_reading()
        if self.pongs:
            self.flush_pongs()

    def read_on(self) -> None:
        """The app has taken what there was: parse what is left, or read more."""
        if self.wire.has_more:
            self.wait_for_turn()
        else:
            self.flow.resume_reading()

    def on_ping(self, pong: bytes) -> None:
        """See `WebSocketSink.on_ping`."""
        if self.state is OPEN:
            if self.flow.write_paused:
                # The peer does not read. RFC 6455, section 5.5.3: one pong may answer all pings before it.
                self.pongs.clear()
            self.pongs += pong

    def flush_pongs(self) -> None:
        """Write them, where there is room."""
        if self.pongs and not self.flow.write_paused:
            if self.state is OPEN:
                self.transport.write(bytes(self.pongs))
            self.pongs.clear()

    def write_last(self, frame: bytes) -> None:
        """A close frame, behind the pongs of the same read."""
        self.transport.write(bytes(self.pongs) + frame)
        self.pongs.clear()
