"""The sending half of the wire on the h2 library: answers are queued, and leave as windows and turns allow.

Also h2's connection, which both halves share. Of it GOAWAY is no part: for h2 there is one, and then nothing.
Implements RFC 9113 sections 5.2, 6.9 and 8.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import StreamClosedError

from pounce.settings import Http2, Limits
from pounce.wire import http2_frames as frames
from pounce.wire.http2 import MAX_REMEMBERED, Http2Sink, Http2Wire
from pounce.wire.http2_headers import BlockDecoder, response_fields
from pounce.wire.http2_scheduler import Http2Stream
from pounce.wire.response_fields import Headers


class _Connection(H2Connection):
    """h2's connection, of which little is kept in memory."""

    MAX_CLOSED_STREAMS = MAX_REMEMBERED


class H2Output(Http2Wire):
    """What an `H2Wire` sends, and the state that decides when it may."""

    def __init__(
        self, sink: Http2Sink, limits: Http2, allows_connect_protocol: bool, common: Limits | None = None
    ) -> None:
        super().__init__(sink, limits, allows_connect_protocol, common)
        # Fields are checked by us, both ways: h2 would end the connection where one stream's end is asked for.
        self.h2 = _Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.h2.decoder = BlockDecoder(limits)
        self._failed = False  # h2 takes and gives nothing any more

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self.out.append(data)

    # What was read

    def consumed(self, stream: Http2Stream, size: int) -> None:
        """See `Http2Wire.consumed`."""
        if size and not self._failed:
            stream.unread -= size
            self.h2.acknowledge_received_data(size, stream.id)
            self.flush()

    # Answers out

    def send_head(
        self, stream: Http2Stream, status: int, fields: Iterable[tuple[bytes, bytes]], defaults: Headers
    ) -> int | None:
        """See `Http2Wire.send_head`."""
        encoded, length = response_fields(status, fields, defaults)
        self.flush()
        stream.head_out, stream.head_at = self.out, len(self.out)
        self._send_fields(stream, encoded)
        return length

    def _send_fields(self, stream: Http2Stream, fields: Headers, ends: bool = False) -> None:
        if not self._failed:
            self.h2.send_headers(stream.id, fields, end_stream=ends)
            self.flush()

    def send_data(
        self,
        stream: Http2Stream,
        data: bytes,
        end: bool,
        trailers: Headers | None = None,
        breaks_off: bool = False,
    ) -> None:
        """See `Http2Wire.send_data`. All of it is queued, and waits for `pump`."""
        if self._failed:
            return
        stream.ends, stream.trailers = end, trailers
        stream.breaks_off |= breaks_off
        if data:
            self.queue_data(stream, data)
            self.scheduler.add(stream)
        elif end and not stream.queue:
            if not (trailers or stream.breaks_off):
                self._end_stream(stream)
            self.on_local_end(stream)

    def _end_stream(self, stream: Http2Stream) -> None:
        """END_STREAM without a body: in the head's frame where that is not written yet, else in one of its own."""
        self.flush()
        self.h2.end_stream(stream.id)
        if self.end_with_head(stream):
            self.h2.clear_outbound_data_buffer()

    def _can_send(self) -> bool:
        return not self._failed and self.h2.outbound_flow_control_window > 0

    def _window(self, stream: Http2Stream) -> int:
        return min(self.h2.local_flow_control_window(stream.id), frames.DEFAULT_FRAME_SIZE)

    def _append_data(self, stream: Http2Stream, data: Any, size: int, ends: bool) -> None:
        stream.head_out = None  # it is not the last frame any more
        self.h2.send_data(stream.id, data, end_stream=ends)
        self.flush()
        self.sent_size += size
        self.out_size += size
        self.control.earn(3)  # a client may acknowledge each frame

    def on_local_end(self, stream: Http2Stream) -> None:
        super().on_local_end(stream)
        self.flush()

    def reset(self, stream_id: int, code: int) -> None:
        """See `Http2Wire.reset`."""
        if self._failed:
            return
        try:
            self.h2.reset_stream(stream_id, code)
        except StreamClosedError:
            pass  # to h2 it is over already, by both of its ends
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.drop(stream)
        self.flush()
