"""Keepalive of one WebSocket: a ping each interval, and the end of the connection when its pong does not come in time.

Runs on the worker's loop. Implements RFC 6455 sections 5.5.2 and 5.5.3 on uvicorn's schedule (the next ping
follows a pong; the round trip counts as part of the interval). Unlike there, whatever the peer sends puts the end off:
the pong waits behind a large frame that is on its way. Knows neither frames nor apps.
"""

from __future__ import annotations

import asyncio
import random
from struct import pack


class Keepalive:
    """What a WebSocket connection knows of its pings, by uvicorn's names.

    `ping_interval` and `ping_timeout` are seconds; no interval means no pings, no timeout means that nobody waits for
    the pong. It is overdue when nothing at all has come for `ping_timeout` seconds.
    """

    loop: asyncio.AbstractEventLoop
    ping_interval: float | None
    ping_timeout: float | None

    #: Until the next ping, and until the pong is overdue.
    ping_timer: asyncio.TimerHandle | None = None
    pong_timer: asyncio.TimerHandle | None = None
    #: Of the ping that awaits its pong.
    pending_ping_payload: bytes | None = None
    #: Loop time of the last ping.
    ping_sent_at = 0.0
    #: Seconds from the last ping to its pong.
    last_ping_rtt = 0.0
    #: Loop time of the last bytes since the ping, where its pong is waited for.
    alive_at: float | None = None

    def start_pings(self) -> None:
        """The next ping is due an interval after the last one, if pings are wanted at all."""
        if self.ping_interval:
            self.ping_timer = self.loop.call_later(max(0.0, self.ping_interval - self.last_ping_rtt), self._ping)

    def stop_pings(self) -> None:
        """No more pings, and no timeout."""
        for timer in (self.ping_timer, self.pong_timer):
            if timer is not None:
                timer.cancel()
        self.ping_timer = self.pong_timer = self.pending_ping_payload = None

    def on_pong(self, payload: bytes) -> None:
        """A pong came in. One that answers no ping in flight is ignored: RFC 6455 allows unsolicited ones."""
        if self.pending_ping_payload is None or payload != self.pending_ping_payload:
            return
        self.last_ping_rtt = self.loop.time() - self.ping_sent_at
        self.pending_ping_payload = None
        if self.pong_timer is not None:  # without a timeout the next ping is scheduled already
            self.pong_timer.cancel()
            self.pong_timer = None
            self.start_pings()

    def send_ping(self, payload: bytes) -> None:
        """Send a ping."""
        raise NotImplementedError

    def on_pong_overdue(self) -> None:
        """The peer has not answered."""
        raise NotImplementedError

    def _ping(self) -> None:
        self.ping_timer = None
        self.pending_ping_payload = pack("!I", random.getrandbits(32))
        self.ping_sent_at = self.loop.time()
        self.alive_at = None
        if self.ping_timeout is None:
            self.start_pings()
        else:
            self.pong_timer = self.loop.call_later(self.ping_timeout, self._expire)
        self.send_ping(self.pending_ping_payload)

    def _expire(self) -> None:
        if self.alive_at is not None:
            assert self.ping_timeout is not None
            # Looked at here and not for each read: a timer costs more than a note.
            left = self.alive_at + self.ping_timeout - self.loop.time()
            self.alive_at = None
            if left > 0:
                self.pong_timer = self.loop.call_later(left, self._expire)
                return
        self.pong_timer = self.pending_ping_payload = None
        self.on_pong_overdue()
