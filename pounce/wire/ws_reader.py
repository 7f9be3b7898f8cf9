"""The receiving half of one WebSocket: what is read without the parser's library, and how much in one turn.

Frames that are whole messages, the commonest there are, pings, pongs, and messages that come compressed are taken here
where the library stands between two messages, one by one as long as they last; one that is cut is collected. Everything
else goes to the library, which judges it. Implements RFC 6455 section 5, RFC 7692.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from pounce.wire.ws_frames import (
    BINARY,
    INVALID_DATA,
    MESSAGE_TOO_BIG,
    PACKED,
    PROTOCOL_ERROR,
    SIMPLE,
    SIMPLE_OR_PACKED,
    TEXT,
    WHOLE_BINARY,
    WHOLE_PING,
    WHOLE_PONG,
    WHOLE_TEXT,
    WITHIN_PACKED,
    FrameBoundary,
    measure,
    missing_of_head,
    whole_frame,
)
from pounce.wire.ws_inflate import Inflation, Oversized

#: From this size on, a view of bytes costs less than a copy of them.
_WORTH_A_VIEW = 4096

#: Smaller pieces of a frame that is cut are joined as they come, or each of any number of them would cost an object.
_WORTH_KEEPING = 512

#: What a frame that the library reads costs, where one that is read here costs 1, and so does a KiB of a message.
_LIBRARY_FRAME_COST = 4


class WebSocketSink(Protocol):
    """What a wire tells about the bytes it was fed, in the order of the bytes."""

    def share(self) -> int:
        """How much is to be parsed in this turn, in frames of the cheapest kind; asked where more than one has come."""

    def on_text(self, text: str) -> None:
        """A whole text message."""

    def on_bytes(self, data: bytes) -> None:
        """A whole binary message."""

    def on_ping(self, pong: bytes) -> None:
        """A ping; `pong` is the frame that answers it."""

    def on_pong(self, payload: bytes) -> None:
        """A pong, asked for or not."""

    def on_close(self, code: int, reason: str, reply: bytes) -> None:
        """The peer's close frame, which `reply` answers, unless ours went out before. Or the peer broke the protocol
        or a limit: `reply` is the close frame that says so. Nothing is parsed after it."""


class FrameReader:
    """What a wire does with the bytes that come. A library's own class adds the frames that are not simple."""

    #: XORs a payload, of any type with the buffer protocol, with a mask of four bytes.
    unmask: Callable[[Any, Any], bytes]

    #: Whether the library judges a text as it comes, and says what is wrong with it: one that is cut is left to it.
    checks_cut_text: ClassVar[bool]

    #: How a message ends that cannot be inflated.
    bad_deflate: ClassVar[tuple[int, str]]

    def __init__(self, sink: WebSocketSink, max_size: int | None, per_message_deflate: bool, logger: Any) -> None:
        """`max_size`: bytes of a message; None: no limit. `logger` is for a library that logs what it reads."""
        self.sink = sink
        self.max_size = max_size
        self.per_message_deflate = per_message_deflate
        self.parsing = False  # frames are expected: after the handshake, before a close frame or an error
        self.plain = False  # no extensions: messages may be framed here
        self.in_message = False  # the library has read some fragments of a message, not the last one
        self.message = bytearray()  # those: a list would keep an object for each of any number of empty ones
        self.largest = sys.maxsize if max_size is None else max_size  # a larger message is the library's
        self._boundary = FrameBoundary()
        self._cut: list[bytes | bytearray] = []  # the beginning of a frame, header included
        self._missing = 0  # bytes that it lacks; -1: something is left for another turn
        self._unparsed = bytearray()  # that

        #: Reads messages that come compressed, where they may.
        self.inflation: Inflation | None = None
        self._own = SIMPLE  # the first bytes of frames that are read here
        self._inflates = False  # a frame is not inflated to its end
        self._packed_first = 0  # the first byte of the message, were it one frame and not compressed

    def receive_data(self, data: bytes) -> bool:
        """Parse frames, as many as are a share. Whether more is left: `go_on`. Never raises, whatever the bytes."""
        at, end, left = self._complete(data) if self._missing else 0, len(data), 0
        while at < end and self.parsing:
            if self._boundary.between_frames and not self.in_message:
                start, stop = measure(data, at, self._own)
                if start and stop - start <= self.largest:
                    first = data[at]
                    if stop <= end:
                        payload = data[start:stop] if stop - start < _WORTH_A_VIEW else memoryview(data)[start:stop]
                        self.on_frame(first, self.unmask(payload, data[start - 4 : start]))
                        if stop == end and not self._inflates:
                            return False
                        left = (left or self.sink.share()) - 1 - (stop - at >> 10)
                        if self._inflates:
                            left = self._inflate(left)
                        at = stop
                        if left > 0:
                            continue
                        return self._keep(data, at)
                    if first != WHOLE_TEXT or not self.checks_cut_text:
                        self._cut.append(data[at:])
                        self._missing = stop - end
                        return False
                elif self.inflation is not None and self._stands_alone(data, at, stop - start):
                    return False
            stop = self._boundary.follow(data, at)
            size = self.parse(data[at:stop])
            if stop < end:
                left = (left or self.sink.share()) - _LIBRARY_FRAME_COST - (size >> 10)
                if left <= 0:
                    return self._keep(data, stop)
            at = stop
        return self._missing < 0

    def _stands_alone(self, data: bytes, at: int, size: int) -> bool:
        """Where messages may be compressed: whether a frame that cannot be read now is none for the library."""
        first = data[at]
        if first & 0x0F in (TEXT, BINARY) and self._own is WITHIN_PACKED:
            self.end(PROTOCOL_ERROR, "expected a continuation frame")
        elif first not in self._own - SIMPLE:
            return False
        elif size > self.largest:
            self.end(MESSAGE_TOO_BIG, self.too_large(size))
        else:
            lacks = missing_of_head(data, at)
            if not lacks:
                return False  # it is broken
            self._cut.append(data[at:])
            self._missing = lacks
        return True

    def _inflate(self, left: int) -> int:
        """Inflate as much of a frame as is left of a share. What is left of it then."""
        inflation = self.inflation
        assert inflation is not None
        try:
            while left > 0 and self._inflates:
                size, self._inflates = inflation.inflate()
                left -= 1 + (size >> 10)
        except Oversized:
            self.end(MESSAGE_TOO_BIG, self.too_large())
        except zlib.error:
            self.end(*self.bad_deflate)
        else:
            if inflation.is_last and not self._inflates:
                self._own = SIMPLE_OR_PACKED
                self.on_frame(self._packed_first, inflation.take())
        return left

    def _keep(self, data: bytes, at: int) -> bool:
        """For another turn. Whether it will be parsed then."""
        if self.parsing:
            self.keep(memoryview(data)[at:])
        return self.parsing

    def keep(self, data: Any) -> None:
        """Put bytes behind those that are left for another turn."""
        if self._missing >= 0:
            self._unparsed += b"".join(self._cut)
            self._cut.clear()
            self._missing = -1
        self._unparsed += data

    def go_on(self) -> bool:
        """Parse a share of what is left. Whether there is still more."""
        if self._inflates and (self._inflate(self.sink.share()) <= 0 or self._inflates):
            return self.has_more
        data = bytes(self._unparsed)
        self._unparsed.clear()
        self._missing = 0
        return self.receive_data(data)

    @property
    def is_collecting(self) -> bool:
        """Whether a frame is cut that costs nothing before it is whole."""
        return self._missing > 0

    @property
    def has_more(self) -> bool:
        """Whether bytes are left for another turn."""
        return self._missing < 0

    def _complete(self, data: bytes) -> int:
        """Go on with the frame that is cut, or with what is left. Where in `data` the next frame starts."""
        at, end, cut = 0, len(data), self._cut
        while self._missing > 0:
            missing = self._missing
            if missing > end - at:
                self._missing = missing - (end - at)
                part = data[at:]
                if end - at >= _WORTH_KEEPING:
                    cut.append(part)
                elif type(cut[-1]) is bytearray:
                    cut[-1] += part
                else:
                    cut.append(bytearray(part))
                return end
            cut.append(data[at : at + missing])
            at += missing
            whole = b"".join(cut)
            cut.clear()
            self._missing = 0
            self.receive_data(whole)
        if self._missing < 0:
            self.keep(memoryview(data)[at:])
            return end
        return at

    def parse(self, data: bytes) -> int:
        """Have the library read a frame, or a part of one. How many bytes of messages came of it."""
        raise NotImplementedError

    def on_frame(self, first_byte: int, payload: bytes) -> None:
        """A frame by itself: a message within the limit, a ping or a pong, a part of what is to be inflated."""
        if first_byte == WHOLE_BINARY:
            self.sink.on_bytes(payload)
        elif first_byte == WHOLE_TEXT:
            try:
                text = payload.decode()
            except UnicodeDecodeError as exc:
                self.end(INVALID_DATA, str(exc) if self.checks_cut_text else "")
            else:
                self.sink.on_text(text)
        elif first_byte == WHOLE_PING:
            self.sink.on_ping(whole_frame(WHOLE_PONG, payload))
        elif first_byte == WHOLE_PONG:
            self.sink.on_pong(payload)
        elif self.inflation is not None:
            if first_byte in PACKED:
                self._own, self._packed_first = WITHIN_PACKED, 0x80 | (first_byte & 0x0F)
            self.inflation.add(payload, bool(first_byte & 0x80))
            self._inflates = True

    def on_fragment(self, first_byte: int, data: bytes, finished: bool) -> int:
        """A part of a message, told as `on_frame` of the whole. How many bytes that has, when it is complete."""
        self.message += data
        self.in_message = not finished
        if not finished:
            return 0
        whole = bytes(self.message)
        self.message.clear()
        self.on_frame(first_byte, whole)
        return len(whole)

    def inflate_with(self, window_bits: int, keeps_context: bool) -> None:
        """permessage-deflate was agreed on: this is what the client compresses with."""
        self.inflation = Inflation(window_bits, keeps_context, self.max_size)
        self._own = SIMPLE_OR_PACKED

    def too_large(self, size: int | None = None) -> str:
        """What to say of a message that is, or of a frame of this size."""
        raise NotImplementedError

    def end(self, code: int, reason: str) -> None:
        """A close frame has come, or what leads to one: nothing is parsed any more."""
        raise NotImplementedError

    def stop(self) -> None:
        """Parse nothing any more; what is left is dropped."""
        self.parsing = self._inflates = False
        self.inflation = None
        self._unparsed.clear()
        self._cut.clear()
        self._missing = 0
