"""HTTP/2 by the h2 library, the small wire: the receiving half; `H2Output` is the sending one.

`h2.connection.H2Connection` has the frames, states, windows and HPACK. It is fed frame by frame, so that what came
before a broken one counts and each has its price (`Budget`). A few frames are answered here, for which h2 would end the
connection or keep too much. What a request may say is the same as with the other wire (`http2_requests`). Implements
RFC 9113, RFC 8441 section 3, RFC 9218 section 7.
"""

from __future__ import annotations

from typing import Any

from h2 import events
from h2.exceptions import ProtocolError
from h2.settings import Settings

from pounce.settings import Http2, Limits
from pounce.wire import http2_frames as frames
from pounce.wire.http2 import Http2Sink
from pounce.wire.http2_frames import (
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    HEADER_SIZE,
    LARGEST_STREAM,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    ConnectionFault,
    StreamFault,
)
from pounce.wire.http2_h2_output import H2Output
from pounce.wire.http2_headers import MAX_TABLE_SIZE, merge_table_changes
from pounce.wire.http2_requests import check_trailers, read_request
from pounce.wire.request_limits import plain_size

#: A client's settings that h2 is shown, and the largest value of each that is made use of. It would keep any other one.
_SETTINGS = {
    frames.HEADER_TABLE_SIZE: MAX_TABLE_SIZE,
    frames.INITIAL_WINDOW_SIZE: frames.LARGEST_WINDOW,
    frames.MAX_FRAME_SIZE: frames.DEFAULT_FRAME_SIZE,
}

#: What a frame costs, where one of the native wire costs 1.
_FRAME_COST = 4


class H2Wire(H2Output):
    """See `Http2Wire`."""

    def __init__(
        self, sink: Http2Sink, limits: Http2, allows_connect_protocol: bool, common: Limits | None = None
    ) -> None:
        super().__init__(sink, limits, allows_connect_protocol, common)
        self._preface_left = len(frames.PREFACE)
        self._block: list[int] | None = None  # sizes of its frames
        self._block_size = 0  # of the last one
        self._handlers = {
            events.RequestReceived: self._on_request,
            events.DataReceived: self._on_data,
            events.TrailersReceived: self._on_trailers,
            events.StreamEnded: self._on_ended,
            events.StreamReset: self._on_reset,
            events.WindowUpdated: self._on_window,
            events.RemoteSettingsChanged: self._on_window,
        }

    def start(self) -> None:
        """See `Http2Wire.start`."""
        settings: Any = self.own_settings()
        self.h2.local_settings = Settings(client=False, initial_values=settings)
        self.h2.initiate_connection()
        more = self.limits.connection_window - frames.DEFAULT_WINDOW_SIZE
        if more:
            self.h2.increment_flow_control_window(more)
        # A stream too many is refused by us; h2 would end the connection.
        settings[frames.MAX_CONCURRENT_STREAMS] = LARGEST_STREAM
        self.h2.local_settings = Settings(client=False, initial_values=settings)
        self.flush()

    def closed(self) -> None:
        """See `Http2Wire.closed`."""
        self._failed = True
        super().closed()

    # Bytes in

    def feed(self, data: bytes) -> bool:
        """See `Http2Wire.feed`."""
        rest = self.rest
        left = 0  # of the share, once it is asked for
        more = False
        rest += data
        try:
            if self._preface_left:
                part = bytes(rest[: self._preface_left])
                self._preface_left -= len(part)
                del rest[: len(part)]
                self._receive(part)
            at = 0
            while len(rest) - at >= HEADER_SIZE:
                high, size, kind, flags, stream_id = frames.HEADER.unpack_from(rest, at)
                size += high << 16
                if size > frames.DEFAULT_FRAME_SIZE:  # h2 would wait for all of it
                    raise ConnectionFault(FRAME_SIZE_ERROR, "a frame larger than SETTINGS_MAX_FRAME_SIZE")
                end = at + HEADER_SIZE + size
                if end > len(rest):
                    break
                self._on_frame(kind, flags, stream_id & LARGEST_STREAM, bytes(rest[at:end]))
                at = end
                if at < len(rest):
                    left = (left or self.sink.share()) - _FRAME_COST - (size >> 4 if kind in frames.OF_HEADS else 0)
                    if left <= 0:
                        more = True
                        break
            del rest[:at]
        except ConnectionFault:
            self._failed = True
            self.h2.clear_outbound_data_buffer()  # h2's own GOAWAY
            raise
        return more

    def _receive(self, data: bytes) -> list[events.Event]:
        """What h2 says to these bytes. Raises ConnectionFault."""
        try:
            return self.h2.receive_data(data)
        except ProtocolError as exc:
            raise ConnectionFault(int(exc.error_code), str(exc)[:100]) from exc
        except ConnectionFault:  # of the decoder
            raise
        except Exception as exc:  # the library's own mistake, on bytes that make no sense
            raise ConnectionFault(PROTOCOL_ERROR, "a frame that cannot be read") from exc

    def _on_frame(self, kind: int, flags: int, stream_id: int, frame: bytes) -> None:
        payload = frame[HEADER_SIZE:]
        if not self._settled:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(PROTOCOL_ERROR, "a connection that does not begin with SETTINGS")
            self._settled = True
        elif kind not in (frames.HEADERS, frames.DATA):
            self.charge()
        if (kind == frames.CONTINUATION) != (self._block is not None):
            raise ConnectionFault(PROTOCOL_ERROR, "a header block that is interrupted, or has no beginning")
        if kind in frames.OF_HEADS:
            self._count_block(flags, len(payload))
        elif kind == frames.SETTINGS and not (stream_id or flags & frames.ACK):
            frame = self._shown_settings(payload)
        elif kind == frames.GOAWAY:  # h2 would take it for the end
            self.take_goaway(flags, stream_id, payload)
            return
        elif kind == frames.PRIORITY_UPDATE:
            self.on_priority_update(flags, stream_id, payload)
            return
        elif kind > frames.CONTINUATION:
            return
        told = self._receive(frame)
        if kind == frames.SETTINGS:
            merge_table_changes(self.h2.encoder)
        elif not told and kind in (frames.DATA, frames.HEADERS) and self._block is None:
            self.charge()  # it came too late for its stream
        for event in told:
            handler = self._handlers.get(type(event))
            if handler is not None:
                handler(event)
        self.flush()

    def _count_block(self, flags: int, size: int) -> None:
        """A frame of a header block."""
        block = self._block or []
        block.append(size)
        if len(block) > 1 + self.limits.continuations or sum(block) > 2 * self.limits.header_list_size:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block that is too long")
        self._block = None if flags & frames.END_HEADERS else block
        self._block_size = sum(block)

    def _shown_settings(self, payload: bytes) -> bytes:
        """The frame that h2 gets for a client's SETTINGS. Raises ConnectionFault."""
        self.charge(len(payload) // 64)
        settings = frames.read_settings(payload)
        return frames.settings_frame(
            {key: min(settings[key], most) for key, most in _SETTINGS.items() if key in settings}
        )

    # Events of h2

    def _on_request(self, event: events.RequestReceived) -> None:
        self.last_stream_id = stream_id = event.stream_id
        try:
            if stream_id > self.ignore_above:
                raise StreamFault(REFUSED_STREAM, "a stream after the last one")
            head = read_request(
                event.headers, self.limits, self.allows_connect_protocol, self.common, plain_size(self.common)
            )
            window = self.h2.remote_settings.initial_window_size
            self.open_stream(stream_id, head, event.stream_ended is not None, window)
        except StreamFault as fault:
            self.charge(self._block_size >> 6)  # decoding it may have cost much
            self.fail_stream(stream_id, fault.code)

    def _on_data(self, event: events.DataReceived) -> None:
        stream = self.streams[event.stream_id]
        data, size = event.data, event.flow_controlled_length
        stream.unread += size
        if size > len(data):
            self.consumed(stream, size - len(data))  # the padding
        if data:
            if stream.body_left is not None:
                stream.body_left -= len(data)  # h2 has seen that they are not too many
            stream.on_body(data)
        elif event.stream_ended is None:
            self.charge()

    def _on_trailers(self, event: events.TrailersReceived) -> None:
        try:
            check_trailers(event.headers, self.common)
        except StreamFault as fault:
            self.fail_stream(event.stream_id, fault.code)

    def _on_ended(self, event: events.StreamEnded) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None and stream.remote_open:  # not told with its head, refused, or ended by the app
            self.on_remote_end(stream)

    def _on_reset(self, event: events.StreamReset) -> None:
        """By the client; or by h2, because the client broke the protocol."""
        if event.remote_reset:
            self.control.earn(1)  # paid for from the other budget
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            self.drop(stream)
            self.sink.on_reset(stream)
        self.count_reset()

    def _on_window(self, event: events.WindowUpdated | events.RemoteSettingsChanged) -> None:
        """A window is larger than before; of those that wait `pump` will find out who may send."""
        stream_id = getattr(event, "stream_id", None)
        for stream in self.streams.values():
            if stream.queue and stream_id in (None, stream.id):
                self.scheduler.add(stream)
