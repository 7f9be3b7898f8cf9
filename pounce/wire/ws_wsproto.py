"""WebSocket on the `wsproto` library: its h11 handshake and its frame protocol.

Order of response headers, refusals and close reasons are that library's, as with uvicorn's `wsproto`. Its events are
skipped once the handshake is done: frames are read straight from `FrameProtocol`. Uncompressed frames are written
here, and read here where a segment is one whole message.
Answers to: RFC 6455, RFC 7692. Knows nothing of: transports, clocks, apps.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from io import StringIO
from typing import Any, ClassVar

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, RejectData, Request
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameProtocol, ParseFailed, RsvBits, XorMaskerSimple
from wsproto.utilities import RemoteProtocolError

from pounce.errors import MisusedByApp
from pounce.wire.response_fields import (
    STATUS_LINE,
    ResponseBody,
    body_bytes,
    checked_accept,
    checked_head,
    checked_status,
)
from pounce.wire.ws import (
    ABNORMAL_CLOSURE,
    BAD_REQUEST,
    BINARY,
    CLOSE,
    INTERNAL_ERROR,
    INTERNAL_SERVER_ERROR,
    INVALID_DATA,
    MESSAGE_TOO_BIG,
    NO_STATUS_RECEIVED,
    PING,
    PONG,
    TEXT,
    HandshakeGate,
    Header,
    PlainFrames,
    UpgradeRequest,
    WebSocketSink,
    check_close_code,
)

#: Never sent as they are: the library sends no code, or 1000, in their place, and so it works with uvicorn.
_REPLACED_CODES = frozenset((NO_STATUS_RECEIVED, ABNORMAL_CLOSURE, 1015))

#: From this size on, the library's way to unmask is the faster one.
_LARGE_PAYLOAD_SIZE = 4096


class BoundedDeflate(PerMessageDeflate):
    """permessage-deflate that stops inflating a message at `max_size` bytes (None: no limit).

    Also at home with what the library's own takes wrongly: control frames between the fragments of a compressed
    message, and an offer whose parameters are no numbers (declined here, an exception there).
    """

    def __init__(self, max_size: int | None) -> None:
        super().__init__()
        self._max_size = max_size
        self._message_size = 0
        self._is_control = False
        self._is_compressed = False
        self._inflater: Any = None

    def accept(self, offer: str) -> bool | str | None:
        try:
            accepted: bool | str | None = super().accept(offer)
        except ValueError:
            return None
        return accepted

    def frame_inbound_header(self, proto: Any, opcode: Any, rsv: RsvBits, payload_length: int) -> CloseReason | RsvBits:
        self._is_control = opcode > BINARY
        if self._is_control:
            return RsvBits(False, False, False)
        if opcode in (TEXT, BINARY):
            self._message_size = 0
            self._is_compressed = rsv.rsv1
            return RsvBits(True, False, False)
        return RsvBits(False, False, False)  # only the first fragment may carry the mark

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> bytes | CloseReason:
        return data if self._is_control or not self._is_compressed else self._inflate(data)

    def frame_inbound_complete(self, proto: Any, fin: bool) -> bytes | CloseReason | None:
        if self._is_control or not fin or not self._is_compressed:
            return None
        rest = self._inflate(b"\x00\x00\xff\xff")
        if self.client_no_context_takeover:
            self._inflater = None
        return rest

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        if self._inflater is None:
            self._inflater = zlib.decompressobj(-self.client_max_window_bits)
        # One byte more than may be: enough to tell. Zero would mean "no limit" to zlib.
        room = 0 if self._max_size is None else max(self._max_size - self._message_size, 0) + 1
        try:
            inflated: bytes = self._inflater.decompress(data, room)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._message_size += len(inflated)
        if self._max_size is not None and self._message_size > self._max_size:
            return CloseReason.MESSAGE_TOO_BIG
        return inflated


def unmasked(payload: Any, mask: Any) -> bytes:
    """The payload XORed with the mask."""
    size = len(payload)
    if size >= _LARGE_PAYLOAD_SIZE:
        return bytes(XorMaskerSimple(mask).process(payload))
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class WsprotoWire(PlainFrames):
    """See `pounce.wire.ws.WebSocketWire`."""

    _unmask = staticmethod(unmasked)
    _checks_cut_text: ClassVar[bool] = True

    def __init__(self, sink: WebSocketSink, max_size: int | None, per_message_deflate: bool, logger: Any) -> None:
        super().__init__(max_size)
        self.conn = WSConnection(ConnectionType.SERVER)  # the handshake only
        self._sink = sink
        self._max_size = max_size
        self._per_message_deflate = per_message_deflate
        self._gate = HandshakeGate()
        self._asked = False
        self._head_sent = False
        self.refusal_body = ResponseBody()
        self._frames: FrameProtocol | None = None
        self._message_size = 0
        self._bytes: bytearray | None = None
        self._text: StringIO | None = None

    @property
    def held_size(self) -> int:
        return len(self._gate.held)

    # Reading

    def _receive_handshake(self, data: bytes) -> None:
        if self._frames is None:
            head = self._gate.pass_head(data)
            if head and not self._asked:
                self._receive_head(head)

    def _parse(self, data: bytes) -> None:
        frames = self._frames
        assert frames is not None
        frames.receive_bytes(data)
        received = frames.received_frames()
        while self._parsing:
            try:
                frame = next(received, None)
            except ParseFailed as exc:
                self._fail_parsing(int(exc.code), str(exc))
                return
            except Exception:  # the library's own mistake
                self._fail_parsing(INTERNAL_ERROR, "")
                return
            if frame is None:
                return
            self._on_frame(frame)

    def _receive_head(self, head: bytes) -> None:
        try:
            self.conn.receive_data(head)
            request = next((event for event in self.conn.events() if isinstance(event, Request)), None)
            if request is None:
                return
            upgrade = _upgrade_request(request)
        except RemoteProtocolError as exc:
            self._asked = True
            self._sink.on_bad_upgrade(self._refuse(exc.event_hint))
            return
        except Exception:  # a header the library cannot decode: not ASCII, or no host name
            self._asked = True
            self._sink.on_bad_upgrade(self._refuse(RejectConnection()))
            return
        self._asked = True
        self._sink.on_upgrade(upgrade)

    def _refuse(self, event: Any) -> bytes:
        try:
            return self._reject(event)
        except Exception:
            return BAD_REQUEST

    def _reject(self, event: RejectConnection) -> bytes:
        """The response's head, with the reason phrase that the library leaves out."""
        return STATUS_LINE[event.status_code] + bytes(self.conn.send(event)).partition(b"\r\n")[2]

    def _on_message(self, is_text: bool, payload: bytes) -> None:
        if not is_text:
            self._sink.on_bytes(payload)
            return
        try:
            text = payload.decode()
        except UnicodeDecodeError as exc:
            self._fail_parsing(INVALID_DATA, str(exc))
        else:
            self._sink.on_text(text)

    def _on_frame(self, frame: Any) -> None:
        opcode = frame.opcode
        if opcode <= BINARY:
            data = frame.payload
            if self._in_message or not frame.message_finished:
                self._in_message = not frame.message_finished
                self._on_part(data, frame.message_finished)
            elif opcode == TEXT:
                if self._fits(len(data) if data.isascii() else len(data.encode())):
                    self._sink.on_text(data)
            elif self._fits(len(data)):
                self._sink.on_bytes(data)
        elif opcode == PING:
            assert self._frames is not None
            self._sink.on_ping(bytes(self._frames.pong(frame.payload)))
        elif opcode == PONG:
            self._sink.on_pong(frame.payload)
        elif opcode == CLOSE:
            self._parsing = False
            code, reason = frame.payload
            self._sink.on_close(int(code), reason, self._close_frame(int(code), reason))

    def _on_part(self, data: str | bytes, finished: bool) -> None:
        # Growing buffers: a list would keep an object for each of any number of tiny fragments.
        if not data and not finished:
            return
        if isinstance(data, str):
            size = len(data) if data.isascii() else len(data.encode())
            if not self._fits(self._message_size + size):
                return
            if self._text is None:
                self._text = StringIO()
            self._text.write(data)
            self._message_size += size
            if finished:
                text = self._text.getvalue()
                self._text, self._message_size = None, 0
                self._sink.on_text(text)
            return
        if not self._fits(self._message_size + len(data)):
            return
        if self._bytes is None:
            self._bytes = bytearray()
        self._bytes += data
        self._message_size += len(data)
        if finished:
            whole = bytes(self._bytes)
            self._bytes, self._message_size = None, 0
            self._sink.on_bytes(whole)

    def _fits(self, size: int) -> bool:
        if self._max_size is None or size <= self._max_size:
            return True
        self._fail_parsing(MESSAGE_TOO_BIG, "")
        return False

    def _fail_parsing(self, code: int, reason: str) -> None:
        self._parsing = False
        if code == MESSAGE_TOO_BIG:
            reason = f"Message exceeds the maximum size ({self._max_size} bytes)"
        self._sink.on_failure(code, reason, self._close_frame(code, reason))

    # The handshake's answers

    def accept(self, subprotocol: str | None, headers: Iterable[Header]) -> bytes:
        extensions = [BoundedDeflate(self._max_size)] if self._per_message_deflate else []
        event = AcceptConnection(
            subprotocol=subprotocol or None,
            extensions=list(extensions),
            extra_headers=checked_accept(subprotocol, headers),
        )
        try:
            output = bytes(self.conn.send(event))
        except Exception as exc:  # a subprotocol that was not asked for, a header that h11 does not send
            raise MisusedByApp(str(exc)) from exc
        self._head_sent = True
        self._frames = FrameProtocol(False, list(extensions))
        self._parsing = True
        self._plain = not any(extension.enabled() for extension in extensions)
        return output

    def release_held(self) -> None:
        data = self._gate.take()
        if data:
            self.receive_data(data)

    def forbid(self) -> bytes:
        self._head_sent = True
        return self._reject(RejectConnection(status_code=403, headers=[]))

    def internal_error(self) -> bytes:
        if self._head_sent:
            return b""
        self._head_sent = True
        body = b"Internal Server Error"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"connection", b"close"),
            (b"content-length", b"%d" % len(body)),
        ]
        try:
            head = self._reject(RejectConnection(status_code=500, headers=headers, has_body=True))
            return head + bytes(self.conn.send(RejectData(data=body)))
        except Exception:  # the attempt that went wrong before has left h11 unable to answer
            return INTERNAL_SERVER_ERROR

    def start_response(self, status: int, headers: Iterable[Header]) -> bytes:
        status = checked_status(status)
        fields, length, _ = checked_head(status, headers)
        try:
            output = self._reject(RejectConnection(status_code=status, headers=fields, has_body=True))
        except Exception as exc:
            raise MisusedByApp(str(exc)) from exc
        self._head_sent = True
        self.refusal_body = ResponseBody(status, False, length)
        return output

    def response_body(self, body: bytes, more: bool) -> bytes:
        body = self.refusal_body.take(body_bytes(body), more)
        finished = not more and not self.refusal_body.is_short  # h11 would refuse to end it
        try:
            return bytes(self.conn.send(RejectData(data=body, body_finished=finished)))
        except Exception as exc:
            raise MisusedByApp(str(exc)) from exc

    # Frames

    def _framed(self, message: str | bytes) -> bytes:
        assert self._frames is not None
        return bytes(self._frames.send_data(message))

    def ping(self, payload: bytes) -> bytes:
        assert self._frames is not None
        return bytes(self._frames.ping(payload))

    def close(self, code: int | None, reason: str) -> bytes:
        if code is not None and code not in _REPLACED_CODES:
            check_close_code(code)
        try:
            return self._close_frame(code, reason)
        except Exception as exc:
            raise MisusedByApp(f"Cannot close with code {code!r}: {exc}") from exc

    def fail(self, code: int, reason: str) -> bytes:
        self._parsing = False
        return self._close_frame(code, reason)

    def _close_frame(self, code: int | None, reason: str) -> bytes:
        assert self._frames is not None
        return bytes(self._frames.close(None if code == NO_STATUS_RECEIVED else code, reason))


def _upgrade_request(request: Request) -> UpgradeRequest:
    # The library takes these out of the header list: Host, and the lists of subprotocols and extensions.
    headers = [(b"host", request.host.encode())]
    headers += [(name.lower(), value) for name, value in request.extra_headers]
    return UpgradeRequest(request.target, headers, list(request.subprotocols))
