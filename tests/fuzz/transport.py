"""What is below a fuzzed connection: a transport as asyncio's and uvloop's are, and a loop that counts what it does."""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from typing import Any

from tests.fakes import HurryingLoop

_HIGH_WATER, _LOW_WATER = 65536, 16384


class CountingLoop(HurryingLoop):
    """A loop whose clock goes as fast as it can, and that counts its turns."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0

    def _run_once(self) -> None:
        self.turns += 1
        super()._run_once()

    @property
    def is_quiet(self) -> bool:
        """Nothing is to be called at once, besides who asks."""
        return not self._ready  # type: ignore[has-type]

    @property
    def timers(self) -> list[Any]:
        """What is still to be called later."""
        return [handle for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]


class Transport(asyncio.Transport):
    """Takes what it is given, tells its protocol what asyncio's would, and notes what that must not do or raise."""

    def __init__(self, loop: Any, faults: list[str], *, tls: bool) -> None:
        super().__init__()
        self.protocol: Any = None
        self.loop = loop
        self.faults = faults
        self.can_half_close = not tls
        #: What the client has not taken yet, and what it has.
        self.buffer = bytearray()
        self.taken = bytearray()
        self.is_slow = False
        self.full = False
        #: What has come and is not delivered; None is the client's end.
        self.waiting: deque[bytes | None] = deque()
        self.reading = True
        self.half_closed = False  # by the client
        self.ended = False  # our side
        self.closing = False
        self.cut = False  # what the client had not taken is lost
        self.gone = False  # the client is: the protocol is told in the next turn
        self.lost = False
        self.deliveries = 0

    # The protocol's side

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "sslcontext":
            return not self.can_half_close
        return {"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.2", 9000)}.get(name, default)

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def write(self, data: Any) -> None:
        if self.gone:
            return  # asyncio drops it
        if self.closing or self.ended:
            self.faults.append(f"transport: written to behind its end\n{''.join(traceback.format_stack(limit=4))}")
            return
        self.buffer += data
        if self.is_slow:
            if len(self.buffer) > _HIGH_WATER and not self.full:
                self.full = True
                self.protocol.pause_writing()
        else:
            self.take()

    def writelines(self, pieces: Any) -> None:
        pieces = list(pieces)
        if not all(pieces):
            self.faults.append("transport: an empty piece, on which asyncio spins")
        self.write(b"".join(pieces))

    def can_write_eof(self) -> bool:
        return self.can_half_close

    def write_eof(self) -> None:
        if not self.closing:
            self.ended = True

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.buffer:
                self.loop.call_soon(self.lose, None)

    def abort(self) -> None:
        self.cut |= bool(self.buffer)
        self.buffer.clear()
        self.closing = True
        self.loop.call_soon(self.lose, None)

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        if self.closing:
            self.faults.append("transport: reading paused behind its end, where uvloop raises")
        self.reading = False

    def resume_reading(self) -> None:
        if self.closing:
            self.faults.append("transport: reading resumed behind its end, where uvloop raises")
        if self.half_closed and not self.reading and not self.waiting:
            self.waiting.append(None)  # a closed side tells its end to whoever reads it
        self.reading = True
        if self.waiting:
            self.loop.call_soon(self.deliver)

    # The client's side, and the system's

    def arrive(self, data: bytes | None) -> None:
        """Bytes, or the end of the client's side."""
        if not self.half_closed and not self.gone:
            self.waiting.append(data)
            self.deliver()

    def deliver(self) -> None:
        while self.waiting and self.reading and not self.closing:
            data = self.waiting.popleft()
            self.deliveries += 1
            try:
                if data is not None:
                    if data:
                        self.protocol.data_received(data)
                    continue
                self.half_closed = True
                if not self.protocol.eof_received():
                    self.close()
                    self.gone = True
                elif not self.can_half_close:
                    self.faults.append("transport: kept open behind the end of TLS")
            except Exception:
                self.faults.append(f"raised: {traceback.format_exc(limit=-3)}")
                self.abort()
            return  # asyncio tells the end no more, until it is asked to read

    def take(self, size: int | None = None) -> None:
        """The client reads so many bytes, or all."""
        data = self.buffer[:size]
        del self.buffer[: len(data)]
        self.taken += data
        if self.full and len(self.buffer) <= _LOW_WATER:
            self.full = False
            self.protocol.resume_writing()
        if self.closing and not self.buffer and not self.lost:
            self.loop.call_soon(self.lose, None)

    def reset(self) -> None:
        """The client is gone, and the transport finds out."""
        if not self.closing:
            self.closing = self.gone = True
            self.cut = True
            self.buffer.clear()
            self.loop.call_soon(self.lose, ConnectionResetError())

    def lose(self, exc: Exception | None) -> None:
        """The connection ends, once."""
        if self.lost:
            return
        self.cut |= bool(self.buffer)
        self.buffer.clear()
        self.closing = self.lost = self.gone = True
        try:
            self.protocol.connection_lost(exc)
        except Exception:
            self.faults.append(f"raised: {traceback.format_exc(limit=-3)}")
