"""The contract between a WebSocket parser and its connection, and the framing that both parsers share.

Bytes in become sink calls, messages in become bytes out. A wire serves one connection and knows no transport, no
clock and no app; exceptions of the parser's library end in it. Answers to: RFC 6455 (WebSocket), RFC 7692 (deflate).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from struct import pack
from typing import Any, ClassVar, Protocol

from pounce.errors import MisusedByApp
from pounce.wire.response_fields import ResponseBody

Header = tuple[bytes, bytes]

#: Opcodes of RFC 6455, section 5.2, as they stand in a frame's first byte.
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

#: The first byte of a frame that stands by itself and is not compressed (FIN bit and opcode).
WHOLE_TEXT, WHOLE_BINARY, WHOLE_CLOSE = 0x80 | TEXT, 0x80 | BINARY, 0x80 | CLOSE

NORMAL_CLOSURE, PROTOCOL_ERROR, NO_STATUS_RECEIVED, ABNORMAL_CLOSURE = 1000, 1002, 1005, 1006
INVALID_DATA, MESSAGE_TOO_BIG, INTERNAL_ERROR, SERVICE_RESTART = 1007, 1009, 1011, 1012

#: What a close frame may carry, besides 3000 to 4999.
_CLOSE_CODES = frozenset((*range(1000, 1004), *range(1007, 1015)))

#: A control frame carries 125 bytes at most, two of which are a close frame's code.
_MAX_REASON_SIZE = 123

#: Where a request head ends; a bare LF counts as a line end (RFC 9112, section 2.2).
_END_OF_HEAD = re.compile(rb"\n\r?\n")

#: From this size on, a view of bytes costs less than a copy of them.
_WORTH_A_VIEW = 4096

#: Smaller pieces of a frame that is cut are joined as they come, or each of any number of them would cost an object.
_WORTH_KEEPING = 512

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

INTERNAL_SERVER_ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"connection: close\r\ncontent-length: 21\r\n\r\nInternal Server Error"
)

SERVICE_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"connection: close\r\ncontent-length: 19\r\n\r\nService Unavailable"
)


@dataclass(slots=True)
class UpgradeRequest:
    """A valid opening handshake. `target` is the request target as sent; header names are lower-case."""

    target: str
    headers: list[Header]
    subprotocols: list[str]


class WebSocketSink(Protocol):
    """What a wire tells about the bytes it was fed, in the order of the bytes."""

    def on_upgrade(self, request: UpgradeRequest) -> None:
        """The handshake request is complete and valid: ask the app."""

    def on_bad_upgrade(self, response: bytes) -> None:
        """It is not: send this answer and close."""

    def on_text(self, text: str) -> None:
        """A whole text message."""

    def on_bytes(self, data: bytes) -> None:
        """A whole binary message."""

    def on_ping(self, pong: bytes) -> None:
        """A ping; `pong` is the frame that answers it."""

    def on_pong(self, payload: bytes) -> None:
        """A pong, asked for or not."""

    def on_close(self, code: int, reason: str, reply: bytes) -> None:
        """The peer's close frame; `reply` completes the closing handshake, unless our close went out before."""

    def on_failure(self, code: int, reason: str, close: bytes) -> None:
        """The peer broke the protocol or a limit; `close` is the frame that says so. Nothing is parsed after it."""


class WebSocketWire(Protocol):
    """One parser behind a common face. The connection keeps the order: accept or deny, then frames, then close.

    What the app got wrong (an illegal header, status or close code) is raised as `MisusedByApp`, with nothing sent and
    nothing changed.
    """

    #: The library's own connection object, for those who look.
    conn: Any
    #: Of the app's own refusal: whether its body was shorter than declared, or dropped.
    refusal_body: ResponseBody

    def __init__(self, sink: WebSocketSink, max_size: int | None, per_message_deflate: bool, logger: Any) -> None: ...

    @property
    def held_size(self) -> int:
        """Bytes that came after the handshake request and wait for its answer."""

    def receive_data(self, data: bytes) -> None:
        """Parse. Never raises, whatever the bytes."""

    def accept(self, subprotocol: str | None, headers: Iterable[Header]) -> bytes:
        """The 101 response."""

    def release_held(self) -> None:
        """Parse what came before the 101 was sent. Call after writing it."""

    def forbid(self) -> bytes:
        """The 403 response to a refused handshake."""

    def internal_error(self) -> bytes:
        """The 500 response, or nothing where another response has begun."""

    def start_response(self, status: int, headers: Iterable[Header]) -> bytes:
        """Begin the app's own refusal; the bytes may be held back until its body is known."""

    def response_body(self, body: bytes, more: bool) -> bytes:
        """Continue it; the last part has `more` false. More bytes than its Content-Length says are refused; of fewer
        all are sent (`refusal_body`)."""

    def text(self, text: str) -> bytes:
        """A text message as one frame."""

    def binary(self, data: bytes) -> bytes:
        """A binary message as one frame."""

    def text_pieces(self, text: str) -> list[bytes]:
        """The same as `text` in pieces that are written together; where it can be, the payload is not copied."""

    def binary_pieces(self, data: bytes) -> list[bytes]:
        """The same as `binary`, in such pieces."""

    def ping(self, payload: bytes) -> bytes:
        """A ping frame."""

    def close(self, code: int | None, reason: str) -> bytes:
        """Our close frame; an empty one where there is no code. The peer's reply is still parsed."""

    def fail(self, code: int, reason: str) -> bytes:
        """Our last frame, a close. Nothing is parsed after it."""


class HandshakeGate:
    """Lets the parser see the request head only, and holds what follows until the handshake is answered.

    Neither library may see those bytes earlier: `websockets` would parse them before the extensions are agreed on
    and answer a ping ahead of the 101, `wsproto` would lose them.
    """

    __slots__ = ("_complete", "_tail", "held")

    def __init__(self) -> None:
        self._complete = False
        self._tail = b""  # the end of what came so far, since an end of head may be cut in two
        self.held = bytearray()

    def pass_head(self, data: bytes) -> bytes:
        """The part of `data` that belongs to the head."""
        if self._complete:
            self.held += data
            return b""
        known = len(self._tail)
        window = self._tail + data
        found = _END_OF_HEAD.search(window)
        if found is None:
            self._tail = window[-2:]
            return data
        self._complete = True
        end = found.end() - known
        self.held += data[end:]
        return data[:end]

    def take(self) -> bytes:
        """What is held, which is then no longer held."""
        data = bytes(self.held)
        self.held.clear()
        return data


class FrameBoundary:
    """Whether the bytes that a parser was fed end between two frames, known by adding up their lengths."""

    __slots__ = ("_head", "_missing", "between_frames")

    def __init__(self) -> None:
        self.between_frames = True
        self._head = b""  # a frame header that is cut
        self._missing = 0  # bytes that the last frame still lacks

    def follow(self, data: bytes) -> None:
        """Count bytes that the parser is fed. What is no frame does not matter: the parser ends at it."""
        if self._head:
            data = self._head + data
            self._head = b""
        at, end = self._missing, len(data)
        while at < end:
            header = data[at : at + 10]
            size = header[1] & 0x7F if len(header) > 1 else 0
            extended = 2 if size == 126 else 8 if size == 127 else 0
            if len(header) < 2 + extended:
                self._head = header
                self._missing = 0
                self.between_frames = False
                return
            if extended:
                size = int.from_bytes(header[2 : 2 + extended], "big")
            at += 2 + extended + 4 + size
        self._missing = at - end
        self.between_frames = at == end


class PlainFrames:
    """What both wires do without their library: frames that are whole messages without extensions, in and out.

    Incoming ones, the commonest there are, are taken where the library stands between two messages, one by one as long
    as they last; one that is cut is collected. Everything else goes to the library, which judges it.
    """

    #: XORs a payload, of any type with the buffer protocol, with a mask of four bytes.
    _unmask: Callable[[Any, Any], bytes]

    #: Whether the library judges a text as it comes: one that is cut is left to it.
    _checks_cut_text: ClassVar[bool]

    def __init__(self, largest: int | None) -> None:
        """Messages of more than `largest` bytes are the library's; None: there is no limit."""
        self._parsing = False  # frames are expected: after the handshake, before a close frame or an error
        self._plain = False  # no extensions: messages may be framed here
        self._in_message = False  # the library has read some fragments of a message, not the last one
        self._boundary = FrameBoundary()
        self._largest = sys.maxsize if largest is None else largest
        self._cut: list[bytes | bytearray] = []  # the beginning of a frame, header included
        self._cut_start = 0  # where its payload starts
        self._missing = 0  # bytes that it lacks

    # In

    def receive_data(self, data: bytes) -> None:
        """See `WebSocketWire.receive_data`."""
        at = 0
        if not self._parsing:
            self._receive_handshake(data)
            return
        if not self._missing:
            if self._boundary.between_frames and not self._in_message:
                start = start_of_payload(data)
                size = len(data)
                if start and size - start <= self._largest:
                    # As in `_take`: a call less for the commonest of all.
                    payload = data[start:] if size < _WORTH_A_VIEW else memoryview(data)[start:]
                    self._on_message(data[0] == WHOLE_TEXT, self._unmask(payload, data[start - 4 : start]))
                    return
        else:
            at = self._complete(data)
        end = len(data)
        while at < end and self._parsing:
            if self._boundary.between_frames and not self._in_message:
                start, stop = measure(data, at)
                if start and stop - start <= self._largest:
                    if stop <= end:
                        self._take(data, at, start, stop)
                        at = stop
                        continue
                    if data[at] == WHOLE_BINARY or not self._checks_cut_text:
                        self._cut.append(data[at:])
                        self._cut_start, self._missing = start - at, stop - end
                        return
            rest = data[at:]
            self._boundary.follow(rest)
            self._parse(rest)
            return

    def _complete(self, data: bytes) -> int:
        """Go on with the frame that is cut. Where in `data` the next one starts."""
        missing, size, cut = self._missing, len(data), self._cut
        if missing > size:
            self._missing = missing - size
            if size >= _WORTH_KEEPING:
                cut.append(data)
            elif type(cut[-1]) is bytearray:
                cut[-1] += data
            else:
                cut.append(bytearray(data))
            return size
        cut.append(data[:missing])
        whole = b"".join(cut)
        cut.clear()
        self._missing = 0
        self._take(whole, 0, self._cut_start, len(whole))
        return missing

    def _take(self, data: bytes, at: int, start: int, stop: int) -> None:
        payload = data[start:stop] if stop - start < _WORTH_A_VIEW else memoryview(data)[start:stop]
        self._on_message(data[at] == WHOLE_TEXT, self._unmask(payload, data[start - 4 : start]))

    def _receive_handshake(self, data: bytes) -> None:
        """Bytes before the 101, or after the end."""
        raise NotImplementedError

    def _parse(self, data: bytes) -> None:
        """Have the library read frames."""
        raise NotImplementedError

    def _on_message(self, is_text: bool, payload: bytes) -> None:
        """A message within the limit."""
        raise NotImplementedError

    # Out

    def text(self, text: str) -> bytes:
        """See `WebSocketWire.text`."""
        return whole_frame(WHOLE_TEXT, text.encode()) if self._plain else self._framed(text)

    def binary(self, data: bytes) -> bytes:
        """See `WebSocketWire.binary`."""
        return whole_frame(WHOLE_BINARY, data) if self._plain else self._framed(data)

    def text_pieces(self, text: str) -> list[bytes]:
        """See `WebSocketWire.text_pieces`."""
        if self._plain:
            payload = text.encode()
            return [frame_head(WHOLE_TEXT, len(payload)), payload]
        return [self._framed(text)]

    def binary_pieces(self, data: bytes) -> list[bytes]:
        """See `WebSocketWire.binary_pieces`."""
        return [frame_head(WHOLE_BINARY, len(data)), data] if self._plain else [self._framed(data)]

    def _framed(self, message: str | bytes) -> bytes:
        """A message as the library frames it."""
        raise NotImplementedError


def start_of_payload(data: bytes) -> int:
    """Where the payload begins, if `data` is one masked frame that is a whole message without extensions; else 0.

    The mask is the four bytes before.
    """
    size = len(data)
    if size < 6 or data[0] not in (WHOLE_TEXT, WHOLE_BINARY):
        return 0
    if size < 132:
        return 6 if data[1] == 0x80 | (size - 6) else 0
    if data[1] == 0xFE:
        return 8 if size >= 134 and int.from_bytes(data[2:4], "big") == size - 8 else 0
    if data[1] == 0xFF:
        return 14 if size >= 65550 and int.from_bytes(data[2:10], "big") == size - 14 else 0
    return 0


def measure(data: bytes, at: int) -> tuple[int, int]:
    """Where payload and frame of the frame at `at` begin and end, or (0, 0): see `start_of_payload`.

    Not for a header that is cut, or one whose length does not take the shortest form: the parser has its opinion.
    """
    available = len(data) - at
    if available < 6 or data[at] not in (WHOLE_TEXT, WHOLE_BINARY):
        return 0, 0
    size = data[at + 1] - 0x80
    start = at + 6
    if size == 126:
        start = at + 8
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if size < 126 or available < 8:
            return 0, 0
    elif size == 127:
        start = at + 14
        size = int.from_bytes(data[at + 2 : at + 10], "big")
        if size < 65536 or available < 14:
            return 0, 0
    return (start, start + size) if size >= 0 else (0, 0)


def frame_head(first_byte: int, size: int) -> bytes:
    """The header of an unmasked frame with a payload of that size."""
    if size < 126:
        return pack("!BB", first_byte, size)
    if size < 65536:
        return pack("!BBH", first_byte, 126, size)
    return pack("!BBQ", first_byte, 127, size)


def whole_frame(first_byte: int, payload: bytes) -> bytes:
    """An unmasked frame that is a message by itself, without extensions."""
    return frame_head(first_byte, len(payload)) + payload


def shorten_reason(reason: str) -> str:
    """The reason, cut to what a close frame holds (123 bytes of UTF-8)."""
    encoded = reason.encode()
    return reason if len(encoded) <= _MAX_REASON_SIZE else encoded[:_MAX_REASON_SIZE].decode(errors="ignore")


def check_close_code(code: Any) -> None:
    """Raise MisusedByApp for a code that no close frame may carry (RFC 6455 section 7.4, and IANA's registry)."""
    if code not in _CLOSE_CODES and not (isinstance(code, int) and 3000 <= code <= 4999):
        raise MisusedByApp(f"Cannot close with code {code!r}: no such code may be sent.")
