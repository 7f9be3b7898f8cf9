"""The sending half of the native wire: answers become frames in `out`, as far as windows and turns allow.

Also the windows, which both halves share. Implements RFC 9113 sections 5.2, 6.9 and 8.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pounce.settings import Http2, Limits
from pounce.wire import http2_frames as frames
from pounce.wire.http2 import MAX_REMEMBERED, Http2Sink, Http2Wire
from pounce.wire.http2_frames import DATA, DEFAULT_FRAME_SIZE, HEADER
from pounce.wire.http2_headers import HeaderWriter
from pounce.wire.http2_scheduler import Http2Stream
from pounce.wire.response_fields import Headers

#: Bytes of a frame's payload that are copied behind its head instead of being written as a piece of their own.
_COPIED_SIZE = 4096

#: Bytes of bodies that may be in `out` before more are queued, so that streams take turns and apps wait.
_OUT_SIZE = 262144


class Http2Output(Http2Wire):
    """What a `NativeWire` sends, and the windows that decide when it may."""

    def __init__(
        self, sink: Http2Sink, limits: Http2, allows_connect_protocol: bool, common: Limits | None = None
    ) -> None:
        super().__init__(sink, limits, allows_connect_protocol, common)
        self.send_window = frames.DEFAULT_WINDOW_SIZE
        self.writer = HeaderWriter()
        self._frame_size = DEFAULT_FRAME_SIZE
        self._receive_window = limits.connection_window
        self._consumed = 0
        self.closed_by_reset: dict[int, bool] = {}  # stream id -> whether it was the peer who reset it

    # What was read

    def consumed(self, stream: Http2Stream, size: int) -> None:
        """See `Http2Wire.consumed`."""
        stream.unread -= size
        if stream.remote_open:
            stream.consumed += size
            if stream.consumed * 2 >= self.limits.stream_window:
                self.out.append(frames.window_frame(stream.id, stream.consumed))
                stream.receive_window += stream.consumed
                stream.consumed = 0
        self.give_back(size)

    def give_back(self, size: int) -> None:
        self._consumed += size
        if self._consumed * 2 >= self.limits.connection_window:
            self.out.append(frames.window_frame(0, self._consumed))
            self._receive_window += self._consumed
            self._consumed = 0

    # Answers out

    def send_head(
        self, stream: Http2Stream, status: int, fields: Iterable[tuple[bytes, bytes]], defaults: Headers
    ) -> int | None:
        """See `Http2Wire.send_head`."""
        block, length = self.writer.response(status, fields, defaults)
        stream.head_out, stream.head_at = self.out, len(self.out)
        self.out.append(frames.header_frames(stream.id, block, 0, self._frame_size))
        return length

    def _send_fields(self, stream: Http2Stream, fields: Headers, ends: bool = False) -> None:
        flags = frames.END_STREAM if ends else 0
        self.out.append(frames.header_frames(stream.id, self.writer.block(fields), flags, self._frame_size))

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
        stream.ends, stream.trailers = end, trailers
        if breaks_off:
            stream.breaks_off = True
        if stream.queue or (
            size
            and (
                size > min(self._frame_size, stream.send_window, self.send_window)
                or self.scheduler.levels
                or self.paused
                or self.out_size >= _OUT_SIZE
            )
        ):
            if size:
                self.queue_data(stream, data)
                if stream.send_window > 0:
                    self.scheduler.add(stream)
            return
        last = end and not (trailers or breaks_off)
        if size:
            self._append_data(stream, data, size, last)
        elif last and not self.end_with_head(stream):
            self.out.append(frames.frame_head(0, DATA, frames.END_STREAM, stream.id))
        if end:
            self.on_local_end(stream)

    def _can_send(self) -> bool:
        return self.send_window > 0

    def _window(self, stream: Http2Stream) -> int:
        return min(self._frame_size, self.send_window, stream.send_window)

    def _append_data(self, stream: Http2Stream, data: Any, size: int, ends: bool) -> None:
        stream.send_window -= size
        self.send_window -= size
        if stream.send_window <= 0:
            self.scheduler.remove(stream)
        stream.head_out = None  # it is not the last frame any more
        head = HEADER.pack(0, size, DATA, frames.END_STREAM if ends else 0, stream.id)
        if size <= _COPIED_SIZE:
            self.out.append(head + data)
        else:
            self.out += (head, data)
            self.has_large = True
        self.sent_size += size
        self.out_size += size
        if self.control.spent:
            self.control.earn(3)  # a client may acknowledge each frame

    def reset(self, stream_id: int, code: int) -> None:
        """See `Http2Wire.reset`."""
        self.out.append(frames.reset_frame(stream_id, code))
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.drop(stream)
        self.remember_reset(stream_id, by_peer=False)

    def remember_reset(self, stream_id: int, by_peer: bool) -> None:
        remembered = self.closed_by_reset
        remembered[stream_id] = by_peer
        if len(remembered) > MAX_REMEMBERED:
            del remembered[next(iter(remembered))]
