"""Who may send next on one HTTP/2 connection: streams with waiting data, by urgency, in turns within one urgency.

A turn of a stream that asked for increments is one frame; of any other it is a few, since its client can do little
with a part. So no download, however large, keeps a small answer of the same urgency waiting for longer than that.
Implements RFC 9218 sections 4 and 10.
"""

from __future__ import annotations

from collections import deque
from typing import Any

#: Frames in one turn of a stream that is not incremental.
_FRAMES_PER_TURN = 4


class Http2Stream:
    """One stream as the wire knows it. The connection subclasses it, so that one object serves both."""

    __slots__ = (
        "body_left",
        "breaks_off",
        "consumed",
        "ends",
        "head_at",
        "head_out",
        "id",
        "incremental",
        "is_ready",
        "local_open",
        "queue",
        "queued_size",
        "receive_window",
        "remote_open",
        "send_window",
        "trailers",
        "turn",
        "unread",
        "urgency",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.remote_open = True
        self.local_open = True
        #: What the peer still lets us send, and we let it; `unread` is what came and was not read, `consumed` what was
        #: read and not told to the peer yet.
        self.send_window = send_window
        self.receive_window = receive_window
        self.unread = 0
        self.consumed = 0
        #: Bytes that its Content-Length still promises; None: it has none.
        self.body_left: int | None = None
        self.urgency = 3
        self.incremental = False
        #: What waits to be sent; at its end, `ends` says whether the stream does, with `trailers` or without.
        self.queue: deque[Any] | None = None
        self.queued_size = 0
        self.ends = False
        self.trailers: list[tuple[bytes, bytes]] | None = None
        #: What was sent as its body, to its end, is less than its Content-Length.
        self.breaks_off = False
        self.is_ready = False
        self.turn = 0
        #: Where the HEADERS frame lies while it is not written yet: which output, and at which place.
        self.head_out: list[Any] | None = None
        self.head_at = 0

    # Told by the wire

    def on_body(self, data: bytes) -> None:
        """A part of the request's body: call `consumed` when the app has read it."""

    def on_end(self) -> None:
        """The request is complete."""

    def on_sent(self) -> None:
        """Less of `queued_size` waits than before."""


class Scheduler:
    """The streams that have something to send and are not held up by a window of their own."""

    __slots__ = ("levels",)

    def __init__(self) -> None:
        #: By urgency; none of them is empty.
        self.levels: dict[int, deque[Http2Stream]] = {}

    def add(self, stream: Http2Stream) -> None:
        """The stream has something to send, and may."""
        if not stream.is_ready:
            stream.is_ready = True
            stream.turn = 0
            self.levels.setdefault(stream.urgency, deque()).append(stream)

    def remove(self, stream: Http2Stream) -> None:
        """It has nothing to send any more, or may not."""
        if stream.is_ready:
            stream.is_ready = False
            level = self.levels[stream.urgency]
            level.remove(stream)
            if not level:
                del self.levels[stream.urgency]

    def first(self) -> Http2Stream | None:
        """Whose turn it is."""
        return self.levels[min(self.levels)][0] if self.levels else None

    def sent_frame(self, stream: Http2Stream) -> None:
        """The first stream has sent a frame and has more."""
        level = self.levels[stream.urgency]
        stream.turn += 1
        if len(level) > 1 and (stream.incremental or stream.turn >= _FRAMES_PER_TURN):
            stream.turn = 0
            level.rotate(-1)

    def change(self, stream: Http2Stream, urgency: int, incremental: bool) -> None:
        """The client has changed its mind about a stream."""
        was_ready = stream.is_ready
        self.remove(stream)
        stream.urgency, stream.incremental = urgency, incremental
        if was_ready:
            self.add(stream)
