"""WebSocket on the sans-IO protocol of the `websockets` library.

Order of response headers, refusals and close reasons are that library's, as with uvicorn's `websockets-sansio`.
The app's own refusal is sent as one piece, once its body is complete, with defaults for missing headers.
Answers to: RFC 6455, RFC 7692. Knows nothing of: transports, clocks, apps.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from struct import pack
from typing import Any, ClassVar

from websockets.datastructures import Headers
from websockets.exceptions import WebSocketException
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build without its C extension
    from websockets.utils import apply_mask

from pounce.errors import MisusedByApp
from pounce.wire.response_fields import (
    BODILESS,
    STATUS_PHRASES,
    ResponseBody,
    body_bytes,
    checked_accept,
    checked_head,
    checked_status,
    checked_value,
)
from pounce.wire.ws import (
    ABNORMAL_CLOSURE,
    BAD_REQUEST,
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_DATA,
    PING,
    PONG,
    TEXT,
    WHOLE_CLOSE,
    HandshakeGate,
    Header,
    PlainFrames,
    UpgradeRequest,
    WebSocketSink,
    check_close_code,
    shorten_reason,
    whole_frame,
)


class _LenientAboutClose(ServerProtocol):
    """Takes a close frame between the fragments of a message as any other (RFC 6455, section 5.4)."""

    def recv_frame(self, frame: Any) -> None:
        if frame.opcode == CLOSE:
            # The library would miss the rest of the message, which it measures here; the second name is older (14, 15).
            self.current_size = self.cur_size = None
        super().recv_frame(frame)


class WebsocketsWire(PlainFrames):
    """See `pounce.wire.ws.WebSocketWire`."""

    _unmask = staticmethod(apply_mask)
    _checks_cut_text: ClassVar[bool] = False

    def __init__(self, sink: WebSocketSink, max_size: int | None, per_message_deflate: bool, logger: Any) -> None:
        extensions = []
        if per_message_deflate:
            # Small windows: 64 KiB for a connection, where the library's defaults take five times that.
            extensions.append(
                ServerPerMessageDeflateFactory(
                    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
                )
            )
        self.conn = _LenientAboutClose(extensions=extensions, max_size=max_size, logger=logger)
        # With debug logging the library sees, and logs, every message.
        super().__init__(-1 if self.conn.debug else max_size)
        self._sink = sink
        self._gate = HandshakeGate()
        self._answered = False  # the 101 is made
        self._response: Response | None = None  # the library's 101, until the app answers
        self._refusal: tuple[int, Headers] | None = None
        self._refusal_content = bytearray()
        self.refusal_body = ResponseBody()
        self._is_text = False
        self._fragments: bytearray | None = None

    @property
    def held_size(self) -> int:
        return len(self._gate.held)

    # Reading

    def _receive_handshake(self, data: bytes) -> None:
        if not self._answered:
            head = self._gate.pass_head(data)
            if head:
                self._receive_head(head)

    def _parse(self, data: bytes) -> None:
        conn = self.conn
        conn.receive_data(data)
        events = conn.events
        if events:
            conn.events = []
            for frame in events:
                self._on_frame(frame)
                if not self._parsing:
                    return
        if conn.parser_exc is not None:
            self._on_parser_error(conn.parser_exc)

    def _receive_head(self, head: bytes) -> None:
        conn = self.conn
        conn.receive_data(head)
        for event in conn.events_received():
            if isinstance(event, Request):
                self._on_request(event)
                return
        if conn.handshake_exc is not None or conn.parser_exc is not None:
            # No HTTP request, or one beyond the library's limits (8 KiB for a line, 128 headers).
            self._sink.on_bad_upgrade(self._output() or BAD_REQUEST)

    def _on_request(self, request: Request) -> None:
        response = self.conn.accept(request)
        if response.status_code != 101:
            self.conn.send_response(response)
            self._sink.on_bad_upgrade(self._output())
            return
        self._response = response
        headers = request.headers
        self._sink.on_upgrade(
            UpgradeRequest(
                target=request.path,
                headers=[(name.lower().encode("ascii"), _header_bytes(value)) for name, value in headers.raw_items()],
                subprotocols=[
                    token.strip() for value in headers.get_all("Sec-WebSocket-Protocol") for token in value.split(",")
                ],
            )
        )

    def _on_frame(self, frame: Any) -> None:
        opcode = frame.opcode
        data = frame.data
        if type(data) is not bytes:
            data = bytes(data)
        if opcode <= BINARY:
            if opcode == CONTINUATION:
                assert self._fragments is not None  # the library has checked the order
                self._fragments += data
                if not frame.fin:
                    return
                data = bytes(self._fragments)
                self._fragments = None
                self._in_message = False
            else:
                self._is_text = opcode == TEXT
                if not frame.fin:
                    self._in_message = True
                    # One growing buffer: a list would keep an object for each of any number of empty fragments.
                    self._fragments = bytearray(data)
                    return
            self._on_message(self._is_text, data)
        elif opcode == PING:
            # The library has written the pongs of one read already, in the order of the pings.
            writes = self.conn.writes
            self._sink.on_ping(writes.pop(0) if writes else b"")
        elif opcode == PONG:
            self._sink.on_pong(data)
        elif opcode == CLOSE:
            self._parsing = False
            close = self.conn.close_rcvd
            assert close is not None
            self._sink.on_close(int(close.code), close.reason, self._output())

    def _on_message(self, is_text: bool, data: bytes) -> None:
        if not is_text:
            self._sink.on_bytes(data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            # Framed here: the library may have read on, even past a close frame, and would refuse.
            self._parsing = False
            self._sink.on_failure(INVALID_DATA, "", whole_frame(WHOLE_CLOSE, pack("!H", INVALID_DATA)))
        else:
            self._sink.on_text(text)

    def _on_parser_error(self, exc: Exception) -> None:
        self._parsing = False
        close = self.conn.close_sent
        code, reason = (int(close.code), close.reason) if close is not None else (ABNORMAL_CLOSURE, str(exc))
        self._sink.on_failure(code, reason, self._output())

    # The handshake's answers

    def accept(self, subprotocol: str | None, headers: Iterable[Header]) -> bytes:
        response = self._response
        assert response is not None
        added = checked_accept(subprotocol, headers)
        answer = Headers((name, value) for name, value in response.headers.raw_items() if name != "Date")
        try:
            for name, value in added:
                answer[name.decode("ascii").lower()] = value.decode("latin-1")
            if subprotocol:
                answer["Sec-WebSocket-Protocol"] = checked_value(subprotocol.encode("latin-1")).decode("latin-1")
        except (WebSocketException, UnicodeEncodeError) as exc:
            raise MisusedByApp(str(exc)) from exc
        response.headers = answer
        self.conn.send_response(response)
        output = self._output()
        self._answered = self._parsing = True
        self._plain = not self.conn.extensions and not self.conn.debug
        return output

    def release_held(self) -> None:
        data = self._gate.take()
        if data:
            self.receive_data(data)

    def forbid(self) -> bytes:
        self.conn.send_response(self.conn.reject(HTTPStatus.FORBIDDEN, ""))
        return self._output()

    def internal_error(self) -> bytes:
        self.conn.send_response(self.conn.reject(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error"))
        return self._output()

    def start_response(self, status: int, headers: Iterable[Header]) -> bytes:
        status = checked_status(status)
        fields, length, _ = checked_head(status, headers)
        # The body goes as one piece: its length is known, and it is not chunked.
        text = [(name.decode("ascii"), value.decode("latin-1")) for name, value in fields]
        try:
            self._refusal = (status, Headers(field for field in text if field[0].lower() != "transfer-encoding"))
        except WebSocketException as exc:
            raise MisusedByApp(str(exc)) from exc
        self.refusal_body = ResponseBody(status, False, length)
        return b""

    def response_body(self, body: bytes, more: bool) -> bytes:
        assert self._refusal is not None
        self._refusal_content += self.refusal_body.take(body_bytes(body), more)
        if more:
            return b""
        status, headers = self._refusal
        content = bytes(self._refusal_content)
        defaults = {"Date": formatdate(usegmt=True), "Connection": "close"}
        if status not in BODILESS:
            defaults |= {"Content-Length": str(len(content)), "Content-Type": "text/plain; charset=utf-8"}
        for name, value in defaults.items():
            if name not in headers:  # `setdefault` fails for a name that the app has given twice
                headers[name] = value
        self.conn.send_response(Response(status, STATUS_PHRASES[status].decode("ascii"), headers, content))
        return self._output()

    # Frames

    def _framed(self, message: str | bytes) -> bytes:
        if isinstance(message, str):
            self.conn.send_text(message.encode())
        else:
            self.conn.send_binary(message)
        return self._output()

    def ping(self, payload: bytes) -> bytes:
        self.conn.send_ping(payload)
        return self._output()

    def close(self, code: int | None, reason: str) -> bytes:
        if code is not None:
            check_close_code(code)
        try:
            self.conn.send_close(code, shorten_reason(reason))
        except WebSocketException as exc:
            raise MisusedByApp(f"Cannot close with code {code!r}: {exc}") from exc
        return self._output()

    def fail(self, code: int, reason: str) -> bytes:
        self._parsing = False
        self.conn.fail(code, shorten_reason(reason))
        return self._output()

    def _output(self) -> bytes:
        writes = self.conn.data_to_send()
        return writes[0] if len(writes) == 1 else b"".join(writes)


def _header_bytes(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("ascii", "surrogateescape")  # how versions before 17 decode a byte above 127
