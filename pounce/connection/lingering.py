"""A connection that is over but for what its client still sends: that is read and thrown away, for a while.

Runs on the worker's loop. Who closes a socket in which there is something to read resets the connection, and the
client may lose the answer that it was just sent; who reads for as long as something comes can be made to do so for
ever. So our side is closed, and the other one is read until the client closes it, or is quiet, or has had its bytes or
seconds. Implements RFC 9112 section 9.6.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pounce.connection.base import HttpConnection, Phase
from pounce.connection.debts import not_taken

#: Seconds in which nothing comes, after which nothing is on its way; and where the server stops, which waits for it,
#: those, and how many there are in all.
_QUIET = 2.0
_QUIET_AT_STOP = 0.25
_SECONDS_AT_STOP = 1.0


class _Gone:
    """What has taken the place of a transport that is somebody else's now: it is closing, and takes nothing."""

    def is_closing(self) -> bool:
        return True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        """Drop it."""

    writelines = write

    def close(self) -> None:
        """It is."""

    abort = pause_reading = resume_reading = close


_GONE: Any = _Gone()


def linger(connection: Any) -> None:
    """Close an HTTP/1.1 connection behind what was written to it; `connection` itself is over at once."""
    transport = connection.transport
    limits = connection.limits
    if not (limits.linger_size and limits.linger_seconds) or not hasattr(
        transport, "can_write_eof"
    ):  # nor do test doubles
        transport.close()
        return
    successor = Lingering(connection.config, connection.server_state, connection.app_state, connection.loop)
    connection.connection_lost(None)
    if connection.flow.read_paused:
        transport.resume_reading()
    connection.transport = connection.writer.transport = _GONE
    transport.set_protocol(successor)
    successor.connection_made(transport)


class Lingering(HttpConnection):
    """What is left of a connection."""

    __slots__ = ("_came", "_end", "_left", "_not_taken", "_quiet", "_seconds", "_timer")

    _timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Everything was written to it."""
        limits = self.config.settings.limits
        self.phase = Phase.BUSY
        self.transport = transport
        self.connections.add(self)
        self._came = 0  # bytes since the last look
        self._left = limits.linger_size
        self._not_taken = not_taken(transport)
        self._quiet = _QUIET_AT_STOP if self.server_state.stopping else _QUIET
        self._seconds = limits.linger_seconds
        if self.server_state.stopping:
            self._seconds = min(self._seconds, _SECONDS_AT_STOP)
        self._end = self.loop.time() + self._seconds
        try:
            if transport.can_write_eof():
                transport.write_eof()
        except OSError:  # the client is gone
            transport.abort()
        self._timer = self.loop.call_later(min(self._quiet, self._seconds), self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has closed, or we have."""
        self.connections.discard(self)
        self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Thrown away."""
        self._came += len(data)
        self._left -= len(data)
        if self._left < 0:
            self.transport.abort()

    def pause_writing(self) -> None:
        """Nothing is written any more."""

    resume_writing = pause_writing

    def _look(self) -> None:
        now = self.loop.time()
        left = not_taken(self.transport)
        if left != self._not_taken:  # a slow client that takes its answer has the time for that
            self._end = now + self._seconds
        if now >= self._end:
            self.transport.abort()
            return
        if not self._came and not self.transport.get_write_buffer_size():
            self.close()
            return
        self._came, self._not_taken = 0, left
        self._timer = self.loop.call_later(min(self._quiet, max(self._end - now, 0.0)), self._look)

    def close(self) -> None:
        """Close it now, behind what was written."""
        if not self.transport.is_closing():
            self.transport.close()

    def shutdown(self) -> None:
        """Asked by the server: be quick."""
        now = self.loop.time()
        self._quiet, self._seconds = _QUIET_AT_STOP, min(self._seconds, _SECONDS_AT_STOP)
        self._end = min(self._end, now + self._seconds)
        self._timer.cancel()
        self._timer = self.loop.call_later(min(self._quiet, max(self._end - now, 0.0)), self._look)
