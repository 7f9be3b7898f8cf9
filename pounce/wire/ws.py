"""One WebSocket in bytes: its opening handshake, and what both parsers' libraries need not see.

Parsed requests and bytes in become sink calls, messages in become bytes out. A wire serves one connection and knows no
transport, no clock and no app; exceptions of the parser's library end in it. Implements RFC 6455 (WebSocket), RFC 7692
(deflate) and RFC 8441 (over HTTP/2).
"""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Callable, Iterable
from hashlib import sha1
from typing import Any, ClassVar, Protocol

from pounce.errors import MisusedByApp
from pounce.wire.response_fields import STATUS_LINE, Headers, ResponseBody, checked_head, checked_status
from pounce.wire.ws_frames import (
    PING,
    WHOLE_BINARY,
    WHOLE_PING,
    WHOLE_PONG,
    WHOLE_TEXT,
    FrameBoundary,
    close_frame,
    frame_head,
    measure,
    whole_frame,
)

Header = tuple[bytes, bytes]

NO_STATUS_RECEIVED, ABNORMAL_CLOSURE = 1005, 1006
INVALID_DATA, MESSAGE_TOO_BIG, INTERNAL_ERROR, SERVICE_RESTART = 1007, 1009, 1011, 1012

#: What a close frame may carry (RFC 6455 section 7.4, and IANA's registry).
_CLOSE_CODES = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))

#: RFC 6455, section 1.3.
_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_FIELD_LINE = b"%b: %b\r\n".__mod__
_SWITCHING = STATUS_LINE[101] + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "

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


class WebSocketWire:
    """What the wires have in common; a library's own adds the handshake and the frames that are not simple.

    Incoming frames that are whole messages without extensions, the commonest there are, are taken here where the
    library stands between two messages, one by one as long as they last; one that is cut is collected. Everything else
    goes to the library, which judges it. The connection keeps the order: `open` or `connect`, then accept or deny, then
    frames, then close. What the app got wrong (an illegal header, status or close code) is raised as `MisusedByApp`,
    with nothing sent and nothing changed.
    """

    #: XORs a payload, of any type with the buffer protocol, with a mask of four bytes.
    unmask: Callable[[Any, Any], bytes]

    #: Whether the library judges a text as it comes, and says what is wrong with it: one that is cut is left to it.
    checks_cut_text: ClassVar[bool]

    #: Close codes that only stand for something, and what is sent in their place. Others are refused.
    replaced_codes: ClassVar[dict[int, int | None]] = {}

    def __init__(self, sink: WebSocketSink, max_size: int | None, per_message_deflate: bool, logger: Any) -> None:
        self.sink = sink
        self.max_size = max_size
        self.per_message_deflate = per_message_deflate
        #: The library's own connection object, for those who look.
        self.conn: Any = None
        #: What the client offers.
        self.subprotocols: list[str] = []
        self.key = b""
        #: What the app is told of the fields of a handshake over HTTP/1.1.
        self.scope_headers: Headers = []
        #: Of the app's own refusal: whether its body was shorter than declared, or dropped.
        self.refusal_body: ResponseBody | None = None
        #: A response's head has left.
        self.head_sent = False

        self.parsing = False  # frames are expected: after the handshake, before a close frame or an error
        self.plain = False  # no extensions: messages may be framed here
        self.in_message = False  # the library has read some fragments of a message, not the last one
        self.message = bytearray()  # those: a list would keep an object for each of any number of empty ones
        self.largest = sys.maxsize if max_size is None else max_size  # a larger message is the library's
        self._boundary = FrameBoundary()
        self._cut: list[bytes | bytearray] = []  # the beginning of a frame, header included
        self._missing = 0  # bytes that it lacks; -1: something is left for another turn
        self._unparsed = bytearray()  # that

    # The handshake

    def open(self, method: str, headers: Headers) -> bytes:
        """Read a handshake over HTTP/1.1 (RFC 6455 section 4.2.1). Returns the refusal of one that is not valid."""
        raise NotImplementedError

    def connect(self, headers: Headers) -> None:
        """Read what a handshake over HTTP/2 offers. Raises ValueError where it cannot be read."""
        raise NotImplementedError

    def accept(self, subprotocol: str | None, headers: Iterable[Header]) -> bytes:
        """The 101 response."""
        fields = self.agree(subprotocol, headers)
        key = b64encode(sha1(self.key + _ACCEPT_GUID).digest())
        return b"".join([_SWITCHING, key, b"\r\n", *map(_FIELD_LINE, fields), b"\r\n"])

    def agree(self, subprotocol: str | None, headers: Iterable[Header]) -> Headers:
        """The WebSocket is open. Returns the fields of the answer that HTTP/1.1 and HTTP/2 have in common."""
        raise NotImplementedError

    def refuse(self, status: int, text: str) -> bytes:
        """The server's own answer to a handshake."""
        raise NotImplementedError

    def begin_refusal(self, status: int, headers: Iterable[Header]) -> tuple[int, Headers]:
        """Check the head of the app's own refusal."""
        status = checked_status(status)
        fields, length, _ = checked_head(status, headers)
        self.refusal_body = ResponseBody(status, False, length)
        return status, fields

    def start_response(self, status: int, headers: Iterable[Header]) -> bytes:
        """Begin the app's own refusal; the bytes may be held back until its body is known."""
        raise NotImplementedError

    def response_body(self, body: bytes, more: bool) -> bytes:
        """Continue it; the last part has `more` false. More bytes than its Content-Length says are refused; of fewer
        all are sent (`refusal_body`)."""
        raise NotImplementedError

    # In

    def receive_data(self, data: bytes) -> bool:
        """Parse frames, as many as are a share. Whether more is left: `go_on`. Never raises, whatever the bytes."""
        at, end, left = self._complete(data) if self._missing else 0, len(data), 0
        while at < end and self.parsing:
            if self._boundary.between_frames and not self.in_message:
                start, stop = measure(data, at)
                if start and stop - start <= self.largest:
                    first = data[at]
                    if stop <= end:
                        payload = data[start:stop] if stop - start < _WORTH_A_VIEW else memoryview(data)[start:stop]
                        self.on_frame(first, self.unmask(payload, data[start - 4 : start]))
                        if stop == end:
                            return False
                        left = (left or self.sink.share()) - 1 - (stop - at >> 10)
                        at = stop
                        if left > 0:
                            continue
                        return self._keep(data, at)
                    if first != WHOLE_TEXT or not self.checks_cut_text:
                        self._cut.append(data[at:])
                        self._missing = stop - end
                        return False
            stop = self._boundary.follow(data, at)
            size = self.parse(data[at:stop])
            if stop < end:
                left = (left or self.sink.share()) - _LIBRARY_FRAME_COST - (size >> 10)
                if left <= 0:
                    return self._keep(data, stop)
            at = stop
        return False

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
        return bool(self._unparsed)

    def _complete(self, data: bytes) -> int:
        """Go on with the frame that is cut, or with what is left. Where in `data` the next frame starts."""
        missing, size, cut = self._missing, len(data), self._cut
        if missing < 0:
            self.keep(data)
            return size
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
        self.receive_data(whole)
        return missing

    def parse(self, data: bytes) -> int:
        """Have the library read a frame, or a part of one. How many bytes of messages came of it."""
        raise NotImplementedError

    def on_frame(self, first_byte: int, payload: bytes) -> None:
        """A frame by itself: a message within the limit, a ping or a pong."""
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
        else:
            self.sink.on_pong(payload)

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

    def end(self, code: int, reason: str) -> None:
        """A close frame has come, or what leads to one: nothing is parsed any more."""
        self.sink.on_close(code, reason, self.fail(code, reason))

    # Out

    def message_frame(self, message: str | bytes) -> bytes:
        """A text or binary message as one frame."""
        if not self.plain:
            return self.framed(message)
        if isinstance(message, str):
            return whole_frame(WHOLE_TEXT, message.encode())
        return whole_frame(WHOLE_BINARY, message)

    def pieces(self, message: str | bytes) -> list[bytes]:
        """A message as one frame, in pieces that are written together: bytes are not copied, where it can be."""
        if not self.plain:
            return [self.framed(message)]
        first, payload = (WHOLE_TEXT, message.encode()) if isinstance(message, str) else (WHOLE_BINARY, message)
        return [frame_head(first, len(payload)), payload]

    def framed(self, message: str | bytes) -> bytes:
        """A message as the library frames it."""
        raise NotImplementedError

    def ping(self, payload: bytes) -> bytes:
        """A ping frame."""
        return whole_frame(0x80 | PING, payload)

    def close(self, code: int | None, reason: str) -> bytes:
        """Our close frame; an empty one where there is no code. The peer's reply is still parsed."""
        if code is not None:
            code = self.replaced_codes.get(code, code)
        if code is not None and (code not in _CLOSE_CODES or not isinstance(code, int)):
            raise MisusedByApp(f"Cannot close with code {code!r}: no such code may be sent.")
        return close_frame(code, reason)

    def fail(self, code: int, reason: str) -> bytes:
        """Our last frame, a close. Nothing is parsed after it."""
        self.stop()
        return close_frame(None if code == NO_STATUS_RECEIVED else code, reason)

    def stop(self) -> None:
        """Parse nothing any more; what is left is dropped."""
        self.parsing = False
        self._unparsed.clear()
        self._cut.clear()
        self._missing = 0


def response_head(status: int, fields: Headers) -> bytes:
    """The head of a response over HTTP/1.1."""
    return b"".join([STATUS_LINE[status], *map(_FIELD_LINE, fields), b"\r\n"])


def listed(headers: Headers, name: bytes) -> list[str]:
    """The members of a list field. Raises ValueError for what is not ASCII."""
    values = [value for key, value in headers if key == name]
    return [item.strip() for item in b",".join(values).decode("ascii").split(",")] if values else []
