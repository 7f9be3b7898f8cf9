"""HTTP/2 by ourselves, the fast wire: the receiving half; `Http2Output` is the sending one.

Frames and states of streams are here; header compression is the h2 project's `hpack`. (`wire/http2_h2` has the same
work done by `h2.H2Connection`; docs/http2.md has the figures.) Implements RFC 9113, RFC 8441 section 3, RFC
9218 section 7.
"""

from __future__ import annotations

from pounce.settings import Http2, Limits
from pounce.wire import http2_frames as frames
from pounce.wire.http2 import Http2Sink
from pounce.wire.http2_frames import (
    DATA,
    DEFAULT_FRAME_SIZE,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEADER,
    HEADER_SIZE,
    HEADERS,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    PREFACE,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    ConnectionFault,
    StreamFault,
)
from pounce.wire.http2_headers import HeaderReader
from pounce.wire.http2_output import Http2Output
from pounce.wire.http2_requests import check_trailers
from pounce.wire.http2_scheduler import Http2Stream


class NativeWire(Http2Output):
    """See `Http2Wire`."""

    def __init__(
        self, sink: Http2Sink, limits: Http2, allows_connect_protocol: bool, common: Limits | None = None
    ) -> None:
        super().__init__(sink, limits, allows_connect_protocol, common)
        self._reader = HeaderReader(limits, allows_connect_protocol, self.common)
        self.needed = len(PREFACE)
        self._began = False  # the preface was right
        self._block: bytearray | None = None  # of HEADERS and the CONTINUATIONs so far
        self._block_stream = 0
        self._block_flags = 0
        self._block_frames = 0
        self._initial_window = frames.DEFAULT_WINDOW_SIZE
        self._handlers = {
            frames.PRIORITY: self._on_priority,
            frames.RST_STREAM: self._on_rst_stream,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push_promise,
            frames.PING: self._on_ping,
            frames.GOAWAY: self.take_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
            frames.CONTINUATION: self._on_continuation,
            frames.PRIORITY_UPDATE: self.on_priority_update,
        }

    def start(self) -> None:
        """See `Http2Wire.start`."""
        self.out.append(frames.settings_frame(self.own_settings()))
        more = self.limits.connection_window - frames.DEFAULT_WINDOW_SIZE
        if more:
            self.out.append(frames.window_frame(0, more))

    # Bytes in

    def feed(self, data: bytes) -> bool:
        """See `Http2Wire.feed`."""
        rest = self.rest
        if rest:
            rest += data
            if len(rest) < self.needed:
                return False
            data = bytes(rest)
            rest.clear()
        at, end = 0, len(data)
        if not self._began:
            if not data.startswith(PREFACE):
                if not PREFACE.startswith(data):
                    raise ConnectionFault(PROTOCOL_ERROR, "no connection preface")
                rest += data
                return False
            self._began = True
            at = len(PREFACE)
        needed = HEADER_SIZE
        left = 0  # of the share, once it is asked for
        more = False
        while end - at >= HEADER_SIZE:
            high, size, kind, flags, stream_id = HEADER.unpack_from(data, at)
            if high or size > DEFAULT_FRAME_SIZE:
                size += high << 16
                if size > DEFAULT_FRAME_SIZE:
                    raise ConnectionFault(FRAME_SIZE_ERROR, "a frame larger than SETTINGS_MAX_FRAME_SIZE")
            start = at + HEADER_SIZE
            at = start + size
            if at > end:
                needed += size
                at = start - HEADER_SIZE
                break
            stream_id &= LARGEST_STREAM
            if kind == HEADERS and self._settled and self._block is None:
                self._on_headers(flags, stream_id, data[start:at])
            else:
                self._on_frame(kind, flags, stream_id, data[start:at])
            if at < end:
                left = (left or self.sink.share()) - 1 - (size >> 4 if kind in frames.OF_HEADS else 0)
                if left <= 0:
                    more = True
                    break
        if at < end:
            rest += data[at:]
            self.needed = needed
        return more

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block_stream):
            raise ConnectionFault(PROTOCOL_ERROR, "a header block that is interrupted")
        if kind == DATA and self._settled:
            self._on_data(flags, stream_id, payload)
            return
        if not self._settled:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(PROTOCOL_ERROR, "a connection that does not begin with SETTINGS")
            self._settled = True
        else:
            self.charge()
        if len(payload) != frames.PAYLOAD_SIZES.get(kind, len(payload)):
            if kind != frames.PRIORITY or stream_id not in self.streams:
                raise ConnectionFault(FRAME_SIZE_ERROR, "a frame of a wrong size")
            self.fail_stream(stream_id, FRAME_SIZE_ERROR)
            return
        handler = self._handlers.get(kind)
        if handler is not None:  # frames of other types are ignored (RFC 9113 section 5.5)
            handler(flags, stream_id, payload)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise ConnectionFault(PROTOCOL_ERROR, "HEADERS on a stream that no client can open")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        if flags & frames.HAS_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(FRAME_SIZE_ERROR, "HEADERS too short for their priority")
            payload = payload[5:]
        if not flags & frames.END_HEADERS:
            self._block, self._block_frames = bytearray(payload), 0
            self._block_stream, self._block_flags = stream_id, flags & frames.END_STREAM
            return
        stream = self.streams.get(stream_id)
        ended = flags & frames.END_STREAM != 0
        reader = self._reader
        try:
            if stream_id > self.ignore_above and stream_id > self.last_stream_id:
                reader.skip(payload)
                self.last_stream_id = stream_id
            elif stream_id > self.last_stream_id:
                try:
                    head = reader.request(payload)
                except StreamFault:
                    self.last_stream_id = stream_id
                    raise
                self.last_stream_id = stream_id
                self.open_stream(stream_id, head, ended, self._initial_window)
            elif stream is None:
                reader.skip(payload)
                self._on_late_frame(stream_id)
            elif not stream.remote_open:
                reader.skip(payload)
                raise StreamFault(STREAM_CLOSED, "HEADERS after the end")
            elif not ended:
                reader.skip(payload)
                raise StreamFault(PROTOCOL_ERROR, "trailers that do not end the stream")
            else:
                check_trailers(reader.skip(payload), self.common)
                self.on_remote_end(stream)
        except StreamFault as fault:
            self.charge(len(payload) >> 6)  # decoding it may have cost much
            self.fail_stream(stream_id, fault.code)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise ConnectionFault(PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        block += payload
        self._block_frames += 1
        if self._block_frames > self.limits.continuations or len(block) > 2 * self.limits.header_list_size:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block that is too long")
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_headers(self._block_flags | frames.END_HEADERS, stream_id, bytes(block))

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "more data than the connection's window allows")
        data = frames.unpadded(payload) if flags & frames.PADDED else payload
        stream = self.streams.get(stream_id)
        if stream is None or not stream.remote_open:
            if stream_id > self.last_stream_id or not stream_id & 1:
                raise ConnectionFault(PROTOCOL_ERROR, "DATA on a stream that was not opened")
            self.give_back(size)
            if stream is None:
                self._on_late_frame(stream_id)
            else:
                self.fail_stream(stream_id, STREAM_CLOSED)
            return
        length = len(data)
        ended = flags & frames.END_STREAM
        stream.receive_window -= size
        stream.unread += size
        if stream.receive_window < 0:
            self.fail_stream(stream_id, FLOW_CONTROL_ERROR)
            return
        if size != length:
            self.consumed(stream, size - length)
        if length:
            if stream.body_left is not None:
                stream.body_left -= length
                if stream.body_left < 0:
                    self.fail_stream(stream_id, PROTOCOL_ERROR)
                    return
            stream.on_body(data)
        elif not ended:
            self.charge()
        if ended and stream.remote_open:  # the app may have ended it
            self.on_remote_end(stream)

    def _on_late_frame(self, stream_id: int) -> None:
        """HEADERS or DATA on a stream that is closed (RFC 9113 section 5.1)."""
        if stream_id > self.ignore_above:
            return
        by_peer = self.closed_by_reset.get(stream_id)
        if by_peer is None:
            raise ConnectionFault(STREAM_CLOSED, "a frame on a stream that has ended")
        if by_peer:
            self.fail_stream(stream_id, STREAM_CLOSED)
        else:
            self.charge()

    def _on_priority(self, _flags: int, stream_id: int, _payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY of the connection")

    def _on_rst_stream(self, _flags: int, stream_id: int, _payload: bytes) -> None:
        if not stream_id or stream_id > self.last_stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "RST_STREAM of a stream that was not opened")
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        self.control.earn(1)  # paid for from the other budget
        self.count_reset()
        self.drop(stream)
        self.remember_reset(stream_id, by_peer=True)
        self.sink.on_reset(stream)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS that acknowledge and set")
            return
        self.control.spend(len(payload) // 64)
        settings = frames.read_settings(payload)
        table_size = settings.get(frames.HEADER_TABLE_SIZE)
        if table_size is not None:
            self.writer.limit_table(table_size)
        window = settings.get(frames.INITIAL_WINDOW_SIZE)
        if window is not None and window != self._initial_window:
            more = window - self._initial_window
            self._initial_window = window
            for stream in self.streams.values():
                if stream.send_window + more > LARGEST_WINDOW:
                    raise ConnectionFault(FLOW_CONTROL_ERROR, "a stream's window too large")
                self._widen(stream, more)
        frame_size = settings.get(frames.MAX_FRAME_SIZE)
        if frame_size is not None:
            # Larger frames would save little and let a stream hold the connection for longer.
            self._frame_size = min(frame_size, DEFAULT_FRAME_SIZE)
        self.out.append(frames.SETTINGS_ACK)

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFault(PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "PING on a stream")
        if not flags & frames.ACK:
            self.out.append(frames.frame_head(8, frames.PING, frames.ACK, 0) + payload)

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        increment = frames.read_long(payload) & LARGEST_WINDOW
        if not stream_id:
            if not increment:
                raise ConnectionFault(PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            self.send_window += increment
            if self.send_window > LARGEST_WINDOW:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "the connection's window too large")
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if stream_id > self.last_stream_id or not stream_id & 1:
                raise ConnectionFault(PROTOCOL_ERROR, "WINDOW_UPDATE of a stream that was not opened")
        elif not increment:
            self.fail_stream(stream_id, PROTOCOL_ERROR)
        elif stream.send_window + increment > LARGEST_WINDOW:
            self.fail_stream(stream_id, FLOW_CONTROL_ERROR)
        else:
            self._widen(stream, increment)

    def _widen(self, stream: Http2Stream, more: int) -> None:
        """A stream's window is larger than before; or smaller, and then perhaps below zero (RFC 9113 section 6.9.2)."""
        stream.send_window += more
        if stream.queue and stream.send_window > 0:
            self.scheduler.add(stream)
        else:
            self.scheduler.remove(stream)
