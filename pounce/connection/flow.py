"""Flow control of one connection: whether reading is paused, whether writing is, and who waits for that.

Runs on the worker's loop. Compatible with uvicorn's `FlowControl`.
"""

from __future__ import annotations

import asyncio
import sys

from pounce.exchange.server_responses import CLOSE_HEADER, service_unavailable

__all__ = ["CLOSE_HEADER", "HIGH_WATER_LIMIT", "FlowControl", "service_unavailable"]

#: Bytes of a request body kept for the app before reading pauses.
HIGH_WATER_LIMIT = 65536


def can_write_vectors(loop: object) -> bool:
    """Whether `transport.writelines` neither copies nor forgets to pause writing (before 3.14: CVE-2024-12254)."""
    module = type(loop).__module__
    return module.startswith(("uvloop", "zuvloop")) or (sys.version_info >= (3, 14) and module.startswith("asyncio."))


class FlowControl:
    """The two directions of one transport."""

    __slots__ = ("_transport", "_writable", "held", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        #: Reading stays paused, whoever asks: enough has come that nobody has asked for.
        self.held = False
        self.write_paused = False
        self._writable: asyncio.Event | None = None  # made when somebody first has to wait

    async def drain(self) -> None:
        """Wait until the transport's write buffer is below its high-water mark, or the connection is lost."""
        while self.write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            await self._writable.wait()

    def pause_reading(self) -> None:
        """Stop reading from the transport, if that was not done yet."""
        if not self.read_paused and not self._transport.is_closing():
            self.read_paused = True
            self._transport.pause_reading()

    def hold(self) -> None:
        """Stop reading until `release`."""
        self.held = True
        self.pause_reading()

    def release(self) -> None:
        """Read again, if reading was paused."""
        self.held = False
        self.resume_reading()

    def resume_reading(self) -> None:
        """Read from the transport again, if reading was paused and is not held."""
        if self.read_paused and not self.held and not self._transport.is_closing():
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Told by the transport: its buffer is full."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Told by the transport: its buffer has room (or there is nobody to write to any more)."""
        if self.write_paused:
            self.write_paused = False
            if self._writable is not None:
                self._writable.set()
                self._writable = None
