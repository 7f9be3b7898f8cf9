"""The wire of HTTP/2: bytes in become calls of a sink and its streams, answers become frames.

One wire serves one connection. It knows no transport, no clock and no app. There are two: `http2_native`, which is
fast, and `http2_h2`, which is small, the h2 library doing the work. What they have in common is here. Implements
RFC 9113, RFC 8441 section 3, RFC 9218 section 7.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pounce.settings import Http2, Limits
from pounce.wire import http2_frames as frames
from pounce.wire.http2_frames import (
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    INTERNAL_ERROR,
    LARGEST_STREAM,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    ConnectionFault,
    StreamFault,
)
from pounce.wire.http2_headers import for_hpack, informational_fields
from pounce.wire.http2_limits import Budget
from pounce.wire.http2_requests import RequestHead, read_priority
from pounce.wire.http2_scheduler import Http2Stream, Scheduler
from pounce.wire.response_fields import Headers

#: Streams that have ended, and so may still be spoken of by the peer; and priorities told ahead of their streams.
MAX_REMEMBERED = 256

#: Bytes of a head that is refused which cost as much as a frame that brings nothing (decoded, 32 more for each field).
_SIZE_PER_TOKEN = 128


class Http2Sink(Protocol):
    """What a wire tells about the bytes it was fed, in the order of the bytes."""

    @property
    def stream_class(self) -> Callable[[Any, int, int, int], Http2Stream]:
        """Makes the object of a stream: from the sink, the stream's id, and its windows to send and receive."""

    def share(self) -> int:
        """How much is to be parsed in this turn of the loop, in frames of the cheapest kind; asked where more came."""

    def on_request(self, stream: Any, head: RequestHead) -> None:
        """A request's head. It is the whole request where `stream.remote_open` is false."""

    def on_reset(self, stream: Any) -> None:
        """The stream is over before its time: reset by the client, or by us because the client broke the protocol."""

    def on_goaway(self) -> None:
        """The client opens no more streams."""


class Http2Wire(ABC):
    """The server's end of one HTTP/2 connection. Begin with `start`."""

    def __init__(
        self, sink: Http2Sink, limits: Http2, allows_connect_protocol: bool, common: Limits | None = None
    ) -> None:
        """`allows_connect_protocol`: extended CONNECT (RFC 8441) is announced and taken.

        `common`: the limits of requests of any version.
        """
        self.sink = sink
        self.limits = limits
        self.common = common or Limits()
        self.allows_connect_protocol = allows_connect_protocol
        #: What is to be written, in pieces; `has_large` says that joining them would copy much, and `out_size` how many
        #: bytes of bodies there are. Whoever writes them puts an empty list there, and sets the others back.
        self.out: list[Any] = []
        self.has_large = False
        self.out_size = 0
        #: The transport takes no more, so bodies are queued. Set by the connection.
        self.paused = False
        #: The streams that are open, or half closed. While a request is told, the connection may put another object in
        #: the place of its stream.
        self.streams: dict[int, Http2Stream] = {}
        self.scheduler = Scheduler()
        #: Bytes of bodies that wait for the client or for `pump`, and of those that were sent so far.
        self.queued_size = 0
        self.sent_size = 0
        #: Apps that still run although their streams were reset. Set by the connection.
        self.lingering = 0
        #: What the client may still ask for. The connection tells them the time, unless their `spent` is 0.
        self.control = Budget(limits.control_frames, limits.control_frames_per_second)
        self.resets = Budget(limits.resets, limits.resets_per_second)

        self.last_stream_id = 0
        self.ignore_above = LARGEST_STREAM
        self._goaway_sent: int | None = None
        self._early_priorities: dict[int, tuple[int, bool]] = {}
        self.rest = bytearray()  # of a frame that is not complete, or for another turn
        self.needed = 0  # bytes that make it worth looking at
        self._settled = False  # the SETTINGS frame that must follow the preface has come
        self._block: Any = None  # of fields, of which more frames are to come
        self._handlers: dict[Any, Callable[..., None]] = {}

    @property
    def is_settled(self) -> bool:
        """Whether the client's preface has come, its SETTINGS included (RFC 9113 section 3.4)."""
        return self._settled

    @property
    def awaits_head(self) -> bool:
        """Whether the client is at its preface, at a header block, or at what may become one."""
        rest = self.rest
        if not self._settled or self._block is not None:
            return True
        return bool(rest) and (not self.streams or (len(rest) > 3 and rest[3] in (frames.HEADERS, frames.CONTINUATION)))

    def rest_of_data(self, stream: Http2Stream) -> int:
        """Bytes that have come of a DATA frame on this stream that is not complete."""
        rest = self.rest
        if not self._settled or len(rest) < frames.HEADER_SIZE:
            return 0
        kind, stream_id = frames.HEADER.unpack_from(rest)[2::2]
        return len(rest) if kind == frames.DATA and stream_id & LARGEST_STREAM == stream.id else 0

    @abstractmethod
    def start(self) -> None:
        """The server's preface: its settings (RFC 9113 section 3.4)."""

    def own_settings(self) -> dict[int, int]:
        settings = {
            frames.MAX_CONCURRENT_STREAMS: self.limits.concurrent_streams,
            frames.INITIAL_WINDOW_SIZE: self.limits.stream_window,
            frames.MAX_HEADER_LIST_SIZE: self.limits.header_list_size,
            frames.NO_RFC7540_PRIORITIES: 1,
        }
        if self.allows_connect_protocol:
            settings[frames.ENABLE_CONNECT_PROTOCOL] = 1
        return settings

    @abstractmethod
    def feed(self, data: bytes) -> bool:
        """Take bytes from the peer. Raises ConnectionFault, after which the wire must not be fed again: `end` it.

        Returns whether some are left for another turn (`Http2Sink.share`): feed it again then, be it with nothing.
        A stream's fault is answered here and told as `on_reset`. The order of checks follows RFC 9113.
        """

    def keep(self, data: bytes) -> None:
        """Put bytes behind those that are left for another turn; `feed` goes on with them."""
        self.rest += data
        self.needed = 0

    def closed(self) -> None:
        """The connection is gone. Breaks the cycles of references that would keep it in memory."""
        self.sink = None  # type: ignore[assignment]
        self._handlers.clear()
        self.streams.clear()
        self.rest.clear()
        self.queued_size = 0  # an output step may still be due

    @abstractmethod
    def consumed(self, stream: Http2Stream, size: int) -> None:
        """The app has read `size` bytes: the client may send as many more, and is told so in good time."""

    # Answers

    @abstractmethod
    def send_head(
        self, stream: Http2Stream, status: int, fields: Iterable[tuple[bytes, bytes]], defaults: Headers
    ) -> int | None:
        """Send a response's head; returns the Content-Length it declares.

        Raises MisusedByApp for what no response may carry (`response_fields`), before anything has changed.
        """

    def send_informational(self, stream: Http2Stream, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Send an interim response (RFC 9113 section 8.1). Raises MisusedByApp."""
        self._send_fields(stream, informational_fields(status, fields))

    @abstractmethod
    def _send_fields(self, stream: Http2Stream, fields: Headers, ends: bool = False) -> None: ...

    @abstractmethod
    def send_data(
        self,
        stream: Http2Stream,
        data: bytes,
        end: bool,
        trailers: Headers | None = None,
        breaks_off: bool = False,
    ) -> None:
        """Send a part of the body, as far as windows and order allow, and queue the rest for `pump`.

        With `end`, the stream ends after it: with `trailers` if there are any (they must have been checked). Where the
        body `breaks_off`, it is reset after it instead: the client must not take a part for the whole (RFC 9113
        section 8.1.1).
        """

    @property
    def has_ready(self) -> bool:
        """Whether `pump` would find something to do."""
        return bool(self.scheduler.levels) and not self.paused and self._can_send()

    @abstractmethod
    def _can_send(self) -> bool:
        """Whether the connection's window is open."""

    @abstractmethod
    def _window(self, stream: Http2Stream) -> int:
        """The most that a frame of the stream may carry now; none where it is not above 0."""

    @abstractmethod
    def _append_data(self, stream: Http2Stream, data: Any, size: int, ends: bool) -> None:
        """Send a frame with `size` bytes of body."""

    def pump(self, room: int) -> None:
        """Move up to `room` bytes of queued bodies (and a frame more) to `out`, in the order of their priorities."""
        scheduler = self.scheduler
        while room > 0 and self._can_send() and (stream := scheduler.first()) is not None:
            queue = stream.queue
            assert queue
            piece = queue[0]
            size = min(len(piece), self._window(stream))
            if size <= 0:
                scheduler.remove(stream)  # until its window is opened
                continue
            if size == len(piece):
                queue.popleft()
            else:
                view = memoryview(piece)
                piece, queue[0] = view[:size], view[size:]
            room -= size
            stream.queued_size -= size
            self.queued_size -= size
            last = stream.ends and not queue
            self._append_data(stream, piece, size, last and not (stream.trailers or stream.breaks_off))
            if not queue:
                scheduler.remove(stream)
            elif stream.is_ready:
                scheduler.sent_frame(stream)
            if last:
                self.on_local_end(stream)
            stream.on_sent()

    def end_with_head(self, stream: Http2Stream) -> bool:
        """Put END_STREAM into the head's frame, where that is not written yet. Whether it was done."""
        if stream.head_out is not self.out:
            return False
        head = self.out[stream.head_at]
        self.out[stream.head_at] = b"%b%c%b" % (head[:4], head[4] | frames.END_STREAM, head[5:])
        return True

    def queue_data(self, stream: Http2Stream, data: Any) -> None:
        if stream.queue is None:
            stream.queue = deque()
        stream.queue.append(data)
        stream.queued_size += len(data)
        self.queued_size += len(data)

    def on_local_end(self, stream: Http2Stream) -> None:
        """All of its body is sent."""
        if stream.breaks_off:
            self.reset(stream.id, INTERNAL_ERROR)
            return
        if stream.trailers:
            self._send_fields(stream, for_hpack(stream.trailers), True)
        stream.local_open = False
        if stream.remote_open:
            # Nobody will read the rest of the request (RFC 9113 section 8.1).
            self.reset(stream.id, NO_ERROR)
        else:
            self.drop(stream)

    # Ends

    @abstractmethod
    def reset(self, stream_id: int, code: int) -> None:
        """End a stream from our side, whatever its state."""

    def announce_end(self) -> None:
        """A first GOAWAY: streams that are on their way are still answered (RFC 9113 section 6.8)."""
        if self._goaway_sent is None:
            self._goaway_sent = LARGEST_STREAM
            self.out.append(frames.goaway_frame(LARGEST_STREAM, NO_ERROR))

    def end(self, code: int = NO_ERROR, reason: str = "") -> None:
        """The last GOAWAY: it names the last stream that was taken; later ones are not."""
        last = min(self.last_stream_id, self.ignore_above)
        if self._goaway_sent != last or code:
            self._goaway_sent = self.ignore_above = last
            self.out.append(frames.goaway_frame(last, code, reason))

    def drop(self, stream: Http2Stream) -> None:
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
            self.consumed(stream, stream.unread)

    # What the client sends

    def open_stream(self, stream_id: int, head: RequestHead, ended: bool, send_window: int) -> None:
        """A new stream with a request on it. Raises StreamFault."""
        if len(self.streams) + self.lingering >= self.limits.concurrent_streams:
            raise StreamFault(REFUSED_STREAM, "too many streams at a time")
        if head.refusal:
            self.charge(head.size // _SIZE_PER_TOKEN)
        if ended and head.content_length:
            raise StreamFault(PROTOCOL_ERROR, "a Content-Length without content")
        sink = self.sink
        stream = sink.stream_class(sink, stream_id, send_window, self.limits.stream_window)
        stream.body_left = head.content_length
        stream.urgency, stream.incremental = head.urgency, head.incremental
        if self._early_priorities and stream_id in self._early_priorities:
            stream.urgency, stream.incremental = self._early_priorities.pop(stream_id)
        stream.remote_open = not ended
        self.streams[stream_id] = stream
        sink.on_request(stream, head)

    def on_remote_end(self, stream: Http2Stream) -> None:
        if stream.body_left:
            self.fail_stream(stream.id, PROTOCOL_ERROR)  # a body shorter than its Content-Length
        else:
            stream.remote_open = False
            stream.on_end()

    def take_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "GOAWAY too short")
        self.sink.on_goaway()

    def on_priority_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY_UPDATE on a stream")
        if len(payload) < 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "PRIORITY_UPDATE without a stream")
        about = frames.read_long(payload) & LARGEST_STREAM
        if not about & 1:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY_UPDATE of a stream that no client can open")
        urgency, incremental = read_priority(payload[4:])
        stream = self.streams.get(about)
        if stream is not None:
            self.scheduler.change(stream, urgency, incremental)
        elif about > self.last_stream_id and len(self._early_priorities) < MAX_REMEMBERED:
            self._early_priorities[about] = (urgency, incremental)

    def charge(self, cost: int = 1) -> None:
        if not self.control.spend(cost):
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many frames that bring nothing")

    def count_reset(self) -> None:
        """By the client, or provoked by it (CVE-2025-8671)."""
        if not self.resets.spend():
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many streams reset")

    def fail_stream(self, stream_id: int, code: int) -> None:
        """Answer a stream's fault."""
        stream = self.streams.get(stream_id)
        self.reset(stream_id, code)
        if stream is not None:
            self.sink.on_reset(stream)
        self.count_reset()
