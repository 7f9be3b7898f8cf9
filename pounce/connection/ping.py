"""Keepalive of one WebSocket: a ping each interval, and the end of the connection when its pong does not come in time.

Runs on the worker's loop. Implements RFC 6455 sections 5.5.2 and 5.5.3 on uvicorn's schedule (the next ping
follows a pong; the round trip counts as part of the interval). Unlike there, whatever the peer sends puts the end off:
the pong waits behind a large frame that is on its way. Knows neither frames nor apps.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from struct import pack


class PingTimer:
    """Sends pings through `send_ping(payload)` and calls `on_timeout()` once, when a pong is overdue.

    `interval` and `timeout` are seconds; no interval means no pings, no timeout means that nobody waits for the pong.
    It is overdue when nothing at all has come for `timeout` seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interval: float | None,
        timeout: float | None,
        send_ping: Callable[[bytes], None],
        on_timeout: Callable[[], None],
    ) -> None:
        self._loop = loop
        self.interval = interval
        self.timeout = timeout
        self._send_ping = send_ping
        self._on_timeout = on_timeout
        self.ping_timer: asyncio.TimerHandle | None = None
        self.pong_timer: asyncio.TimerHandle | None = None
        self.pending_payload: bytes | None = None
        self.sent_at = 0.0
        self.last_rtt = 0.0
        self._alive_at: float | None = None  # loop time of the last bytes since the ping

    def start(self) -> None:
        """Begin, if pings are wanted at all."""
        if self.interval:
            self._schedule()

    def stop(self) -> None:
        """No more pings, and no timeout."""
        for timer in (self.ping_timer, self.pong_timer):
            if timer is not None:
                timer.cancel()
        self.ping_timer = self.pong_timer = self.pending_payload = None

    def on_life(self) -> None:
        """Bytes have come while a pong is waited for."""
        self._alive_at = self._loop.time()

    def on_pong(self, payload: bytes) -> None:
        """A pong came in. One that answers no ping in flight is ignored: RFC 6455 allows unsolicited ones."""
        if self.pending_payload is None or payload != self.pending_payload:
            return
        self.last_rtt = self._loop.time() - self.sent_at
        self.pending_payload = None
        if self.pong_timer is not None:  # without a timeout the next ping is scheduled already
            self.pong_timer.cancel()
            self.pong_timer = None
            self._schedule()

    def _schedule(self) -> None:
        assert self.interval is not None
        self.ping_timer = self._loop.call_later(max(0.0, self.interval - self.last_rtt), self._ping)

    def _ping(self) -> None:
        self.ping_timer = None
        self.pending_payload = pack("!I", random.getrandbits(32))
        self.sent_at = self._loop.time()
        self._alive_at = None
        if self.timeout is None:
            self._schedule()
        else:
            self.pong_timer = self._loop.call_later(self.timeout, self._expire)
        self._send_ping(self.pending_payload)

    def _expire(self) -> None:
        if self._alive_at is not None:
            assert self.timeout is not None
            # Looked at here and not for each read: a timer costs more than a note.
            left = self._alive_at + self.timeout - self._loop.time()
            self._alive_at = None
            if left > 0:
                self.pong_timer = self._loop.call_later(left, self._expire)
                return
        self.pong_timer = self.pending_payload = None
        self._on_timeout()
