"""One WebSocket in bytes: its opening handshake, and what is sent; `ws_reader` is the receiving half.

Parsed requests and bytes in become sink calls, messages in become bytes out. A wire serves one connection and knows no
transport, no clock and no app; exceptions of the parser's library end in it. Implements RFC 6455 (WebSocket), RFC 7692
(deflate) and RFC 8441 (over HTTP/2).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha1
from typing import Any, ClassVar

from pounce.errors import MisusedByApp
from pounce.wire.response_fields import STATUS_LINE, Headers, ResponseBody, checked_head, checked_status
from pounce.wire.ws_frames import (
    NO_STATUS_RECEIVED,
    PING,
    WHOLE_BINARY,
    WHOLE_TEXT,
    close_frame,
    frame_head,
    whole_frame,
)
from pounce.wire.ws_reader import FrameReader

Header = tuple[bytes, bytes]

#: What a close frame may carry (RFC 6455 section 7.4, and IANA's registry).
_CLOSE_CODES = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))

#: RFC 6455, section 1.3.
_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_FIELD_LINE = b"%b: %b\r\n".__mod__
_SWITCHING = STATUS_LINE[101] + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "


class WebSocketWire(FrameReader):
    """What the wires have in common; a library's own adds the handshake and the frames that are not simple.

    The connection keeps the order: `open` or `connect`, then accept or deny, then frames, then close. What the app got
    wrong (an illegal header, status or close code) is raised as `MisusedByApp`, with nothing sent and nothing changed.
    """

    #: Close codes that only stand for something, and what is sent in their place. Others are refused.
    replaced_codes: ClassVar[dict[int, int | None]] = {}

    #: The library's own connection object, for those who look.
    conn: Any = None
    #: What the client offers.
    subprotocols: Sequence[str] = ()
    key = b""
    #: What the app is told of the fields of a handshake over HTTP/1.1, once it is read.
    scope_headers: Headers
    #: Of the app's own refusal: whether its body was shorter than declared, or dropped.
    refusal_body: ResponseBody | None = None
    #: A response's head has left.
    head_sent = False

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

    def end(self, code: int, reason: str) -> None:
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


def response_head(status: int, fields: Headers) -> bytes:
    """The head of a response over HTTP/1.1."""
    return b"".join([STATUS_LINE[status], *map(_FIELD_LINE, fields), b"\r\n"])


def listed(headers: Headers, name: bytes) -> list[str]:
    """The members of a list field. Raises ValueError for what is not ASCII."""
    values = [value for key, value in headers if key == name]
    return [item.strip() for item in b",".join(values).decode("ascii").split(",")] if values else []
