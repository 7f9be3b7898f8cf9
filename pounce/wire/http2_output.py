"""The sending half of the native wire: answers become frames in `out`, as far as windows and turns allow.

Also what both halves share: the streams, the windows, and how a stream ends. Answers to: RFC 9113 sections 5.2, 6.8,
6.9 and 8.1. Knows nothing of: what the peer sends (`wire/http2_native`), transports, apps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from pounce.settings import Http2
from pounce.wire import http2_frames as frames
from pounce.wire.http2_frames import DATA, DEFAULT_FRAME_SIZE, HEADER, INTERNAL_ERROR, LARGEST_STREAM, NO_ERROR
from pounce.wire.http2_headers import HeaderWriter
from pounce.wire.http2_limits import Budget
from pounce.wire.http2_scheduler import Http2Stream, Scheduler
from pounce.wire.response_fields import Headers

#: Bytes of a frame's payload that are copied behind its head instead of being written as a piece of their own.
_COPIED_SIZE = 4096

#: Bytes of bodies that may be in `out` before more are queued, so that streams take turns and apps wait.
_OUT_SIZE = 262144

#: Streams that were reset, and so may still be spoken of by the peer; and priorities told ahead of their streams.
MAX_REMEMBERED = 256


class Http2Output:
    """What a `NativeWire` sends, and the state that decides when it may: see `Http2Wire`."""

    def __init__(self, limits: Http2) -> None:
        self._limits = limits
        self.out: list[Any] = []
        self.has_large = False
        self.out_size = 0
        self.paused = False
        self.streams: dict[int, Http2Stream] = {}
        self.last_stream_id = 0
        self.scheduler = Scheduler()
        self.queued_size = 0
        self.sent_size = 0
        self.control = Budget(limits.control_frames, limits.control_frames_per_second)
        self.send_window = frames.DEFAULT_WINDOW_SIZE

        self._writer = HeaderWriter()
        self._frame_size = DEFAULT_FRAME_SIZE
        self._receive_window = limits.connection_window
        self._consumed = 0
        self._closed_by_reset: dict[int, bool] = {}  # stream id -> whether it was the peer who reset it
        self._ignore_above = LARGEST_STREAM
        self._goaway_sent: int | None = None

    def take_out(self) -> list[Any]:
        """See `Http2Wire.take_out`."""
        out = self.out
        self.out = []
        self.out_size = 0
        self.has_large = False
        return out

    # What was read

    def consumed(self, stream: Http2Stream, size: int) -> None:
        """See `Http2Wire.consumed`."""
        stream.unread -= size
        if stream.remote_open:
            stream.consumed += size
            if stream.consumed * 2 >= self._limits.stream_window:
                self.out.append(frames.window_frame(stream.id, stream.consumed))
                stream.receive_window += stream.consumed
                stream.consumed = 0
        self._give_back(size)

    def _give_back(self, size: int) -> None:
        self._consumed += size
        if self._consumed * 2 >= self._limits.connection_window:
            self.out.append(frames.window_frame(0, self._consumed))
            self._receive_window += self._consumed
            self._consumed = 0

    # Answers out

    def send_head(
        self, stream: Http2Stream, status: int, fields: Iterable[tuple[bytes, bytes]], defaults: Headers
    ) -> int | None:
        """See `Http2Wire.send_head`."""
        block, length = self._writer.response(status, fields, defaults)
        stream.head_out, stream.head_at = self.out, len(self.out)
        self.out.append(frames.header_frames(stream.id, block, 0, self._frame_size))
        return length

    def send_informational(self, stream: Http2Stream, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """See `Http2Wire.send_informational`."""
        block = self._writer.informational(status, fields)
        self.out.append(frames.header_frames(stream.id, block, 0, self._frame_size))

    def send_data(
        self,
        stream: Http2Stream,
        data: bytes,
        end: bool,
        trailers: Headers | None = None,
        breaks_off: bool = False,
    ) -> None:
        """See `Http2Wire.send_data`."""
        size = len(data)
        if breaks_off:
            stream.breaks_off = True
        if stream.queue or (
            size
            and (
                size > min(self._frame_size, stream.send_window, self.send_window)
                or self.scheduler.count
                or self.paused
                or self.out_size >= _OUT_SIZE
            )
        ):
            stream.ends, stream.trailers = end, trailers
            if size:
                if stream.queue is None:
                    stream.queue = deque()
                stream.queue.append(data)
                stream.queued_size += size
                self.queued_size += size
                if stream.send_window > 0:
                    self.scheduler.add(stream)
            return
        last = frames.END_STREAM if end and not (trailers or breaks_off) else 0
        if size:
            stream.send_window -= size
            self.send_window -= size
            stream.head_out = None  # it is not the last frame any more
            self._append_data(stream.id, last, data, size)
        elif last:
            if stream.head_out is self.out:
                head = self.out[stream.head_at]
                self.out[stream.head_at] = b"%b%c%b" % (head[:4], head[4] | last, head[5:])
            else:
                self.out.append(frames.frame_head(0, DATA, last, stream.id))
        if end:
            self._on_local_end(stream, trailers)

    @property
    def has_ready(self) -> bool:
        """See `Http2Wire.has_ready`."""
        return self.scheduler.count > 0 and not self.paused and self.send_window > 0

    def pump(self, room: int) -> None:
        """See `Http2Wire.pump`."""
        scheduler = self.scheduler
        while room > 0 and self.send_window > 0:
            stream = scheduler.first()
            if stream is None:
                return
            queue = stream.queue
            assert queue
            piece = queue[0]
            size = min(len(piece), self._frame_size, self.send_window, stream.send_window)
            if size == len(piece):
                queue.popleft()
                part = piece
            else:
                view = piece if type(piece) is memoryview else memoryview(piece)
                part = view[:size]
                queue[0] = view[size:]
            room -= size
            stream.send_window -= size
            self.send_window -= size
            stream.queued_size -= size
            self.queued_size -= size
            if queue:
                self._append_data(stream.id, 0, part, size)
                if stream.send_window > 0:
                    scheduler.sent_frame(stream)
                else:
                    scheduler.remove(stream)
            else:
                scheduler.remove(stream)
                last = frames.END_STREAM if stream.ends and not (stream.trailers or stream.breaks_off) else 0
                self._append_data(stream.id, last, part, size)
                if stream.ends:
                    self._on_local_end(stream, stream.trailers)
            stream.on_sent()

    def _append_data(self, stream_id: int, flags: int, data: Any, size: int) -> None:
        head = HEADER.pack(0, size, DATA, flags, stream_id)
        if size <= _COPIED_SIZE:
            self.out.append(head + data)
        else:
            self.out += (head, data)
            self.has_large = True
        self.sent_size += size
        self.out_size += size
        if self.control.spent:
            self.control.earn(3)  # a client may acknowledge each frame

    def _on_local_end(self, stream: Http2Stream, trailers: Headers | None) -> None:
        if stream.breaks_off:
            self.reset(stream.id, INTERNAL_ERROR)
            return
        if trailers:
            block = self._writer.trailers(trailers)
            self.out.append(frames.header_frames(stream.id, block, frames.END_STREAM, self._frame_size))
        stream.local_open = False
        if stream.remote_open:
            # Nobody will read the rest of the request (RFC 9113 section 8.1).
            self.reset(stream.id, NO_ERROR)
        else:
            self._drop(stream)

    def reset(self, stream_id: int, code: int) -> None:
        """See `Http2Wire.reset`."""
        self.out.append(frames.reset_frame(stream_id, code))
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._drop(stream)
        self._remember_reset(stream_id, by_peer=False)

    def announce_end(self) -> None:
        """See `Http2Wire.announce_end`."""
        if self._goaway_sent is None:
            self._goaway_sent = LARGEST_STREAM
            self.out.append(frames.goaway_frame(LARGEST_STREAM, NO_ERROR))

    def end(self, code: int = NO_ERROR, reason: str = "") -> None:
        """See `Http2Wire.end`."""
        last = min(self.last_stream_id, self._ignore_above)
        if self._goaway_sent != last or code:
            self._goaway_sent = self._ignore_above = last
            self.out.append(frames.goaway_frame(last, code, reason))

    def _drop(self, stream: Http2Stream) -> None:
        """The stream is closed."""
        del self.streams[stream.id]
        stream.remote_open = stream.local_open = False
        stream.head_out = None
        if stream.queue:
            self.scheduler.remove(stream)
            self.queued_size -= stream.queued_size
            stream.queue = None
            stream.queued_size = 0
        if stream.unread:
            self._give_back(stream.unread)
            stream.unread = 0

    def _remember_reset(self, stream_id: int, by_peer: bool) -> None:
        remembered = self._closed_by_reset
        remembered[stream_id] = by_peer
        if len(remembered) > MAX_REMEMBERED:
            del remembered[next(iter(remembered))]
