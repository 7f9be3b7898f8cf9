"""WebSocket on the `wsproto` library: its extension and its frame protocol.

Order of response headers, refusals and close reasons are that library's, as with uvicorn's `wsproto`. Its handshake,
which takes bytes, is not used, and nor are its events: frames are read straight from `FrameProtocol`.
Implements RFC 6455 and RFC 7692. Knows neither transports nor clocks nor apps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, ParseFailed, RsvBits, XorMaskerSimple
from wsproto.handshake import server_extensions_handshake

from pounce.wire.response_fields import BODILESS, Headers, body_bytes, checked_accept
from pounce.wire.ws import (
    Header,
    WebSocketWire,
    listed,
    response_head,
)
from pounce.wire.ws_frames import BINARY, CLOSE, INTERNAL_ERROR, INVALID_DATA, MESSAGE_TOO_BIG, TEXT

#: From this size on, the library's way to unmask is the faster one.
_LARGE_PAYLOAD_SIZE = 4096

_EMPTY = (b"content-length", b"0")

#: Fields of a handshake that the library takes out of the list.
_TAKEN = frozenset((b"sec-websocket-protocol", b"sec-websocket-extensions"))


class Deflate(PerMessageDeflate):
    """permessage-deflate without its receiving side (`ws_inflate`).

    An offer whose parameters are no numbers is declined; with the library's own it is an exception.
    """

    def accept(self, offer: str) -> bool | str | None:
        try:
            accepted: bool | str | None = super().accept(offer)
        except ValueError:
            return None
        return accepted

    def frame_inbound_header(self, proto: Any, opcode: Any, rsv: RsvBits, payload_length: int) -> RsvBits:
        return RsvBits(False, False, False)  # what is compressed has no place where the library reads

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> bytes:
        return data

    def frame_inbound_complete(self, proto: Any, fin: bool) -> None:
        """There is nothing to add."""


def unmasked(payload: Any, mask: Any) -> bytes:
    """The payload XORed with the mask."""
    size = len(payload)
    if size >= _LARGE_PAYLOAD_SIZE:
        return bytes(XorMaskerSimple(mask).process(payload))
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class WsprotoWire(WebSocketWire):
    """See `WebSocketWire`."""

    unmask = staticmethod(unmasked)
    checks_cut_text: ClassVar[bool] = True
    bad_deflate: ClassVar[tuple[int, str]] = (INVALID_DATA, "error in extension")

    #: The library sends no code, or 1000, in the place of these, and so it works with uvicorn.
    replaced_codes: ClassVar[dict[int, int | None]] = {1005: None, 1006: 1000, 1015: 1000}

    _offers: Sequence[str] = ()  # of extensions
    _is_chunked = False  # the body of the app's own refusal

    # The handshake

    def open(self, method: str, headers: Headers) -> bytes:
        fields = dict(headers)
        version = fields.get(b"sec-websocket-version")
        tokens = b""
        for name, value in headers:
            if name == b"connection":
                tokens += value.lower() + b","
        if b"sec-websocket-protocol" in fields or b"sec-websocket-extensions" in fields:
            try:
                self.connect(headers)
            except ValueError:
                return response_head(400, [_EMPTY])
        if method != "GET" or not tokens.isascii() or b"upgrade" not in map(bytes.strip, tokens.split(b",")):
            return response_head(400, [_EMPTY])
        if version != b"13":
            return response_head(426 if version else 400, [(b"Sec-WebSocket-Version", b"13"), _EMPTY])
        if (
            b"sec-websocket-key" not in fields
            or b"host" not in fields
            or fields.get(b"upgrade", b"").lower() != b"websocket"
        ):
            return response_head(400, [_EMPTY])
        self.key = fields[b"sec-websocket-key"]
        # Host first, and without the lists of subprotocols and extensions: so the library has them.
        self.scope_headers = headers
        if headers[0][0] != b"host" or not _TAKEN.isdisjoint(fields):
            rest = [field for field in headers if field[0] not in _TAKEN and field[0] != b"host"]
            self.scope_headers = [(b"host", fields[b"host"]), *rest]
        return b""

    def connect(self, headers: Headers) -> None:
        self.subprotocols = listed(headers, b"sec-websocket-protocol")
        self._offers = listed(headers, b"sec-websocket-extensions")

    def agree(self, subprotocol: str | None, headers: Iterable[Header]) -> Headers:
        fields: Headers = []
        added = checked_accept(subprotocol, headers, self.subprotocols)
        if subprotocol:
            fields.append((b"Sec-WebSocket-Protocol", subprotocol.encode("ascii")))
        deflate = Deflate()
        agreed = server_extensions_handshake(self._offers, [deflate] if self.per_message_deflate else [])
        if agreed:
            fields.append((b"Sec-WebSocket-Extensions", agreed))
            self.inflate_with(deflate.client_max_window_bits, not deflate.client_no_context_takeover)
        self.conn = FrameProtocol(False, [deflate] if agreed else [])
        self.parsing, self.plain = True, not agreed
        return fields + added

    def refuse(self, status: int, text: str) -> bytes:
        fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")] if text else []
        return response_head(status, [*fields, (b"content-length", b"%d" % len(text))]) + text.encode()

    def start_response(self, status: int, headers: Iterable[Header]) -> bytes:
        status, fields = self.begin_refusal(status, headers)
        self._is_chunked = status not in BODILESS and all(name.lower() != b"content-length" for name, _ in fields)
        if self._is_chunked:
            fields = [field for field in fields if field[0].lower() != b"transfer-encoding"]
            fields.append((b"Transfer-Encoding", b"chunked"))
        self.head_sent = True
        return response_head(status, fields)

    def response_body(self, body: bytes, more: bool) -> bytes:
        assert self.refusal_body is not None
        body = self.refusal_body.take(body_bytes(body), more)
        if self._is_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        return body

    # Frames

    def parse(self, data: bytes) -> int:
        self.conn.receive_bytes(data)
        received = self.conn.received_frames()
        size = 0
        while self.parsing:
            try:
                frame = next(received, None)
            except ParseFailed as exc:
                self._fail_parsing(int(exc.code), str(exc))
                break
            except Exception:  # the library's own mistake
                self.end(INTERNAL_ERROR, "")
                break
            if frame is None:
                break
            size += self._on_frame(frame)
        return size

    def _on_frame(self, frame: Any) -> int:
        opcode, data, finished = frame.opcode, frame.payload, frame.message_finished
        if opcode == CLOSE:
            self.end(int(data[0]), data[1])
        elif opcode > BINARY:
            self.on_frame(0x80 | opcode, data)
        else:
            is_text = opcode == TEXT
            encoded = data.encode() if is_text else data
            size = len(encoded)
            if self.max_size is not None and len(self.message) + size > self.max_size:
                self._fail_parsing(MESSAGE_TOO_BIG, "")
            elif self.in_message or not finished:
                return self.on_fragment(0x80 | opcode, encoded, finished)
            elif is_text:
                self.sink.on_text(data)
                return size
            else:
                self.sink.on_bytes(bytes(data))
                return size
        return 0

    def _fail_parsing(self, code: int, reason: str) -> None:
        self.end(code, self.too_large() if code == MESSAGE_TOO_BIG else reason)

    def too_large(self, size: int | None = None) -> str:
        return f"Message exceeds the maximum size ({self.max_size} bytes)"

    def framed(self, message: str | bytes) -> bytes:
        return bytes(self.conn.send_data(message))
