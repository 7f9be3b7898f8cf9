"""WebSocket on the sans-IO protocol of the `websockets` library.

Order of response headers, refusals and close reasons are that library's, as with uvicorn's `websockets-sansio`.
The app's own refusal is sent as one piece, once its body is complete, with defaults for missing headers.
Implements RFC 6455 and RFC 7692. Knows neither transports nor clocks nor apps.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from typing import Any, ClassVar

from websockets.datastructures import Headers
from websockets.exceptions import PayloadTooBig, WebSocketException
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build without its C extension
    from websockets.utils import apply_mask

from pounce.wire import response_fields
from pounce.wire.response_fields import BODILESS, STATUS_PHRASES, body_bytes, checked_accept
from pounce.wire.ws import Header, WebSocketWire, listed
from pounce.wire.ws_frames import ABNORMAL_CLOSURE, BINARY, CLOSE, CONTINUATION, PROTOCOL_ERROR
from pounce.wire.ws_reader import WebSocketSink


class _LenientAboutClose(ServerProtocol):
    """Takes a close frame between the fragments of a message as any other (RFC 6455, section 5.4)."""

    def recv_frame(self, frame: Any) -> None:
        if frame.opcode == CLOSE:
            # The library would miss the rest of the message, which it measures here; the second name is older (14, 15).
            self.current_size = self.cur_size = None
        super().recv_frame(frame)


class WebsocketsWire(WebSocketWire):
    """See `WebSocketWire`."""

    unmask = staticmethod(apply_mask)
    checks_cut_text: ClassVar[bool] = False
    bad_deflate: ClassVar[tuple[int, str]] = (PROTOCOL_ERROR, "decompression failed")

    def __init__(self, sink: WebSocketSink, max_size: int | None, per_message_deflate: bool, logger: Any) -> None:
        super().__init__(sink, max_size, per_message_deflate, logger)
        extensions = []
        if per_message_deflate:
            # Small windows: 64 KiB for a connection, where the library's defaults take five times that.
            extensions.append(
                ServerPerMessageDeflateFactory(
                    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
                )
            )
        # Made as open, so that it expects no request but frames.
        self.conn = _LenientAboutClose(extensions=extensions, state=State.OPEN, max_size=max_size, logger=logger)
        self.conn.state = State.CONNECTING
        if self.conn.debug:
            self.largest = -1  # the library sees, and logs, every message
        self._extensions: str | None = None  # the field that agrees on them
        self._refusal: tuple[int, Headers] | None = None
        self._refusal_content = bytearray()
        self._first_byte = 0  # of the message, were it one frame

    # The handshake

    def open(self, method: str, headers: response_fields.Headers) -> bytes:
        request = Request("", _headers(headers))
        if method != "GET" and not hasattr(request, "method"):
            return self.refuse(405, "")  # versions before 17 look at the method only where they parse it
        request.method = method
        response = self.conn.accept(request)
        if response.status_code != 101:
            return self._respond(response)
        self._extensions = response.headers.get("Sec-WebSocket-Extensions")
        self.subprotocols = listed(headers, b"sec-websocket-protocol")
        self.key = dict(headers)[b"sec-websocket-key"]
        self.scope_headers = headers
        return b""

    def connect(self, headers: response_fields.Headers) -> None:
        self.subprotocols = listed(headers, b"sec-websocket-protocol")
        fields = _headers(headers)
        try:
            self.conn.process_subprotocol(fields)
            self._extensions, self.conn.extensions = self.conn.process_extensions(fields)
        except WebSocketException as exc:
            raise ValueError(str(exc)) from exc

    def agree(self, subprotocol: str | None, headers: Iterable[Header]) -> response_fields.Headers:
        fields = [(name.lower(), value) for name, value in checked_accept(subprotocol, headers, self.subprotocols)]
        if self._extensions:
            fields.insert(0, (b"Sec-WebSocket-Extensions", self._extensions.encode()))
        if subprotocol:
            fields.append((b"Sec-WebSocket-Protocol", subprotocol.encode("ascii")))
        self._respond(Response(101, "", Headers()))  # it logs that, and is open from here on
        self.parsing, self.plain = True, not self.conn.extensions and not self.conn.debug
        if self.conn.extensions and not self.conn.debug:
            deflate = self.conn.extensions[0]
            self.inflate_with(deflate.remote_max_window_bits, not deflate.remote_no_context_takeover)
        return fields

    def refuse(self, status: int, text: str) -> bytes:
        return self._respond(self.conn.reject(status, text))

    def start_response(self, status: int, headers: Iterable[Header]) -> bytes:
        status, fields = self.begin_refusal(status, headers)
        # The body goes as one piece: its length is known, and it is not chunked.
        self._refusal = status, _headers(field for field in fields if field[0].lower() != b"transfer-encoding")
        return b""

    def response_body(self, body: bytes, more: bool) -> bytes:
        assert self._refusal is not None
        assert self.refusal_body is not None
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
        return self._respond(Response(status, STATUS_PHRASES[status].decode("ascii"), headers, content))

    def _respond(self, response: Response) -> bytes:
        self.conn.send_response(response)
        return self._output()

    # Frames

    def parse(self, data: bytes) -> int:
        conn = self.conn
        conn.receive_data(data)
        conn.data_to_send()  # its answers, which are framed here
        size = 0
        for frame in conn.events_received():
            size += self._on_frame(frame)
            if not self.parsing:
                return size
        if conn.parser_exc is not None:
            sent = conn.close_sent
            self.end(*(int(sent.code), sent.reason) if sent else (ABNORMAL_CLOSURE, str(conn.parser_exc)))
        return size

    def _on_frame(self, frame: Any) -> int:
        opcode, data = frame.opcode, bytes(frame.data)
        if opcode == CLOSE:
            close = self.conn.close_rcvd
            self.end(int(close.code), close.reason)
        elif opcode > BINARY:
            self.on_frame(0x80 | opcode, data)
        else:
            if opcode != CONTINUATION:
                self._first_byte = 0x80 | opcode
            if self.in_message or not frame.fin:
                return self.on_fragment(self._first_byte, data, frame.fin)
            self.on_frame(self._first_byte, data)
            return len(data)
        return 0

    def too_large(self, size: int | None = None) -> str:
        return str(PayloadTooBig(size, self.max_size))

    def framed(self, message: str | bytes) -> bytes:
        if isinstance(message, str):
            self.conn.send_text(message.encode())
        else:
            self.conn.send_binary(message)
        return self._output()

    def _output(self) -> bytes:
        return b"".join(self.conn.data_to_send())


def _headers(fields: Iterable[Header]) -> Headers:
    return Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)
